from __future__ import annotations

import collections
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from pipeline.errors import ExportError, MissingExtraError, PipelineError, WeightsError
from pipeline.export import export_layer, export_starnet
from pipeline.models.framework import paddle
from pipeline.models.weights import build_starnet

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from pipeline.models.layers import Tensor
    from pipeline.models.recogniser import Recogniser

    Floats = npt.NDArray[np.float32]

# The operators that the architecture fixes; the rest is the converter's way to say a shape.
OPERATORS = {
    "Conv": 67,
    "BatchNormalization": 51,
    "Relu": 25,
    "HardSwish": 20,
    "GlobalAveragePool": 9,
    "HardSigmoid": 8,
    "MaxPool": 4,
    "LSTM": 2,
    "GridSample": 1,
    "Softmax": 1,
}
# Activation after each batch norm: localisation, stem, three per residual unit, last convolution.
ACTIVATIONS = (
    ["Relu"] * 4 + ["HardSwish"] + ["Relu", "Relu", ""] * 6 + ["HardSwish", "HardSwish", ""] * 9
)
ACTIVATIONS += ["HardSwish"]

# Rounding moves a coordinate of the grid by 2e-5. That is up to 1e-3 of a pixel, and a pixel may
# differ by 2 from its neighbour: 2e-3. What the network makes of it was measured on strongly
# spread random weights, white noise included: up to 1.7e-2 in a probability.
RECTIFIED_ATOL = 2e-3
PROBABILITY_ATOL = 1.7e-2
# Behind the sampling only float32 sums remain: 1e-4 in a probability was measured.
SAME_IMAGE_ATOL = 2e-4


@pytest.fixture(scope="module")
def exported(starnet_onnx: Path) -> onnx.ModelProto:
    return onnx.load(starnet_onnx)


@pytest.fixture(scope="module")
def network() -> Recogniser:
    return build_starnet()


class Invert(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Uses two operators that ONNX does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = paddle.nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return paddle.linalg.cholesky(paddle.linalg.inv(self.fc(x)))


def _run(model: onnx.ModelProto, feeds: dict[str, Any], outputs: list[str]) -> list[Floats]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[Floats] = session.run(outputs, feeds)
    return found


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _following(graph: onnx.GraphProto, node: onnx.NodeProto) -> str:
    """Return the activation that reads ``node`` and nothing else does, or an empty string."""
    readers = [other.op_type for other in graph.node if node.output[0] in other.input]
    return readers[0] if readers in (["Relu"], ["HardSwish"]) else ""


def test_the_model_is_valid_and_its_interface_is_fixed(exported: onnx.ModelProto) -> None:
    onnx.checker.check_model(exported, full_check=True)
    assert exported.ir_version == 8
    assert [(entry.domain, entry.version) for entry in exported.opset_import] == [("", 16)]
    assert [(value.name, _dims(value)) for value in exported.graph.input] == [
        ("x", ["N", 3, 32, 100])
    ]
    assert [(value.name, _dims(value)) for value in exported.graph.output] == [
        ("fetch_name_0", ["N", 25, 37])
    ]


def test_the_graph_has_the_operators_of_the_architecture(exported: onnx.ModelProto) -> None:
    found = collections.Counter(node.op_type for node in exported.graph.node)
    assert {name: found[name] for name in OPERATORS} == OPERATORS
    assert not found["Constant"]
    norms = [node for node in exported.graph.node if node.op_type == "BatchNormalization"]
    assert [_following(exported.graph, node) for node in norms] == ACTIVATIONS


def test_ten_residual_units_add_their_input(exported: onnx.ModelProto) -> None:
    constants = {item.name for item in exported.graph.initializer}
    copies = {
        node.output[0]: node.input[0] for node in exported.graph.node if node.op_type == "Identity"
    }
    sums = [node for node in exported.graph.node if node.op_type == "Add"]
    computed = [
        node for node in sums if not {copies.get(name, name) for name in node.input} & constants
    ]
    assert len(computed) == 10


def test_the_attributes_are_those_of_the_specification(exported: onnx.ModelProto) -> None:
    for node in exported.graph.node:
        found = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "GridSample":
            assert found == {"mode": b"bilinear", "padding_mode": b"zeros", "align_corners": 1}
        if node.op_type == "HardSigmoid":
            assert found == pytest.approx({"alpha": 0.2, "beta": 0.5})
        if node.op_type == "BatchNormalization":
            assert found["epsilon"] == pytest.approx(1e-5)


def test_the_shapes_around_the_sampling_are_known(exported: onnx.ModelProto) -> None:
    shapes = {value.name: _dims(value) for value in exported.graph.value_info}
    (sample,) = (node for node in exported.graph.node if node.op_type == "GridSample")
    assert shapes[sample.input[1]][1:] == [32, 100, 2]
    assert shapes[sample.output[0]] == ["N", 3, 32, 100]


def test_the_gates_of_the_lstm_are_in_the_order_of_onnx(
    exported: onnx.ModelProto, network: Recogniser
) -> None:
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in exported.graph.initializer}
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}

    def reordered(layer: int, what: str) -> Floats:
        """Stack both directions, Paddle's i, f, g, o as ONNX's i, o, f, c."""
        cells = [state[f"neck.encoder.lstm.{layer}.cell_{way}.{what}"] for way in ("fw", "bw")]
        return np.stack(
            [
                np.concatenate(
                    np.split(cell, 4)[:1] + np.split(cell, 4)[3:] + np.split(cell, 4)[1:3]
                )
                for cell in cells
            ]
        )

    nodes = [node for node in exported.graph.node if node.op_type == "LSTM"]
    for layer, node in enumerate(nodes):
        _, weight, recurrence, bias = (constants.get(name) for name in node.input[:4])
        np.testing.assert_array_equal(weight, reordered(layer, "weight_ih"))
        np.testing.assert_array_equal(recurrence, reordered(layer, "weight_hh"))
        both = [reordered(layer, "bias_ih"), reordered(layer, "bias_hh")]
        np.testing.assert_array_equal(bias, np.concatenate(both, axis=1))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_onnxruntime_agrees_with_paddle(
    batch: int, exported: onnx.ModelProto, network: Recogniser, word_images: Floats
) -> None:
    (sample,) = (node for node in exported.graph.node if node.op_type == "GridSample")
    watched = onnx.ModelProto.FromString(exported.SerializeToString())
    watched.graph.output.append(onnx.ValueInfoProto(name=sample.output[0]))
    images = word_images[:batch]
    names = ["fetch_name_0", sample.output[0]]
    probabilities, rectified = _run(watched, {"x": images}, names)
    with paddle.no_grad():
        x = paddle.to_tensor(images)
        expected, straight = network(x).numpy(), network.transform(x).numpy()
    np.testing.assert_allclose(rectified, straight, rtol=0, atol=RECTIFIED_ATOL)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=PROBABILITY_ATOL)
    np.testing.assert_array_equal(probabilities.argmax(axis=2), expected.argmax(axis=2))


def test_from_the_same_rectified_image_onnxruntime_agrees_closely(
    exported: onnx.ModelProto, network: Recogniser, word_images: Floats
) -> None:
    (sample,) = (node for node in exported.graph.node if node.op_type == "GridSample")
    rest = onnx.utils.Extractor(exported).extract_model([sample.output[0]], ["fetch_name_0"])
    (probabilities,) = _run(rest, {sample.output[0]: word_images}, ["fetch_name_0"])
    with paddle.no_grad():
        x = paddle.to_tensor(word_images)
        expected = network.head(network.neck(network.backbone(x))).numpy()
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=SAME_IMAGE_ATOL)


def test_the_output_moves_with_the_input(exported: onnx.ModelProto, word_images: Floats) -> None:
    (probabilities,) = _run(exported, {"x": word_images}, ["fetch_name_0"])
    apart = np.abs(probabilities[1:] - probabilities[:-1]).max(axis=(1, 2))
    assert apart.min() > 20 * PROBABILITY_ATOL


def test_an_unsupported_operator_is_named_and_nothing_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError, match=r"operator\(s\) inverse, cholesky; compute") as failure:
        export_layer(Invert(), tmp_path / "model.onnx", (4, 4))
    assert failure.value.exit_code == 3
    assert "\n" not in str(failure.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_small_layer_exports_quietly_and_stays_usable(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layer = paddle.nn.Linear(4, 2)
    path = export_layer(layer, tmp_path / "linear.onnx", (4,))
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == [path]
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    (found,) = _run(onnx.load(path), {"x": x}, ["fetch_name_0"])
    np.testing.assert_allclose(found, layer(paddle.to_tensor(x)).numpy(), atol=1e-5)


def test_a_converter_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"did not finish within 0\.01 s and was stopped"):
        export_layer(paddle.nn.Linear(4, 2), tmp_path / "model.onnx", (4,), timeout_s=0.01)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param("echo out; echo broken >&2; exit 7", r"\(exit 7\): out \| broken$", id="exit"),
        pytest.param("kill -SEGV $$", r"failed \(signal 11\)", id="a signal"),
        pytest.param("exit 0", r"failed \(exit 0\)", id="success without a file"),
        pytest.param("echo junk > converted.onnx", "invalid model", id="a file that is no model"),
    ],
)
def test_any_other_failure_of_the_converter_is_one_line(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{script}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    with pytest.raises(ExportError, match=reason) as failure:
        export_layer(paddle.nn.Linear(4, 2), tmp_path / "model.onnx", (4,))
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "model.onnx").exists()


def test_a_layer_that_paddle_cannot_save_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Paddle cannot save Linear as a static") as failure:
        export_layer(paddle.nn.Linear(4, 2), tmp_path / "model.onnx", (3,))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("module", ["paddle", "paddle2onnx"])
def test_a_missing_extra_is_named(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == module else find(name)
    )
    with pytest.raises(MissingExtraError, match=f"'{module}' is not installed") as failure:
        export_starnet(tmp_path / "model.onnx")
    assert "pip install 'ascend-onnx-passes[paddle]'" in str(failure.value)
    assert failure.value.exit_code == 4


def test_a_missing_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"the folder .* does not exist"):
        export_starnet(tmp_path / "missing" / "model.onnx", timeout_s=0.01)


def test_weights_that_do_not_fit_are_refused_before_the_work(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", weight=np.zeros(3, np.float32))
    with pytest.raises(WeightsError, match="311 missing"):
        export_starnet(tmp_path / "model.onnx", tmp_path / "weights.npz", timeout_s=0.01)
