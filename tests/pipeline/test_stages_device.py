"""The whole flow with --backend ascend, at the six published batch sizes, on the stand-ins.

They compute with onnxruntime from what was really compiled, so what is read must be what the ONNX
model reads, to the last letter, at every batch size.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ascend.toolkit
from ascend.errors import MissingToolError, ToolFailedError
from eval import attention
from pipeline.flow import NAMES, plan, to_document
from pipeline.sources import Fetched
from pipeline.stages import bench
from tests.ascend.standins.toolkit import make_toolkit
from tests.pipeline.flow_case import (
    EVERYTHING,
    RECIPE,
    RECORDS,
    WORDS,
    Broken,
    breaking,
    finish,
    small_job,
    write_model,
)

if TYPE_CHECKING:
    from pipeline.flow import Job
    from pipeline.sources import Source

BATCHES = (1, 4, 8, 16, 32, 64)
PUBLISHED = '\n[published]\nthroughput = "starnet"\n'


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toolkit(tmp_path_factory.mktemp("cann"))


def device_job(folder: Path, root: Path, recipe: str = RECIPE + PUBLISHED, **settings: Any) -> Job:  # noqa: ANN401  fields of Settings
    given = {"backend": "ascend", "toolkit": root, "python": sys.executable, "batches": ()}
    return small_job(folder, WORDS, recipe, **{**given, **settings})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """Return a folder with a finished run at all batch sizes. Do not write to it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "REPEAT", 1)
        assert finish(device_job(folder, root)) == [name for name in NAMES if name != "export"]
    return folder


@pytest.fixture(autouse=True)
def one_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "REPEAT", 1)


def test_every_batch_size_is_compiled_and_reads_what_the_original_reads(finished: Path) -> None:
    document = to_document(finished / "work")
    runs = document["accuracy"]["runs"]
    assert list(runs) == ["original", *(f"bs{batch}" for batch in BATCHES)]
    for batch in BATCHES:
        assert (finished / "work" / f"small_ascend_bs{batch}.om").is_file()
        agreement = document["accuracy"]["agreement"][f"bs{batch}"]
        assert agreement["text_agreement"] == 1.0
        assert runs[f"bs{batch}"]["overall"]["records"] == RECORDS
        assert runs[f"bs{batch}"]["batch"] == batch
        assert runs[f"bs{batch}"]["from_device"]
    assert not runs["original"]["from_device"]
    assert document["backend"] == "ascend"


def test_an_attention_head_is_read_from_what_the_device_wrote(tmp_path: Path, root: Path) -> None:
    write_model(tmp_path / "net.onnx", classes=attention.CLASSES)
    job = device_job(tmp_path, root, batches=(64,))
    finish(job, frozenset(NAMES[: NAMES.index("score") + 1]))
    results = job.work / "results"
    texts = [one["text"] for one in json.loads((results / "bs64.json").read_text())["texts"]]
    for number in (0, RECORDS - 1):  # the last run is not full
        values = np.fromfile(results / "bs64" / f"img_{number}_0.bin", np.float32)
        assert texts[number] == attention.decode(values.reshape(1, 25, 38))[0].text
    assert len(set(texts)) > 1
    assert to_document(job.work)["accuracy"]["agreement"]["bs64"]["text_agreement"] == 1.0


def test_every_batch_size_is_measured_beside_the_published_figure(finished: Path) -> None:
    rows = to_document(finished / "work")["bench"]["rows"]
    assert [row["batch"] for row in rows] == list(BATCHES)
    assert all(row["on_device"] and row["fps"] > 0 for row in rows)
    assert rows[-1]["published_fps"] == 2617.897


def test_the_report_tells_device_figures_from_others(finished: Path) -> None:
    page = (finished / "work" / "report" / "report.html").read_text()
    assert "Compiled by ATC and run by ais_bench" in page
    assert "No Ascend device was used" not in page
    assert page.count("published, 310P3, batch") == len(BATCHES)
    assert page.count("compiled, device, batch") == len(BATCHES)
    plain = json.loads((finished / "work" / "report" / "report.json").read_text())
    assert plain["compile"]["compiled"]["64"]["file"] == "small_ascend_bs64.om"


def test_the_commands_are_those_of_the_device(finished: Path, root: Path) -> None:
    found = {status.stage.name: status for status in plan(device_job(finished, root), EVERYTHING)}
    assert {status.kind for status in found.values()} == {"cached", "left out"}
    job = device_job(finished, root)
    (line,) = found["compile"].stage.commands(job)
    assert f"compile {job.optimized} --soc 310P3 --batch 1,4,8,16,32,64 --toolkit {root}" in line
    assert len(found["infer"].stage.commands(job)) == 7
    assert "--published starnet" in found["bench"].stage.commands(job)[0]


def test_another_toolkit_compiles_again(
    finished: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_toolkit(tmp_path_factory.mktemp("other"), version="8.0.0")
    folder = Path(shutil.copytree(finished, tmp_path / "moved"))
    reasons = {
        status.stage.name: status.reason for status in plan(device_job(folder, other), EVERYTHING)
    }
    assert reasons["fetch-check"] == "changed: option toolkit"
    assert reasons["simplify"] == "if fetch-check makes something else"
    chosen = frozenset({"fetch-check", "simplify", "optimize", "verify", "lint", "compile"})
    assert finish(device_job(folder, other, batches=(8,)), chosen) == [
        "fetch-check",
        "lint",
        "compile",
    ]


def test_a_compiler_that_fails_ends_the_flow_and_keeps_what_is_done(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("STANDIN_ATC_CRASH", "11")
        with pytest.raises(ToolFailedError, match=r"ATC on small_ascend_bs8: crashed: .*\.failed"):
            finish(device_job(tmp_path, root, batches=(8,)))
    chosen = EVERYTHING - {"bench", "report", "infer", "score", "preprocess"}
    assert finish(device_job(tmp_path, root, batches=(8,)), chosen) == ["compile"]


def test_the_name_that_atc_gives_a_model_is_the_one_that_runs(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_ATC_NAME", "linux_x86_64")
    finish(device_job(tmp_path, root, batches=(8,)))
    document = to_document(tmp_path / "work")
    assert document["accuracy"]["runs"]["bs8"]["model"] == "small_ascend_bs8_linux_x86_64.om"
    assert document["bench"]["rows"][0]["model"] == "small_ascend_bs8_linux_x86_64.om"
    assert finish(device_job(tmp_path, root, batches=(8,))) == []


def test_a_batch_size_that_is_compiled_is_kept_when_others_join_or_fail(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = EVERYTHING - {"bench", "report", "infer", "score", "preprocess"}

    def made(*batches: int, force: bool = False) -> dict[int, int]:
        """Return when each compiled model was made."""
        finish(device_job(tmp_path, root, batches=batches), chosen, force=force)
        files = {batch: tmp_path / "work" / f"small_ascend_bs{batch}.om" for batch in batches}
        return {batch: file.stat().st_ino for batch, file in files.items()}

    first = made(8)
    with monkeypatch.context() as patch:
        patch.setenv("STANDIN_ATC_ONLY", "_bs4")
        patch.setenv("STANDIN_ATC_CRASH", "11")
        with pytest.raises(ToolFailedError, match="bs4"):
            made(1, 8, 4)
    one = (tmp_path / "work" / "small_ascend_bs1.om").stat().st_ino
    second = made(1, 8, 4)
    assert (second[1], second[8]) == (one, first[8])
    (tmp_path / "work" / "small_ascend_bs8.om").write_bytes(b"other")
    third = made(8)
    assert third[8] != first[8]
    (tmp_path / "work" / ".flow" / "compile.parts.json").write_text('{"parts": [1]}')
    assert made(8, force=True)[8] != third[8]


@pytest.mark.parametrize("late", [False, True], ids=["before its work", "before it is noted"])
@pytest.mark.parametrize("name", ["export", "compile"])
def test_a_run_goes_on_at_the_stages_that_only_some_runs_have(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, late: bool
) -> None:
    def fetch(source: Source, target: Path, **_: object) -> Fetched:
        assert source.network == "starnet"
        write_model(target)
        return Fetched(target, 16, 9, (), ())

    monkeypatch.setattr("pipeline.sources.fetch", fetch)
    chosen = frozenset(NAMES[: NAMES.index("compile") + 1])

    def job() -> Job:
        return device_job(
            tmp_path, root, 'network = "starnet"\n' + RECIPE, model=None, batches=(8,)
        )

    with breaking(monkeypatch, name, late=late) as started, pytest.raises(Broken):
        finish(job(), chosen)
    assert started == list(NAMES[: NAMES.index(name) + 1])
    assert finish(job(), chosen) == list(NAMES[NAMES.index(name) : NAMES.index("compile") + 1])
    assert finish(job(), chosen) == []


def test_without_a_toolkit_it_ends_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ascend.toolkit, "ROOT", tmp_path / "usual")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ascend.toolkit.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    job = small_job(tmp_path, WORDS, backend="ascend")
    with pytest.raises(MissingToolError, match="no CANN toolkit"):
        finish(job)
    assert not job.optimized.exists()
