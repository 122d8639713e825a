"""The flow as a user meets it: StarNet end to end on a real export, plans, reports, refusals."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any

import lmdb
import numpy as np
import pytest

from eval.ctc import Reading
from eval.data import open_data
from eval.evaluation import conclude
from eval.render import write_lmdb_tree
from eval.score import score
from onnx_passes.core.checked import why_unverified
from onnx_passes.core.contract import CheckError
from onnx_passes.core.model_io import load
from pipeline.agreement import Agreement
from pipeline.cli import main
from pipeline.errors import FlowError
from pipeline.flow import NAMES, TRAINED_WEIGHTS, to_document
from pipeline.sources import Fetched, Source
from tests.pipeline.flow_case import answer, finish, small_job, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from eval.evaluation import Evaluation
    from eval.manifest import Manifest

SMALL_STARNET = """
network = "starnet"
title = "<b>StarNet & words</b>"
simplify = ["drop-identity"]
passes = ["decompose-grid-sample"]
[words]
plain = 8
curved = 8
[published]
throughput = "starnet"
records = 12067
acc = 0.8
norm_edit_dis = 0.9
"""
AGREEMENT = Agreement(8, 2.1e-3, 1.7e-2, 1.0, 1.0, "'y': 3 of 9 elements differ")


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401  a function
    """Return ``refused(...)``: the command must end with 2 and one line, which it returns."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if line.startswith("onnx-passes: ")]
        assert left.value.code == 2, said
        assert len(lines) == 1, said
        return lines[0]

    return run


@pytest.fixture(scope="session")
def starnet(tmp_path_factory: pytest.TempPathFactory, starnet_onnx: Path) -> tuple[Path, Any]:
    """Return a folder with a finished run of StarNet in work, and what it printed as JSON."""
    folder = tmp_path_factory.mktemp("starnet")
    recipe = folder / "short.toml"
    recipe.write_text(SMALL_STARNET)

    def fetch(source: Source, out_path: Path, **_say: object) -> Fetched:
        assert source == Source(network="starnet", checkpoint=TRAINED_WEIGHTS)
        out_path.write_bytes(starnet_onnx.read_bytes())
        return Fetched(out_path, 16, 321, (), (), agreement=AGREEMENT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.sources.fetch", fetch)
        out = answer("flow", "run", recipe, "--work", folder / "work", "--batch", "4,8", "--json")
    return folder, json.loads(out)


def test_replaces_grid_sample_and_changes_no_character(starnet: tuple[Path, Any]) -> None:
    folder, document = starnet
    work = folder / "work"
    assert document["ran"] == [name for name in NAMES if name != "compile"]
    assert "GridSample" in {node.op_type for node in load(work / "short.onnx").graph}
    assert "GridSample" not in {node.op_type for node in load(work / "short_ascend.onnx").graph}
    assert not why_unverified(load(work / "short_ascend.onnx")), "compile would refuse it"
    assert document["passes"]["verdict"] == document["verify"]["verdict"] == "passed"
    assert {step["stage"] for step in document["passes"]["steps"]} == {"simplify", "optimize"}
    assert document["rectified"]["same_bits"]
    assert document["rectified_alone"]["same_bits"]
    assert document["rectified_moves"] > 0.1
    assert document["text_agreement"] == 1.0
    assert len({one["text"] for one in document["optimized"]["texts"]}) > 1
    assert document["original"]["records"] == 16
    assert set(document["optimized"]["datasets"]) == {"plain", "curved"}
    assert document["device"] is None
    assert len(document["images_per_s"]) == 4  # both models at both batch sizes


def test_writes_the_inputs_for_a_device(starnet: tuple[Path, Any]) -> None:
    work = starnet[0] / "work"
    assert len(json.loads((work / "bin" / "manifest.json").read_text())["records"]) == 16
    image = np.fromfile(work / "bin" / "img_3.bin", np.float32)
    assert image.shape == (3 * 32 * 100,)
    assert image.min() < image.max()


def test_a_second_run_says_what_was_done_before_and_that_no_device_was_used(
    starnet: tuple[Path, Any],
) -> None:
    folder = starnet[0]
    words = ("flow", "run", folder / "short.toml", "--work", folder / "work", "--batch", "4,8")
    text = " ".join(answer(*words).split())
    assert "export (done before)" in text
    assert "compile: left out, onnxruntime runs the .onnx itself" in text
    assert "No Ascend device was used" in text
    assert "decompose-grid-sample alone: bit-equal" in text
    assert re.search(r"original 4 0\.\d{6} 0\.\d{6} \d+", text)
    assert re.search(r"optimised 8 0\.\d{6} 0\.\d{6} 100\.00% \d+", text)


def test_the_plan_names_every_stage_with_its_command(starnet: tuple[Path, Any]) -> None:
    folder = starnet[0]
    words = (folder / "short.toml", "--work", folder / "work", "--batch", "4,8")
    text = answer("flow", "plan", *words)
    assert [name for name in NAMES if not re.search(rf"\d {name}  (cached|left out)", text)] == []
    assert text.splitlines()[-1] == "11 done, 1 left out"
    fresh = json.loads(
        answer(
            "flow",
            "run",
            *words,
            "--from",
            "infer",
            "--to",
            "score",
            "--dry-run",
            "--force",
            "--json",
        )
    )
    kinds = {stage["name"]: (stage["status"], stage["reason"]) for stage in fresh["stages"]}
    assert kinds["infer"] == ("run", "--force")
    assert kinds["score"] == ("run", "--force")
    assert kinds["optimize"] == ("cached", "")
    assert kinds["bench"] == ("not chosen", "")


def test_the_plan_writes_nothing(tmp_path: Path) -> None:
    text = answer("flow", "plan", "starnet", "--work", tmp_path / "none")
    assert "fetch-check  run: not done yet" in text
    assert "export  run: not done yet" in text
    assert list(tmp_path.iterdir()) == []


def test_the_commands_of_the_plan_do_the_same(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = tmp_path_factory.mktemp("data") / "words"
    write_lmdb_tree(words, {"plain": 9}, seed=1)
    folder = tmp_path / "mit Leerzeichen ü"
    assert finish(small_job(folder, words))
    given = ("--model", folder / "net.onnx", "--data", words, "--batch", "8")
    plan = json.loads(
        answer("flow", "plan", folder / "small.toml", "--work", folder / "work", *given, "--json")
    )
    before = {
        name: read(folder / "work" / name) for name in ("small_ascend.onnx", "results/bs8.json")
    }
    done = 0
    for stage in plan["stages"]:
        assert bool(stage["commands"]) == (stage["status"] != "left out")
        for line in stage["commands"]:
            command, _, target = line.partition(" > ")
            out = answer(*shlex.split(command)[1:])
            if target:
                (folder / "work").joinpath(
                    "results", shlex.split(target)[0].split("/")[-1]
                ).write_text(out)
            done += 1
    assert done == 12
    assert before == {name: read(folder / "work" / name) for name in before}


def read(path: Path) -> bytes:
    return path.read_bytes()


def test_the_report_is_one_page_that_asks_for_nothing(starnet: tuple[Path, Any]) -> None:
    folder = starnet[0]
    text = " ".join(answer("flow", "report", folder / "work").split())
    assert "report.html" in text
    page = (folder / "work" / "report" / "report.html").read_text()
    assert not re.search(r"<script|<link(?![^>]*data:)|src=|@import|https?://", page)
    assert "<b>StarNet" not in page
    assert "&lt;b&gt;StarNet &amp; words" in page
    assert "No Ascend device was used" in page
    assert page.count("not a device") == 2 + 4  # accuracy of the original and of ours; four speeds
    assert page.count("images/s</title>") == 2 * 2 + 6
    plain = json.loads((folder / "work" / "report" / "report.json").read_text())
    assert plain["schema"] == "onnx-passes-flow/1"
    assert plain["versions"]["onnx"]
    assert all(stage["commands"] for stage in plain["stages"] if stage["status"] == "done")
    assert plain["accuracy"]["runs"]["bs4"]["from_device"] is False


def test_a_report_shows_nothing_that_a_later_run_has_overtaken(tmp_path: Path) -> None:
    finish(small_job(tmp_path, None))
    assert to_document(tmp_path / "work")["bench"]
    write_model(tmp_path / "net.onnx", seed=5)
    finish(small_job(tmp_path, None), frozenset(NAMES[:5]))
    document = to_document(tmp_path / "work")
    status = {stage["name"]: stage["status"] for stage in document["stages"]}
    assert status["verify"] == "done"
    assert status["bench"] == status["lint"] == "out of date"
    assert document["bench"] is None


def test_a_custom_model_without_data_is_rewritten_checked_and_measured(tmp_path: Path) -> None:
    model = write_model(tmp_path / "netz ü.onnx")
    words = ("--model", model, "--work", tmp_path / "work", "--batch", "2", "--to", "bench")
    document = json.loads(answer("flow", "run", "custom", *words, "--json"))
    assert document["accuracy"] is None
    left_out = [one["name"] for one in document["stages"] if one["status"] == "left out"]
    assert left_out == ["export", "compile", "preprocess", "infer", "score"]
    assert document["verify"]["verdict"] == "passed"
    assert [row["batch"] for row in document["bench"]["rows"]] == [2, 2]
    answer("flow", "run", "custom", *words[:-2])
    assert "<h2>Accuracy" not in (tmp_path / "work" / "report" / "report.html").read_text()


def test_a_pass_that_breaks_the_model_ends_the_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx_passes.passes.drop_identity import DropIdentity

    def break_it(self: DropIdentity, model: object) -> None:
        msg = "planted"
        raise RuntimeError(msg)

    monkeypatch.setattr(DropIdentity, "run", break_it)
    job = small_job(tmp_path, None)
    with pytest.raises(CheckError, match=r"'drop-identity' crashed: RuntimeError: planted"):
        finish(job)
    assert not job.simplified.exists()


def test_an_interrupt_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    model = write_model(tmp_path / "net.onnx")
    words = ("flow", "run", "custom", "--model", model, "--work", tmp_path / "w", "--only")
    answer(*words, "fetch-check")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stages.surgery.Simplify.run", interrupt)
        capsys.readouterr()
        answer(*words[:-1], "--to", "simplify", code=130)
        assert "stopped; the same command goes on from here" in capsys.readouterr().err
    document = json.loads(answer(*words[:-1], "--to", "simplify", "--json"))
    assert document["ran"] == ["simplify"]


def test_what_is_read_otherwise_has_a_page_of_pictures_until_it_is_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lmdb_tree(tmp_path / "words", {"plain": 9}, seed=1)

    def original_reads_nothing(folder: Path, manifest: Manifest, **options: Any) -> Evaluation:  # noqa: ANN401
        if folder.name == "original":
            return conclude(manifest, [Reading("", 0.0)] * len(manifest.good), "count")
        return score(folder, manifest, **options)

    job = small_job(tmp_path, tmp_path / "words")
    with monkeypatch.context() as patch:
        patch.setattr("eval.score.score", original_reads_nothing)
        finish(job)
    sheet = tmp_path / "work" / "results" / "changed_bs8.html"
    agreement = to_document(job.work)["accuracy"]["agreement"]["bs8"]
    page = sheet.read_text(encoding="utf-8")
    assert agreement["sheet"] == "results/changed_bs8.html"
    assert agreement["changes"] == page.count("<figure") > 0
    assert page.count('src="data:image/png;base64,') == agreement["changes"]
    link = 'href="../results/changed_bs8.html"'
    assert link in (job.work / "report" / "report.html").read_text()
    finish(small_job(tmp_path, tmp_path / "words"), force=True)
    assert not sheet.exists()
    assert link not in (job.work / "report" / "report.html").read_text()


def test_too_few_images_or_none_are_refused(tmp_path: Path) -> None:
    write_lmdb_tree(tmp_path / "few", {"plain": 3}, seed=1)
    with pytest.raises(FlowError, match="holds 3 usable images; the checks need 8"):
        finish(small_job(tmp_path, tmp_path / "few"))
    (tmp_path / "none").mkdir()
    with (
        lmdb.open(str(tmp_path / "none"), map_size=1 << 16, lock=False) as empty,
        empty.begin(write=True) as transaction,
    ):
        transaction.put(b"num-samples", b"0")
    with pytest.raises(Exception, match="holds no records"):
        finish(small_job(tmp_path, tmp_path / "none"))


def test_words_take_the_place_of_words_but_not_of_data(tmp_path: Path) -> None:
    recipe = 'passes = ["drop-identity"]\n[words]\nplain = {}\n'
    first = frozenset({"fetch-check"})
    finish(small_job(tmp_path, None, recipe.format(8)), first)
    finish(small_job(tmp_path, None, recipe.format(9)), first)
    data = tmp_path / "work" / "data"
    with open_data(data) as words:
        assert len(words) == 9
    write_lmdb_tree(data, {"curved": 10}, seed=7)  # somebody's own
    with pytest.raises(FlowError, match=r"this flow did not render; give it with --data"):
        finish(small_job(tmp_path, None, recipe.format(8)), first)
    with open_data(data) as words:
        assert len(words) == 10
    with pytest.raises(FlowError, match="did not render"):  # nor where the words are as before
        finish(small_job(tmp_path, None, recipe.format(9)), first)


RUN = ("flow", "run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            (*RUN, "starnett"), "no recipe 'starnett'; did you mean 'starnet'", id="a typo"
        ),
        pytest.param((*RUN, "none.toml"), "recipe none.toml cannot be read", id="a missing file"),
        pytest.param((*RUN, "custom"), "give a model with --model", id="no model"),
        pytest.param(
            (*RUN, "rare_resnet34_vd"),
            "no weights of rare_resnet34_vd ship with this project, and random ones read nothing: "
            "give a checkpoint with --checkpoint",
            id="no weights",
        ),
        pytest.param(
            (*RUN, "starnet", "--from", "optimise"), "did you mean 'optimize'", id="a stage"
        ),
        pytest.param(
            (*RUN, "starnet", "--from", "score", "--to", "infer"), "comes after --to", id="order"
        ),
        pytest.param(
            (*RUN, "starnet", "--from", "score", "--only", "infer"),
            "leave --from and --to",
            id="two ways",
        ),
        pytest.param((*RUN, "starnet", "--batch", "8,8"), "different sizes", id="a batch twice"),
        pytest.param(("flow", "plan", "starnet", "--batch", "0"), "above 0", id="no batch"),
        pytest.param(
            (*RUN, "starnet", "--model", "a.onnx", "--checkpoint", "b"),
            "not both",
            id="model and weights",
        ),
    ],
)
def test_bad_usage_ends_in_one_line(
    refused: Any,  # noqa: ANN401  a function
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
) -> None:
    assert said in refused(*arguments, "--work", tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_bad_inputs_end_in_one_line(refused: Any, tmp_path: Path) -> None:  # noqa: ANN401  a function
    work = ("--work", tmp_path / "w")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert "no such file" in refused(*RUN, "starnet", *work, "--checkpoint", tmp_path / "none")
    assert "does not exist" in refused(*RUN, "starnet", *work, "--data", tmp_path / "none")
    assert "broken.onnx" in refused(*RUN, "custom", *work, "--model", tmp_path / "broken.onnx")
    assert "holds no flow" in refused("flow", "report", tmp_path)
    model = write_model(tmp_path / "custom_ascend.onnx")
    said = refused(*RUN, "custom", "--work", tmp_path, "--model", model)
    assert "is what this run writes" in said


def test_a_model_that_reads_no_words_is_refused_with_data(
    refused: Any,  # noqa: ANN401  a function
    tmp_path: Path,
) -> None:
    import onnx

    graph = "g (float[N, 3] a) => (float[N, 3] y) { y = Relu(a) }"
    text = f'<ir_version: 8, opset_import: ["": 16]> {graph}'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    write_lmdb_tree(tmp_path / "words", {"plain": 9}, seed=1)
    given = ("--model", tmp_path / "m.onnx", "--data", tmp_path / "words")
    said = refused(*RUN, "custom", "--work", tmp_path / "w", *given)
    assert "data need one input [N, 3, 32, 100]" in said
