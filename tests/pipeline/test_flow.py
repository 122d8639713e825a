"""The flow of StarNet, end to end, on real data and a real export."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from onnx_passes.core.checked import why_unverified
from onnx_passes.core.contract import CheckError
from onnx_passes.core.model_io import load
from onnx_passes.core.passlist import parse
from pipeline import flow
from pipeline.cli import main
from pipeline.errors import FlowError
from pipeline.flow import STAGES, FlowResult, FlowSettings, Watcher, run_starnet

if TYPE_CHECKING:
    from pathlib import Path

SMALL_SETS = {"plain": 8, "curved": 8}


@pytest.fixture(autouse=True)
def small_and_exported(starnet_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Render few words; take the session's export instead of making another."""

    def export(out_path: Path, weights: Path | None = None) -> Path:
        assert weights == flow.TRAINED_WEIGHTS
        assert flow.TRAINED_WEIGHTS.is_file()
        out_path.write_bytes(starnet_onnx.read_bytes())
        return out_path

    monkeypatch.setattr(flow, "RENDERED_SETS", SMALL_SETS)
    monkeypatch.setattr("pipeline.export.export_starnet", export)
    monkeypatch.setattr(flow, "SPEED_ROUNDS", 1)


class Noting(Watcher):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.done: list[tuple[int, int]] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def progress(self, done: int, total: int) -> None:
        self.done.append((done, total))


@pytest.fixture
def settings(tmp_path: Path) -> FlowSettings:
    passes = parse("drop-identity,decompose-grid-sample")
    return FlowSettings(work=tmp_path / "work", passes=passes, batch_size=4)


def run(settings: FlowSettings) -> tuple[FlowResult, Noting]:
    watcher = Noting()
    return run_starnet(settings, watcher), watcher


def test_replaces_grid_sample_and_changes_no_character(settings: FlowSettings) -> None:
    result, watcher = run(settings)
    assert watcher.stages == list(STAGES) == list(result.seconds)
    assert (16, 16) in watcher.done
    assert "GridSample" in {node.op_type for node in load(result.original).graph}
    assert "GridSample" not in {node.op_type for node in load(result.optimized).graph}
    assert not why_unverified(load(result.optimized)), "compile would refuse it"
    assert result.rectified.same_bits
    assert result.rectified_alone.same_bits
    assert result.rectified_moves > 0.1
    assert result.text_agreement == 1.0
    assert len(set(result.after.texts)) > 1
    assert result.after.overall.records == 16
    assert {"plain", "curved"} == set(result.after.datasets)


def test_writes_the_inputs_for_a_device(settings: FlowSettings) -> None:
    run(settings)
    folder = settings.work / "bin"
    assert len(json.loads((folder / "manifest.json").read_text())["records"]) == 16
    image = np.fromfile(folder / "img_3.bin", np.float32)
    assert image.shape == (3 * 32 * 100,)
    assert image.min() < image.max()


def test_a_pass_that_breaks_the_model_ends_the_flow(
    settings: FlowSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx_passes.passes.drop_identity import DropIdentity

    def break_it(self: DropIdentity, model: object) -> None:
        msg = "planted"
        raise RuntimeError(msg)

    monkeypatch.setattr(DropIdentity, "run", break_it)
    with pytest.raises(CheckError, match=r"'drop-identity' crashed: RuntimeError: planted"):
        run(settings)
    assert not (settings.work / "starnet_ascend.onnx").exists()


def test_too_few_images_are_refused(
    settings: FlowSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "RENDERED_SETS", {"plain": 3})
    with pytest.raises(FlowError, match="holds 3 usable images; the checks need 8"):
        run(settings)


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["flow", "run", "starnet", "--work", str(tmp_path / "w"), "--batch", "4", "--json"])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["device"] is None
    assert document["passes"]["verdict"] == "passed"
    assert document["text_agreement"] == 1.0
    assert document["rectified_alone"]["same_bits"]
    assert {step["name"] for step in document["passes"]["steps"]} > {"onnxsim"}


def test_the_command_says_that_no_device_was_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "short.toml"
    recipe.write_text('passes = ["decompose-grid-sample"]\n')
    with pytest.raises(SystemExit) as ended:
        main(["flow", "run", str(recipe), "--work", str(tmp_path / "w"), "--batch", "4"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "No Ascend device was used" in text
    assert "decompose-grid-sample alone: bit-equal" in text
    assert "text agreement: 100.00% of 16 records" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["starnett"], "no recipe 'starnett'; did you mean 'starnet'", id="a typo"),
        pytest.param(["none.toml"], "recipe none.toml cannot be read", id="a missing file"),
    ],
)
def test_bad_recipes_end_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["flow", "run", *arguments, "--work", str(tmp_path / "w")])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "w").exists()
