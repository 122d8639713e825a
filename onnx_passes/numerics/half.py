"""What a model computes when the device stores float16, emulated with float32 kernels.

Emulated:
    - Each float32 tensor that a node makes is rounded to float16, to the nearest, ties to even,
      and is infinite from 65520 on. (A device can be told to saturate at 65504 instead; this
      shows the overflow.)
    - Graph inputs and constants are rounded for each node that computes in float16.
    - A matrix product thus multiplies float16 numbers, sums in float32 and rounds once.
    - A node that is kept float32, by its mark or by name, reads constants, inputs and the results
      of other kept nodes as they are, and stores float32. A kept node keeps its sub-graphs.
    - What depends on constants and shapes alone is computed in float32: compilers fold it.

Not emulated:
    - The inside of an operator. Softmax, a normalisation, or an LSTM with its gates and its state
      between two steps compute in float32 and round their results once; a device may round inside.
    - Fusion. A device that fuses Conv and Relu rounds once where this rounds twice.
    - float64, bfloat16 and float16 tensors: they stay what they are.

Only Cast is added, so onnxruntime needs no float16 kernel. The interface of the model stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes import common

from onnx_passes.core.contract import ModelError, UsageError, label
from onnx_passes.core.emit import PRECISION_KEY
from onnx_passes.core.registry import did_you_mean
from onnx_passes.core.values import constant, subgraphs
from onnx_passes.numerics.half_rounding import Rounding, is_float32

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx_ir as ir

# Operators that compute another result each time: no compiler folds them.
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike", "Dropout"}


def emulate_half(
    model: ir.Model, keep_float32: Collection[str] = (), *, marks: bool = True
) -> ir.Model:
    """Return a copy of ``model`` that computes as a device that stores float16 does.

    Args:
        model: Left untouched. Its functions are inlined in the copy.
        keep_float32: Names of nodes that stay float32 (see :func:`node_key`).
        marks: Whether nodes marked ``onnx_passes.precision = float32`` stay float32 too.

    Raises:
        UsageError: If no node has a name of ``keep_float32``.
        ModelError: If the type of a tensor is unknown.
    """
    copy = prepare(model)
    kept = kept_nodes(copy, keep_float32, marks=marks)
    Rounding(copy, dict.fromkeys(half_nodes(copy, kept))).apply()
    return copy


def node_key(node: ir.Node) -> str:
    """Return the name of ``node``; its first output's if it has none."""
    return node.name or next((value.name for value in node.outputs if value.name), "")


def prepare(model: ir.Model) -> ir.Model:
    """Return a copy without functions whose values have types, as far as they can be inferred."""
    copy = model.clone()
    if copy.functions:
        common.InlinePass()(copy)
    made = (value for node in copy.graph.all_nodes() for value in node.outputs)
    if any(value.name and value.type is None for value in made):
        shapes = [value.shape for value in copy.graph.outputs]
        infer = common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)
        infer(copy)
        for value, shape in zip(copy.graph.outputs, shapes, strict=True):
            value.shape = shape  # inference may refine it; the interface stays
    return copy


def kept_nodes(model: ir.Model, names: Collection[str], *, marks: bool) -> set[ir.Node]:
    """Return the nodes that stay float32, with all nodes inside them.

    Raises:
        UsageError: If no node has one of the ``names``; with the nearest name.
    """
    nodes = list(model.graph.all_nodes())
    keys = {node_key(node) for node in nodes}
    for name in names:
        if name not in keys:
            near = did_you_mean(name, keys)
            msg = f"no node is named {name!r}, so it cannot be kept float32{near}"
            raise UsageError(msg)
    wanted = set(names)
    kept: set[ir.Node] = set()
    for node in nodes:
        if node_key(node) in wanted or (marks and is_marked(node)):
            kept.add(node)
            kept.update(inner for graph in subgraphs(node) for inner in graph.all_nodes())
    return kept


def is_marked(node: ir.Node) -> bool:
    """Return whether ``node`` carries the mark of nodes that must stay float32."""
    return node.metadata_props.get(PRECISION_KEY) == "float32"


def half_nodes(model: ir.Model, kept: Collection[ir.Node]) -> list[ir.Node]:
    """Return the nodes that compute in float16: they touch float32 and nothing exempts them.

    Raises:
        ModelError: If it cannot be told because the type of a tensor is unknown.
    """
    folded = _folded(model)
    nodes = [
        node
        for node in model.graph.all_nodes()
        if node not in kept and node not in folded and not any(subgraphs(node))
    ]
    for node in nodes:
        _refuse_unknown_types(node)
    return [node for node in nodes if any(map(is_float32, (*node.inputs, *node.outputs)))]


def _folded(model: ir.Model) -> set[ir.Node]:
    """Return the nodes that depend on constants and shapes alone."""
    folded: set[ir.Node] = set()
    for node in model.graph.all_nodes():
        reads = [value for value in node.inputs if value is not None]
        if node.op_type in {"Constant", "Shape", "Size"} or (
            reads
            and node.op_type not in _RANDOM
            and not any(subgraphs(node))
            and all(value.producer() in folded or constant(value) is not None for value in reads)
        ):
            folded.add(node)
    return folded


def _refuse_unknown_types(node: ir.Node) -> None:
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.name and value.type is None and value.const_value is None:
            msg = (
                f"float16 cannot be emulated: {label(node)} uses {value.name!r}, whose type cannot "
                "be inferred; declare it in the model's value_info"
            )
            raise ModelError(msg)
