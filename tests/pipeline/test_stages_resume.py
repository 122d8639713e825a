"""What is done is not done again, and what depends on a change is: asserted by what ran."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lmdb
import onnxruntime
import pytest

import pipeline.infer
from eval.errors import MissingProviderError
from eval.render import write_lmdb_tree
from eval.samples import prepare
from onnx_passes.core import versions
from pipeline.errors import FlowError, StrictError
from pipeline.flow import NAMES, plan, to_document
from pipeline.stages import content, planner
from pipeline.stages.lock import locked
from pipeline.stages.state import read_state, state_file
from tests.pipeline.flow_case import (
    EVERYTHING,
    RECIPE,
    Broken,
    breaking,
    finish,
    small_job,
    write_model,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.lmdb_data import RawSample
    from eval.samples import Prepared
    from pipeline.flow import Job

# export and compile are left out: a model is given, and onnxruntime runs it as it is.
ALL = [name for name in NAMES if name not in {"export", "compile"}]


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "data"
    write_lmdb_tree(folder, {"plain": 8, "curved": 8}, seed=1)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, words: Path) -> Path:
    """Return a folder with a finished run. Do not write to it."""
    folder = tmp_path_factory.mktemp("finished") / "ein Lauf, 試 run"
    assert finish(small_job(folder, words)) == ALL
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run, elsewhere."""
    return Path(shutil.copytree(finished, tmp_path / "moved"))


def test_a_second_run_runs_nothing_and_a_folder_may_be_moved(folder: Path, words: Path) -> None:
    assert finish(small_job(folder, words)) == []
    assert {status.kind for status in plan(small_job(folder, words), EVERYTHING)} == {
        "cached",
        "left out",
    }


@pytest.mark.parametrize("late", [False, True], ids=["before its work", "before it is noted"])
def test_a_run_goes_on_at_the_stage_in_which_it_ended(
    tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """Ends each run one stage later than the one before."""
    for name in ALL:
        with breaking(monkeypatch, name, late=late) as started, pytest.raises(Broken):
            finish(small_job(tmp_path, words))
        expected = [name] if name == ALL[0] else [ALL[ALL.index(name) - 1], name]
        assert started == expected
    assert finish(small_job(tmp_path, words)) == [ALL[-1]]


def test_a_killed_run_leaves_no_lock_and_its_scratch_is_cleared(folder: Path, words: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; import eval.score\n"
        "eval.score.score = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "from tests.pipeline.flow_case import finish, small_job\n"
        "finish(small_job(Path(sys.argv[1]), Path(sys.argv[2])))\n"
    )
    scratch = folder / "work" / "results" / ".bs8.abcd_123"
    scratch.mkdir()
    state_file(folder / "work", "score").unlink()
    root = Path(__file__).parents[2]
    arguments = [sys.executable, "-c", script, str(folder), str(words)]
    done = subprocess.run(arguments, cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not scratch.exists()
    assert finish(small_job(folder, words)) == ["score", "report"]


CHANGES: list[Any] = [
    pytest.param(
        {"recipe": RECIPE.replace('["decompose', '["drop-unused", "decompose')},
        ["optimize", "report"],
        id="a pass that changes nothing: what it makes is the same",
    ),
    pytest.param(
        {"recipe": RECIPE.replace('["decompose-grid-sample"]', '["drop-unused"]')},
        ["optimize", "verify", "lint", "infer", "score", "bench", "report"],
        id="another model: all that runs it",
    ),
    pytest.param(
        {"recipe": RECIPE.replace("small one", "better one")},
        ["fetch-check", "report"],
        id="the title",
    ),
    pytest.param(
        {"batches": (4,)},
        ["fetch-check", "lint", "infer", "score", "bench", "report"],
        id="another batch size",
    ),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_a_changed_option_runs_what_depends_on_it(
    folder: Path, words: Path, change: dict[str, Any], expected: list[str]
) -> None:
    assert finish(small_job(folder, words, **change)) == expected
    assert finish(small_job(folder, words, **change)) == []


def test_other_weights_run_everything_but_the_preprocessing(folder: Path, words: Path) -> None:
    write_model(folder / "net.onnx", seed=4)
    assert finish(small_job(folder, words)) == [name for name in ALL if name != "preprocess"]


def test_other_data_leave_the_model_and_its_time_alone(folder: Path, tmp_path: Path) -> None:
    write_lmdb_tree(tmp_path / "other", {"plain": 9}, seed=2)
    ran = finish(small_job(folder, tmp_path / "other"))
    assert ran == [name for name in ALL if name not in {"lint", "bench"}]


def test_the_same_data_elsewhere_are_the_same(folder: Path, words: Path, tmp_path: Path) -> None:
    shutil.copytree(words, tmp_path / "copy")
    assert finish(small_job(folder, tmp_path / "copy")) == []


def test_another_version_runs_what_uses_the_package(
    folder: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = versions.installed

    def installed(packages: tuple[str, ...]) -> dict[str, str]:
        return {name: "9.9" if name == "onnxsim" else it for name, it in real(packages).items()}

    monkeypatch.setattr(planner, "installed", installed)
    job = small_job(folder, words)
    reasons = {status.stage.name: status.reason for status in plan(job, EVERYTHING)}
    assert reasons["fetch-check"] == "changed: version of onnxsim"
    assert finish(small_job(folder, words)) == [
        *("fetch-check", "simplify", "optimize", "verify", "report")
    ]


def test_other_code_of_ours_runs_what_uses_it(
    folder: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = content.code_digest
    monkeypatch.setattr(
        planner, "code_digest", lambda parts: real(parts) + ("x" if "eval" in parts else "")
    )
    assert finish(small_job(folder, words)) == ["fetch-check", "preprocess", "score", "report"]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(lambda path: path.unlink(), "is gone", id="removed"),
        pytest.param(lambda path: path.write_bytes(b"1234"), "was changed", id="changed"),
    ],
)
def test_an_output_that_is_not_as_it_was_left_is_made_again(
    folder: Path, words: Path, spoil: Callable[[Path], object], why: str
) -> None:
    spoil(folder / "work" / "bin" / "img_3.bin")
    spoil(folder / "work" / "feeds.npz")
    statuses = plan(small_job(folder, words), EVERYTHING)
    assert statuses[0].reason == f"its output feeds.npz {why}"
    assert finish(small_job(folder, words)) == ["fetch-check", "preprocess", "report"]


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"schema": "onnx-passes-stage/1", "sta', id="cut short"),
        pytest.param(b"[1, 2]", id="a list"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[" * 5000, id="nested"),
        pytest.param(b'{"schema": "other/3", "stage": "lint", "digest": ""}', id="foreign"),
        pytest.param(None, id="of another stage"),
    ],
)
def test_a_state_that_cannot_be_used_means_run_again(
    folder: Path, words: Path, spoilt: bytes | None
) -> None:
    lint = state_file(folder / "work", "lint")
    other = state_file(folder / "work", "verify").read_bytes()
    lint.write_bytes(other if spoilt is None else spoilt)
    assert finish(small_job(folder, words)) == ["lint", "report"]


def test_a_flipped_figure_in_a_state_is_noticed(folder: Path) -> None:
    path = state_file(folder / "work", "score")
    document = json.loads(path.read_text())
    document["result"]["runs"]["bs8"]["overall"]["acc"] = 1.0
    path.write_text(json.dumps(document))
    assert read_state(folder / "work", "score")[0] is None


def test_force_runs_what_is_chosen(folder: Path, words: Path) -> None:
    chosen = frozenset({"verify", "lint"})
    assert finish(small_job(folder, words), chosen, force=True) == ["verify", "lint"]


def test_a_stage_that_is_not_chosen_must_be_done(folder: Path, words: Path) -> None:
    state_file(folder / "work", "simplify").unlink()
    with pytest.raises(FlowError, match=r"stage 'simplify' has to run first \(not done yet\)"):
        finish(small_job(folder, words), frozenset({"bench"}))
    assert finish(small_job(folder, words), frozenset({"preprocess"})) == []  # needs no simplify


def test_two_runs_in_a_folder_are_refused_and_the_other_is_named(folder: Path, words: Path) -> None:
    job = small_job(folder, words)
    with locked(job.work), pytest.raises(FlowError, match=rf"in use .*\(pid {os.getpid()}\)"):
        finish(small_job(folder, words))
    assert finish(job) == []


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def leftovers(job: Job) -> list[str]:
    return [path.name for path in job.work.rglob(".*") if path.name != ".flow"]


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = small_job(tmp_path, words)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.state.os.fsync", full)
        with pytest.raises(FlowError, match=r"stage fetch-check: .*No space left on device"):
            finish(job)
    assert leftovers(job) == []
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.infer._write_record", full)
        with pytest.raises(Exception, match="No space left on device") as raised:
            finish(job)
    assert raised.value.exit_code == 2  # type: ignore[attr-defined]
    assert leftovers(job) == []
    assert not (job.work / "results" / "original").exists()
    assert finish(small_job(tmp_path, words))[0] == "infer"


def test_a_file_in_the_way_is_one_line_and_stays(tmp_path: Path, words: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FlowError, match=r"cannot write into .*file.*--work"):
        finish(small_job(tmp_path / "a", words, work=tmp_path / "file"))
    job = small_job(tmp_path / "b", words)
    (job.work / "bin").mkdir(parents=True)
    (job.work / "bin" / "tool").write_text("mine")
    with pytest.raises(Exception, match="is not an earlier result"):
        finish(job)
    assert (job.work / "bin" / "tool").read_text() == "mine"


SLOW = """
import os, signal, sys
from pathlib import Path
import eval.preprocess, pipeline.infer
from tests.pipeline.flow_case import finish, small_job

def stop(module, name, when):
    real, calls = getattr(module, name), []
    def wrapped(*arguments):
        calls.append(1)
        if len(calls) == when:
            os.kill(os.getpid(), int(sys.argv[3]))
        return real(*arguments)
    setattr(module, name, wrapped)

if sys.argv[4] == "preprocess":
    stop(eval.preprocess, "write_manifest", 1)
else:
    stop(pipeline.infer, "_write_record", 2)
signal.signal(signal.SIGINT, signal.default_int_handler)
finish(small_job(Path(sys.argv[1]), Path(sys.argv[2]), batches=(4, 8)))
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
@pytest.mark.parametrize("stage", ["preprocess", "infer"])
def test_what_was_done_within_a_stage_is_kept(
    tmp_path: Path,
    words: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    kind: signal.Signals,
) -> None:
    """preprocess keeps its records, infer its batch sizes."""
    job = small_job(tmp_path, words, batches=(4, 8))
    finish(job, frozenset(NAMES[: NAMES.index(stage)]))
    arguments = [sys.executable, "-c", SLOW, str(tmp_path), str(words), str(int(kind)), stage]
    done = subprocess.run(arguments, cwd=Path(__file__).parents[2], check=False, stderr=-3)
    assert done.returncode in {-kind, 1}
    did: list[Any] = []
    real = pipeline.infer.infer_with_onnxruntime

    def noted(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  whatever it takes
        did.append(options["batch"])
        return real(*arguments, **options)

    def prepared(sample: RawSample) -> Prepared:
        did.append(sample.index)
        return prepare(sample)

    with monkeypatch.context() as patch:
        patch.setattr("eval.ahead.prepare", prepared)
        patch.setattr("pipeline.infer.infer_with_onnxruntime", noted)
        chosen = frozenset({stage})
        assert finish(small_job(tmp_path, words, batches=(4, 8)), chosen) == [stage]
    if stage == "infer":
        assert did == [4, 8]  # the original, at batch 4 too, was done
    else:
        assert len(did) == (0 if kind == signal.SIGINT else 16)  # too few for the disk at once
    assert finish(small_job(tmp_path, words, batches=(4, 8)), chosen) == []
    assert leftovers(job) == []


def test_strict_ends_before_anything_long_and_not_where_all_is_good(
    tmp_path: Path, words: Path
) -> None:
    write_lmdb_tree(tmp_path / "spoilt", {"plain": 10}, seed=1)
    with (
        lmdb.open(str(tmp_path / "spoilt" / "plain"), lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"image-%09d" % 4, b"no picture")
    said = r"1 of 10 records are bad \(undecodable image: 1\), the first is plain, record 4; "
    for _ in range(2):  # also where the stage is done already
        with pytest.raises(StrictError, match=said) as refused:
            finish(small_job(tmp_path, tmp_path / "spoilt", strict=True))
        assert refused.value.exit_code == 1
    assert not (tmp_path / "work" / "small_ascend.onnx").exists()
    lax = small_job(tmp_path, tmp_path / "spoilt")
    assert finish(lax, frozenset({"preprocess"})) == ["preprocess"]
    assert lax.result("preprocess")["reasons"] == ["undecodable image"]
    strict = small_job(tmp_path / "good", words, strict=True)
    assert finish(strict, frozenset({"fetch-check"})) == ["fetch-check"]


def test_a_provider_that_is_missing_ends_the_run_before_any_work(
    tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    job = small_job(tmp_path, words, provider="cuda")
    with pytest.raises(MissingProviderError, match="has no CUDAExecutionProvider"):
        finish(job)
    assert not job.feeds.exists()
    with pytest.raises(FlowError, match="--provider is for --backend onnxruntime"):
        small_job(tmp_path, words, provider="cann", backend="ascend")


def test_the_provider_is_in_the_commands_and_another_one_runs_the_model_again(
    folder: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: names)
    job = small_job(folder, words, provider="cuda", device=1)
    found = {status.stage.name: status for status in plan(job, EVERYTHING)}
    assert found["fetch-check"].reason == "changed: option hardware"
    original, ours = found["infer"].stage.commands(job)
    assert "--provider" not in original
    assert ours.endswith("--batch 8 --provider cuda --device 1")
    assert found["bench"].stage.commands(job)[0].endswith("--loop 3 --provider cuda --device 1")


CPU = "CPUExecutionProvider"


@pytest.mark.parametrize(
    ("provider", "device", "banner"),
    [
        ("cuda", False, "No Ascend device was used"),
        ("cann", True, "Run on an Ascend device by onnxruntime"),
    ],
)
def test_the_report_says_where_onnxruntime_ran_the_model(
    tmp_path: Path,
    words: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider: str,
    device: bool,  # noqa: FBT001, RUF100  a parameter
    banner: str,
) -> None:
    """On a session that computes on the CPU and says it is the provider's."""
    full, real = f"{provider.upper()}ExecutionProvider", onnxruntime.InferenceSession

    def session(path: Any, options: Any = None, providers: Any = None) -> Any:  # noqa: ANN401
        found = real(path, options, providers=[CPU])
        if isinstance(providers[0], tuple):
            monkeypatch.setattr(found, "get_providers", lambda: [providers[0][0]])
        return found

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [full, CPU])
    job = small_job(tmp_path, words, provider=provider)
    finish(job)
    document = to_document(job.work)
    runs = document["accuracy"]["runs"]
    assert (document["provider"], document["from_device"]) == (full, device)
    assert [runs[run]["from_device"] for run in ("original", "bs8")] == [False, device]
    assert full in runs["bs8"]["hardware"]
    assert full not in runs["original"]["hardware"]
    assert {row["provider"] for row in document["bench"]["rows"]} == {full}
    page = (job.work / "report" / "report.html").read_text()
    assert banner in page
    assert f"small_ascend.onnx, {provider.upper()}, batch 8" in page
