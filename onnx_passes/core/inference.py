"""What onnx's shape inference knows of a model's values, without touching the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.integrity import skeleton

if TYPE_CHECKING:
    import onnx_ir as ir


def infer(model: ir.Model) -> dict[ir.Value, ir.Value]:
    """Return, for each value that a node makes, a value with the inferred type and shape.

    The main graph and its sub-graphs are covered. Data is propagated, so that the shape a Reshape
    computes from a Shape is known. A model that onnx cannot infer at all gives an empty result.
    """
    import onnx
    import onnx_ir as ir

    try:
        proto = onnx.shape_inference.infer_shapes(skeleton(model), data_prop=True)
    except onnx.shape_inference.InferenceError:
        return {}
    found: dict[ir.Value, ir.Value] = {}
    for graph, twin in zip(model.graphs(), ir.from_proto(proto).graphs(), strict=True):
        for node, other in zip(graph, twin, strict=True):
            found.update(zip(node.outputs, other.outputs, strict=True))
    return found


def is_invented(dim: int | ir.SymbolicDim) -> bool:
    """Return whether a dimension has no size and no name but one that onnx made up for it."""
    return not isinstance(dim, int) and (dim.value is None or dim.value.startswith("unk__"))
