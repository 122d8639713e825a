"""How much rounding alone moves a model's outputs.

A rewrite that only rounds differently (folding a batch norm, another summation order) is, to first
order, the same function of slightly different constants and inputs: every one off by an ulp. So the
original is run once more with each float constant and each float feed moved to a neighbouring
number, up or down at random, and what that does to an output is the yardstick for "rounding only".
It carries the model's own conditioning: 1e-7 for a single Conv, 1e-3 behind a sampled image.
A constant 1 stays: moved, that of an attention mask ``(1 - mask) * -FLT_MAX`` would leave 4e31
where nothing is masked, and whatever one adds 1 to has a spacing of about that of 1 anyway. So do
constants that are compared with constants, as the window numbers that make the mask of a shifted
window: no rewrite rounds there, and one ulp would undo the mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.core.model_io import initializer_bytes
from onnx_passes.core.values import RANDOM_OPERATORS, subgraphs
from onnx_passes.numerics.compare import is_float

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Array
    from onnx_passes.numerics.runner import Arrays

# Floats that have to stay as they are, by operator and input: they steer a shape, or, as the
# exponent 2 of a negative base, the smallest change makes them another function.
_STEERING = {"Resize": (1, 2), "Upsample": (1,), "Range": (0, 1, 2), "Pow": (1,)}
# What answers in steps: computed from constants only, the answer does not depend on rounding.
_DECIDING = frozenset(
    {
        *("ArgMax", "ArgMin", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual"),
        *("Less", "LessOrEqual", "NonZero", "Round", "Sign"),
    }
)
# Above this the constants stay as they are and only the feeds move: a second copy of the weights
# would be dearer than the check.
MAX_CONSTANT_BYTES = 1 << 29


def nudged_array(array: Array, rng: np.random.Generator) -> Array:
    """Return ``array`` with each non-zero finite float moved one ulp, up or down at random.

    A number with no finite neighbour on its side stays: ``-FLT_MAX`` stands for "masked".
    """
    if not is_float(array):
        return array
    flat = np.ascontiguousarray(array).reshape(-1)
    bits = flat.view(f"u{array.dtype.itemsize}")
    coins = rng.integers(0, 256, -(-flat.size // 8), np.uint8)
    away = np.unpackbits(coins, count=flat.size).astype(bits.dtype)
    # A float's bits without the sign, read as a whole number, count up with its magnitude.
    moved = bits + (away + away - 1)
    with np.errstate(invalid="ignore"):  # ml_dtypes warns of NaN
        stays = (flat == 0) | ~np.isfinite(flat) | ~np.isfinite(moved.view(array.dtype))
    np.copyto(moved, bits, where=stays)
    return np.asarray(moved.view(array.dtype).reshape(array.shape))


def nudged_feeds(feeds: Mapping[str, Array], seed: int) -> Arrays:
    """Return feeds with every float moved one ulp."""
    rng = np.random.default_rng(seed)
    return {name: nudged_array(array, rng) for name, array in feeds.items()}


def nudged_model(model: ir.Model, seed: int) -> ir.Model:
    """Return a copy of ``model`` with every float constant moved one ulp.

    Constants are initializers and the values of Constant nodes; what steers a shape stays, what
    is only compared with constants, and 1 and -1. A model whose initializers exceed
    :data:`MAX_CONSTANT_BYTES` is returned as it is.
    """
    import onnx_ir as ir

    if initializer_bytes(model) > MAX_CONSTANT_BYTES:
        return model
    copy = model.clone()
    rng = np.random.default_rng(seed)
    deciding = _deciding(copy)
    for graph in copy.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None and not (value in deciding or _steers(value)):
                value.const_value = _nudged(value.const_value, rng)
    for node in copy.graph.all_nodes():
        held = node.attributes.get("value") if node.op_type == "Constant" else None
        if held is not None and not (node.outputs[0] in deciding or _steers(node.outputs[0])):
            node.attributes["value"] = ir.AttrTensor("value", _nudged(held.as_tensor(), rng))
    return copy


def _deciding(model: ir.Model) -> set[ir.Value]:
    """Return what depends on constants only and ends in a decision."""
    fixed = {
        value
        for graph in model.graphs()
        for value in graph.initializers.values()
        if not value.is_graph_input()
    }
    stack: list[ir.Value] = []
    for node in model.graph.all_nodes():
        inputs = [value for value in node.inputs if value is not None]
        if node.op_type in RANDOM_OPERATORS or not (inputs or node.op_type == "Constant"):
            continue
        if fixed.issuperset(inputs) and next(subgraphs(node), None) is None:
            fixed.update(node.outputs)
            stack += inputs if _decides(node) else ()
    found: set[ir.Value] = set()
    while stack:
        value = stack.pop()
        if value not in found:
            found.add(value)
            producer = value.producer()
            read = producer.inputs if producer is not None else ()
            stack += [value for value in read if value is not None]
    return found


def _decides(node: ir.Node) -> bool:
    import onnx_ir as ir

    if node.op_type == "Cast":
        return not ir.DataType(node.attributes.get_int("to", 1)).is_floating_point()
    return node.op_type in _DECIDING


def _steers(value: ir.Value) -> bool:
    return any(position in _STEERING.get(node.op_type, ()) for node, position in value.uses())


def _nudged(tensor: ir.TensorProtocol, rng: np.random.Generator) -> ir.TensorProtocol:
    import onnx_ir as ir

    if not tensor.dtype.is_floating_point():
        return tensor
    array = tensor.numpy()
    if bool((np.abs(array) == 1).all()):
        return tensor
    return ir.Tensor(nudged_array(array, rng), dtype=tensor.dtype, name=tensor.name)
