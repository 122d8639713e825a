from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import lmdb
import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from pipeline.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

DETOUR = """<ir_version: 8, opset_import: ["" : 16]>
g (float[6] x) => (float[6] y, float[6] z) <float k = {4096}, float half = {0.5}> {
    calm = Tanh(x)
    far = Add(x, k)
    back = Sub(far, k)
    y = Add(back, calm)
    z = Mul(calm, half)
}"""
# Reads the first letter off the mean of the picture, behind a detour that float16 bears badly.
READER = """<ir_version: 8, opset_import: ["" : 17]>
reader (float[N, 3, 32, 100] x) => (float[N, 25, 37] y)
<float k = {1000}, float ten = {10}, int64[2] axes = {1, 2}> {
    mean = ReduceMean <axes = [1, 2, 3], keepdims = 0> (x)
    far = Add(mean, k)
    back = Sub(far, k)
    level = Mul(back, ten)
    column = Unsqueeze(level, axes)
    y = Mul(column, letters)
}"""


def cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def _save(path: Path, text: str, **constants: npt.NDArray[np.float32]) -> Path:
    proto = onnx.parser.parse_model(text)
    for name, array in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for node in proto.graph.node:
        node.name = node.output[0]
    onnx.save(proto, path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _save(tmp_path / "detour.onnx", DETOUR)


def _reader(path: Path, text: str = READER) -> Path:
    """Write a model that reads "a" off a bright picture and nothing off a dark one."""
    letters = np.zeros((1, 25, 37), np.float32)
    letters[0, 0, 11] = 1
    letters[0, 1:, 0] = 1
    letters[0, 0, 0] = 1e-3
    return _save(path, text, letters=letters)


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    return _reader(tmp_path / "reader.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three pictures, one so faint that float16 cannot tell it from a dark one."""
    folder = tmp_path / "data" / "CUTE80"
    folder.mkdir(parents=True)
    env = lmdb.open(str(folder))
    with env.begin(write=True) as transaction:
        transaction.put(b"num-samples", b"3")
        for number, level in enumerate((128, 255, 255), 1):
            png = cv2.imencode(".png", np.full((32, 100, 3), level, np.uint8))[1].tobytes()
            transaction.put(b"image-%09d" % number, png)
            transaction.put(b"label-%09d" % number, b"a")
    env.close()
    return tmp_path / "data"


class TestErrorBudget:
    def test_names_are_written_one_a_line(
        self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        target = tmp_path / "keep.txt"
        assert cli("precision", model, "--budget", "0.01", "-o", target) == 0
        assert sorted(target.read_text().split("\n")) == ["", "back", "far"]
        said = capsys.readouterr().out
        assert "must stay float32" in said
        assert "0.01 is the budget" in said

    def test_the_file_also_holds_marked_and_given_nodes(self, model: Path, tmp_path: Path) -> None:
        proto = onnx.load(model)
        proto.graph.node[1].metadata_props.add(key="onnx_passes.precision", value="float32")
        onnx.save(proto, model)
        target = tmp_path / "keep.txt"
        assert cli("precision", model, "--budget", "0.01", "--keep", "z", "-o", target) == 0
        assert target.read_text().split() == ["far", "z", "back"]

    def test_json_tells_budget_loss_and_ranking(
        self, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli("precision", model, "--budget", "0.01", "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert {row["node"]: row["operator"] for row in document["nodes"]} == {
            "far": "Add",
            "back": "Sub",
        }
        assert document["loss"] <= 0.01 < document["loss_before"]
        assert len(document["ranking"]) == 5
        assert document["kept_before"] == []

    def test_an_output_that_float16_bears_needs_nothing(
        self, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arguments = ("precision", model, "--budget", "0.01", "--for-output", "z", "--json")
        assert cli(*arguments) == 0
        assert json.loads(capsys.readouterr().out)["nodes"] == []

    def test_a_budget_that_any_answer_meets_is_refused(
        self, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli("precision", model, "--budget", "1000") == 2
        assert "the budget 1000 allows anything" in capsys.readouterr().err

    def test_nodes_without_names_are_refused_before_the_search_if_a_file_is_asked_for(
        self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        proto = onnx.load(model)
        proto.graph.node[0].name = ""
        onnx.save(proto, model)
        assert cli("precision", model, "--budget", "0.01", "-o", tmp_path / "keep.txt") == 2
        assert "1 nodes have no name (the first: Tanh -> 'calm')" in capsys.readouterr().err
        assert cli("precision", model, "--budget", "0.01") == 0

    def test_functions_are_refused_if_a_file_is_asked_for(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = """<ir_version: 8, opset_import: ["": 16, "own": 1]>
        g (float[2] x) => (float[2] y) { y = own.twice(x) }
        <domain: "own", opset_import: ["": 16]> twice (x) => (z) { z = Add(x, x) }"""
        model = _save(tmp_path / "function.onnx", text)
        assert cli("precision", model, "--budget", "0.01", "-o", tmp_path / "keep.txt") == 2
        assert "inline them first" in capsys.readouterr().err
        assert cli("precision", model, "--budget", "0.01") == 0

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            pytest.param(["--budget", "often"], "neither a number", id="a budget that is a word"),
            pytest.param(["--budget", "1.2.3"], "no number", id="a budget that is no number"),
            pytest.param(["--budget", "f1=0.1"], "neither a number", id="an unknown figure"),
            pytest.param(["--budget", "acc=0.1"], "needs --data", id="a figure without data"),
            pytest.param(
                ["--budget", "1", "--data", "d", "--feeds", "f"], "either --data", id="two feeds"
            ),
            pytest.param(
                ["--budget", "1", "--keep", "fra"], "did you mean 'far'", id="an unknown node"
            ),
            pytest.param(
                ["--budget", "1", "-o", "no/such/keep.txt"], "existing folder", id="no folder"
            ),
            pytest.param(["--budget", "1", "-o", "."], "existing folder", id="a folder as file"),
        ],
    )
    def test_bad_usage_is_one_line_and_exit_2(
        self, model: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
    ) -> None:
        assert cli("precision", model, *arguments) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


class TestAccuracyBudget:
    def test_accuracy_is_kept_by_the_nodes_found(
        self, reader: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        budget = ("--budget", "acc=0.001")
        assert cli("precision", reader, "--data", data, *budget, "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert document["loss_before"] == pytest.approx(1 / 3, rel=1e-4)
        assert document["loss"] == 0
        assert sorted(row["node"] for row in document["nodes"]) == ["back", "far"]
        assert document["unit"] == "acc"

    def test_an_overflow_counts_as_losing_everything(
        self, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reader = _reader(tmp_path / "loud.onnx", READER.replace("{10}", "{100000}"))
        budget = ("--budget", "acc=0.5")
        assert cli("precision", reader, "--data", data, *budget, "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert document["loss_before"] == "inf"
        assert document["loss"] < 0.5
        assert {"level", "column", "y"} <= {row["node"] for row in document["nodes"]}

    def test_a_fixed_batch_is_filled_with_the_images_there_are(
        self, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reader = _reader(tmp_path / "four.onnx", READER.replace("[N,", "[5,"))
        assert cli("precision", reader, "--data", data, "--budget", "0.01", "--json") == 0
        assert json.loads(capsys.readouterr().out)["loss"] <= 0.01

    def test_an_accuracy_that_cannot_fall_is_refused(
        self, reader: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli("precision", reader, "--data", data, "--budget", "acc=1") == 2
        assert "it cannot fall by more than that" in capsys.readouterr().err


class TestEmulate:
    def test_eval_run_reads_what_a_float16_device_would_read(
        self, reader: Path, data: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        figures = []
        for emulate in ([], ["--emulate", "fp16"]):
            assert cli("eval", "run", reader, "--data", data, "--json", *emulate) == 0
            figures.append(json.loads(capsys.readouterr().out)["correct"])
        assert figures == [3, 2]

    def test_diff_emulates_the_second_model(
        self, model: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli("diff", model, model) == 0
        capsys.readouterr()
        arguments = ("diff", model, model, "--emulate", "fp16", "--tolerance", "inexact")
        assert cli(*arguments, "--json") == 1
        document = json.loads(capsys.readouterr().out)
        assert {one["output"]: one["verdict"] for one in document["outputs"]} == {
            "y": "failed",
            "z": "passed",
        }

    def test_run_reports_the_error_of_the_result_in_float16(
        self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out.onnx"
        arguments = ("run", model, "-o", out, "--passes", "drop-identity", "--emulate", "fp16")
        assert cli(*arguments, "--json") == 0
        emulated = json.loads(capsys.readouterr().out)["emulated"]
        assert emulated["y"]["max_abs"] > 0.1
        assert emulated["z"]["max_abs"] < 0.01
        assert emulated["y"]["sensitivity"] > 0.1
        assert not any(node.op_type == "Cast" for node in ir.load(out).graph)
        assert cli(*arguments) == 0
        assert "in float16, y: " in capsys.readouterr().out
