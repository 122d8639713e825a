"""The path of the guide on a device, with stand-ins for ATC, npu-smi and ais_bench.

run -> compile -> eval preprocess -> infer -> eval score, on the shipped StarNet and the committed
300 words. The stand-ins compute with onnxruntime from what was really compiled, so the score must
be that of 'eval run' on the ONNX model, to the last digit and to the last letter.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli import main
from pipeline.export import export_starnet
from pipeline.flow import TRAINED_WEIGHTS
from tests.ascend.standins.toolkit import make_toolkit

WORDS = Path(__file__).parents[1] / "data" / "words"
RECORDS = 300  # 64 does not divide it: the last run of batch 64 has 44 images
BATCHES = (1, 64)


def call(*arguments: object) -> Any:  # noqa: ANN401  any JSON
    """Return what a command prints with --json; it must end with code 0."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as left:
        main([*map(str, arguments), "--json"])
    assert left.value.code == 0, printed.getvalue()
    return json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with checked.onnx, checked_bs<N>.om and bin_data, made by the commands."""
    work = tmp_path_factory.mktemp("device")
    toolkit = make_toolkit(work / "Ascend")
    export_starnet(work / "starnet.onnx", TRAINED_WEIGHTS)
    checked = work / "checked.onnx"
    call("run", work / "starnet.onnx", "-o", checked, "--passes", "decompose-grid-sample")
    batches = ",".join(map(str, BATCHES))
    call("compile", checked, "--soc", "310P3", "--batch", batches, "--toolkit", toolkit)
    call("eval", "preprocess", "--data", WORDS, "--out", work / "bin_data")
    return work


@pytest.fixture(scope="module")
def expected(work: Path) -> Any:  # noqa: ANN401  any JSON
    """Return the evaluation of the ONNX model."""
    return call("eval", "run", work / "checked.onnx", "--data", WORDS)


def infer(work: Path, model: str, out: str) -> Any:  # noqa: ANN401  any JSON
    tools = ("--toolkit", work / "Ascend", "--python", sys.executable)
    return call("infer", work / model, "--inputs", work / "bin_data", "--out", work / out, *tools)


def score(work: Path, results: str) -> Any:  # noqa: ANN401  any JSON
    manifest = work / "bin_data" / "manifest.json"
    return call("eval", "score", "--results", work / results, "--manifest", manifest)


def agree(found: Any, expected: Any) -> bool:  # noqa: ANN401  any JSON
    """Tell whether two evaluations have equal figures and texts."""
    figures = ("records", "bad", "counted", "correct", "acc", "norm_edit_dis", "datasets")
    return all(found[name] == expected[name] for name in figures) and (
        [one["text"] for one in found["texts"]] == [one["text"] for one in expected["texts"]]
    )


@pytest.mark.parametrize(
    ("batch", "generation"),
    [
        pytest.param(1, "2024", id="one by one, files of today"),
        pytest.param(64, "2022", id="in 64s with a short last one, files of 2022"),
    ],
)
def test_the_score_is_that_of_the_onnx_model(
    work: Path,
    expected: Any,  # noqa: ANN401  any JSON
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    generation: str,
) -> None:
    monkeypatch.setenv("STANDIN_AIS_BENCH_GENERATION", generation)
    record = infer(work, f"checked_bs{batch}.om", "results")
    assert (record["files"], record["batch"]) == (RECORDS, batch)
    assert record["result_bytes"] == {"0": 3700}
    assert record["fps"] > 0
    found = score(work, "results")
    assert found["correct"] > 0.8 * RECORDS  # it does read the words
    assert agree(found, expected)


def test_the_same_path_without_a_device_gives_the_same_and_a_swap_is_seen(
    work: Path,
    expected: Any,  # noqa: ANN401  any JSON
) -> None:
    record = infer(work, "checked.onnx", "on_cpu")
    assert (record["files"], record["batch"], record["on_device"]) == (RECORDS, 1, False)
    assert agree(score(work, "on_cpu"), expected)
    first, last = (work / "on_cpu" / f"img_{index}_0.bin" for index in (0, RECORDS - 1))
    first.write_bytes(last.read_bytes())
    assert not agree(score(work, "on_cpu"), expected)
