from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer


@pytest.fixture
def scaled(model: Path) -> Callable[[float], Path]:
    """Return a maker of copies of the model whose first weight is scaled."""

    def make(factor: float) -> Path:
        proto = onnx.load(model)
        weight = proto.graph.initializer[0]
        array = onnx.numpy_helper.to_array(weight) * np.float32(factor)
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
        path = model.with_name(f"scaled-{factor}.onnx")
        onnx.save(proto, path)
        return path

    return make


@pytest.mark.parametrize(
    ("factor", "tolerance", "code"),
    [
        (1.0, "exact", 0),
        (1 + 2**-22, "exact", 1),
        (1 + 2**-22, "close", 0),
        (1.01, "close", 1),
        (1.001, "inexact", 0),
        (1.5, "inexact", 1),
    ],
)
def test_the_exit_code_says_whether_the_tolerance_is_kept(
    call: Callable[..., Answer],
    model: Path,
    scaled: Callable[[float], Path],
    factor: float,
    tolerance: str,
    code: int,
) -> None:
    answer = call("diff", model, scaled(factor), "--tolerance", tolerance)
    assert (answer.code, answer.err) == (code, "")
    assert ("passed" if code == 0 else "failed") in answer.out.splitlines()[-1]


def test_prints_every_measure_and_the_tolerance(
    call: Callable[..., Answer], model: Path, scaled: Callable[[float], Path]
) -> None:
    out = call("diff", model, scaled(1.01)).out
    for column in ("max abs", "max rel", "max ulp", "cosine", "SNR dB", "argmax", "moves"):
        assert column in out
    assert "y: allowed 8 * max(noise " in out
    assert "elements differ; greatest absolute difference" in out
    assert "feeds: generated, seeds 0, 1: x float32 [2, 3]" in out


def test_json_is_all_of_stdout(
    call: Callable[..., Answer], model: Path, scaled: Callable[[float], Path]
) -> None:
    answer = call("diff", model, scaled(1.01), "--json", "--shape", "x=4,3")
    assert (answer.code, answer.err) == (1, "")
    assert answer.document["verdict"] == "failed"
    assert answer.document["feeds"].endswith("x float32 [4, 3]")
    (output,) = answer.document["outputs"]
    assert 0.009 < output["original"]["max_rel"] < 0.2


def test_a_model_with_another_output_failed(
    call: Callable[..., Answer], model: Path, tmp_path: Path
) -> None:
    proto = onnx.load(model)
    proto.graph.node[-1].output[0] = proto.graph.output[0].name = "z"
    onnx.save(proto, tmp_path / "renamed.onnx")
    answer = call("diff", model, tmp_path / "renamed.onnx")
    assert answer.code == 1
    assert "failed: output 'y' is gone" in answer.out


def test_two_models_whose_output_is_constant_prove_nothing(
    call: Callable[..., Answer], tmp_path: Path
) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 16]>
    g (float[2] x) => (float[2] y) <float[2] k = {1, 2}> { y = Neg(k) }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "constant.onnx")
    answer = call("diff", tmp_path / "constant.onnx", tmp_path / "constant.onnx")
    assert answer.code == 1
    assert "not checkable: output 'y' dead" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["none.onnx"], "found nothing, expected an ONNX file", id="no second model"),
        pytest.param(["{model}", "--shape", "x"], "is not NAME=D0,D1", id="a bad shape"),
        pytest.param(["{model}", "--shape", "q=1"], "names input 'q'", id="another input"),
        pytest.param(["{model}", "--feeds", "none"], "is neither a .npz file", id="no feeds"),
        pytest.param(["{model}", "--tolerance", "loose"], "'loose' is not one of", id="a choice"),
    ],
)
def test_refuses(
    refused: Callable[..., str], model: Path, arguments: list[str], message: str
) -> None:
    given = [argument.replace("{model}", str(model)) for argument in arguments]
    assert message in refused("diff", model, *given)


def test_refuses_a_model_that_nothing_can_run(refused: Callable[..., str], tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 16, "own": 1]>
    g (float[2] x) => (float[2] y) { y = own.Op(x) }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "own.onnx")
    line = refused("diff", tmp_path / "own.onnx", tmp_path / "own.onnx")
    assert "onnxruntime cannot load the model" in line
