"""Files as guides leave them, made from the straight export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnx_passes.core import model_io
from onnx_passes.passes.set_opset import SetOpset
from pipeline.errors import PipelineError
from pipeline.onnx_source import read_onnx
from pipeline.sources import Source, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SWAP_PICTURE, SWAP_GRID = (0, 1, 3, 2), (0, 2, 1, 3)
OLD = 'ir_version: 8, opset_import: ["": 11]'


class Patch:
    """Nodes put in front of the GridSample of a model, or in place of it."""

    def __init__(self, model: ir.Model) -> None:
        (self.sample,) = (node for node in model.graph if node.op_type == "GridSample")
        self._graph = model.graph

    def add(self, kind: str, inputs: Sequence[ir.Value], **attributes: object) -> ir.Value:
        node = ir.node(kind, inputs, attributes)  # type: ignore[arg-type]  # plain values
        self._graph.insert_before(self.sample, node)
        return node.outputs[0]

    def constant(self, name: str, array: Any) -> ir.Value:  # noqa: ANN401  any numpy array
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor)
        value.dtype, value.shape = tensor.dtype, ir.Shape(array.shape)
        self._graph.initializers[name] = value
        return value

    def pinned(self, value: ir.Value, perm: tuple[int, ...], shape: list[int]) -> ir.Value:
        """Return ``value`` behind Transpose, Add of zeros, Transpose."""
        zeros = self.constant(f"zeros_of_{value.name}", np.zeros(shape, np.float32))
        moved = self.add("Transpose", [value], perm=perm)
        return self.add("Transpose", [self.add("Add", [moved, zeros])], perm=perm)

    def placeholder(self, picture: ir.Value, grid: ir.Value) -> ir.Value:
        """Return a tensor of the right shape that is no sampled picture."""
        # Opset 11: axes are attributes.
        wide = self.add("Unsqueeze", [grid], axes=[1])
        amounts = self.constant("pads", np.array([0] * 9 + [1], np.int64))
        padded = self.add("Pad", [wide, amounts], mode="constant")
        narrow = self.add("Squeeze", [padded], axes=[1])
        return self.add("Add", [picture, self.add("Transpose", [narrow], perm=(0, 3, 1, 2))])


def _aside(model: ir.Model) -> ir.Model:
    """Return the model in opset 11 but for its GridSample, which waits in another domain."""
    for node in model.graph:
        if node.op_type == "GridSample":
            node.domain = "aside"
    model.opset_imports["aside"] = 1
    assert not SetOpset(11).run(model).skipped
    return model


def _write_guide(straight: Path, target: Path, *, spliced: bool) -> Path:
    """Write opset 11, pins around GridSample (``spliced``) or around its placeholder."""
    model = _aside(model_io.load(straight))
    patch = Patch(model)
    x, grid = patch.sample.inputs
    assert x is not None
    assert grid is not None
    picture = patch.pinned(x, SWAP_PICTURE, [1, 3, 100, 32])
    flat = patch.pinned(grid, SWAP_GRID, [1, 100, 32, 2])
    if spliced:
        attributes = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": 1}
        joined = patch.add("GridSample", [picture, flat], **attributes)
    else:
        joined = patch.placeholder(picture, flat)
    end = patch.pinned(joined, SWAP_PICTURE, [1, 3, 100, 32])
    patch.sample.outputs[0].replace_all_uses_with(end)
    model.graph.remove(patch.sample, safe=True)
    del model.opset_imports["aside"]
    for node in model.graph:
        node.version = None
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = value.type = None  # the old converter wrote none
    ir.save(model, target)
    return target


def test_a_gridsample_in_a_model_of_opset_11_reads_as_the_straight_export_does(
    straight: Path, tmp_path: Path, read: Callable[[Path], list[str]], straight_texts: list[str]
) -> None:
    guide = _write_guide(straight, tmp_path / "guide.onnx", spliced=True)
    with pytest.raises(Exception, match="GridSample"):
        ort.InferenceSession(str(guide), providers=["CPUExecutionProvider"])
    fetched = fetch(Source(onnx=guide), tmp_path / "model.onnx")
    onnx.checker.check_model(onnx.load(fetched.path), full_check=True)
    assert fetched.opset == 16
    assert fetched.repairs == ("set-opset: opset 11 -> 16, the first with GridSample",)
    assert read(fetched.path) == straight_texts


def test_a_placeholder_reads_as_the_straight_export_does_once_it_is_spliced(
    straight: Path, tmp_path: Path, read: Callable[[Path], list[str]], straight_texts: list[str]
) -> None:
    guide = _write_guide(straight, tmp_path / "guide.onnx", spliced=False)
    assert read(guide) != straight_texts
    fetched = fetch(Source(onnx=guide), tmp_path / "model.onnx")
    onnx.checker.check_model(onnx.load(fetched.path), full_check=True)
    assert fetched.opset == 16
    assert [repair.split(":")[0] for repair in fetched.repairs] == [
        "set-opset",
        "splice-grid-sample",
    ]
    assert "GridSample of 'x' at" in fetched.repairs[1]
    assert read(fetched.path) == straight_texts


def test_a_model_of_opset_16_stays_as_it_is(straight: Path, tmp_path: Path) -> None:
    fetched = fetch(Source(onnx=straight), tmp_path / "model.onnx")
    assert fetched.repairs == ()
    assert fetched.agreement is None
    assert onnx.load(fetched.path).graph == onnx.load(straight).graph


def _saved(text: str, path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("y = Pad(x, p)", id="a Pad that is no placeholder"),
        pytest.param("h = Squeeze <axes = [0]> (x) y = Unsqueeze <axes = [0]> (h)", id="no Pad"),
    ],
)
def test_a_model_of_opset_11_without_a_placeholder_stays_as_it_is(
    body: str, tmp_path: Path
) -> None:
    text = (
        f"<{OLD}> g (float[1, 3] x) => (float[1, c] y) <int64[4] p = {{0, 0, 0, 1}}> {{ {body} }}"
    )
    model, done = read_onnx(_saved(text, tmp_path / "a.onnx"))
    assert done == []
    assert model.opset_imports[""] == 11


def test_a_neighbour_that_cannot_follow_gridsample_is_named(tmp_path: Path) -> None:
    text = (
        '<ir_version: 8, opset_import: ["": 10]> '
        "g (float[1, 3, 4, 4] x, float[1, 2, 2, 2] f) => (float[1, 3, 2, 2] y) "
        "{ y = GridSample(x, f) }"
    )
    with pytest.raises(PipelineError, match=r"a\.onnx: GridSample needs opset 16, and .* 10"):
        read_onnx(_saved(text, tmp_path / "a.onnx"))
