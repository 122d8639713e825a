"""narrow-int64: compute in int32 what is proven to fit.

Before::

    i int32 -> Cast -> a int64 -> Mod -> b int64 -> Expand -> c int64 -> Cast -> d int32

After::

    i int32 -> Mod -> b int32 -> Expand -> d int32,  and indices and slice bounds stored as int32

Why:
    Expand and Mod of int64 have no AI Core kernel on 310P, and no vector unit there converts
    int64.

Fires when:
    - nodes that move or compute int64 (Expand, Mod, Add, Mul, Concat, Gather...) are connected,
      and every value they read or make is proven to be in int32: from constants, static shapes
      and narrower types, by interval arithmetic; and they hold an Expand or a Mod, or more Casts
      go than come.
    - an initializer is read as index of Gather or GatherElements, or as bound of Slice, only:
      stored in int32, the file is smaller. Bounds of Slice beyond int32 are clamped: the
      specification calls 2^31 - 1 "to the end".

Leaves alone:
    - a value without proof (dynamic extents, int64 inputs, Casts of floats, products that may
      overflow) or without a recorded type: run infer-shapes first.
    - nodes for which more Casts would come than go, without Expand or Mod among them.
    - an initializer that something else reads, or that is an input or output of a graph; Constant
      nodes (run fold-constants first).
    - bodies of functions.

    Inputs and outputs of graphs stay int64, behind a Cast.

Numerics:
    Exact: integers in range are the same in both types.

References:
    - https://onnx.ai/onnx/operators/onnx__Slice.html
    - https://onnx.ai/onnx/operators/onnx__Mod.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.int64_regions import Region, narrow_source, regions
from onnx_passes.core.integer_ranges import INT32, integer_ranges
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import drop_unread_constant, remove_unread
from onnx_passes.core.values import (
    constant,
    drop_unread_initializer,
    main_graphs,
    new_initializer,
)

_INDICES = {"Gather": (1,), "GatherElements": (1,), "Slice": (1, 2, 3, 4)}
_CLAMPED = (1, 2)  # starts and ends of Slice


@register
@dataclass(frozen=True)
class NarrowInt64(Pass):
    """Compute in int32 what is proven to fit."""

    name: ClassVar[str] = "narrow-int64"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, names, ranges = PassResult(), Names(model), integer_ranges(model)
        for graph in main_graphs(model):
            for region in regions(graph, ranges, result):
                name = label(region.nodes[0])
                if refusal := region.why_not():
                    result.skipped.append(Note(name, refusal))
                    continue
                _narrow(region, names)
                result.rewritten.append(Note(name, f"{len(region.nodes)} nodes compute in int32"))
        indices = [value for graph in main_graphs(model) for value in _index_constants(graph)]
        notes = [Note(f"initializer {value.name!r}", "stored as int32") for value in indices]
        for value in indices:
            _store(value, names)
        for note in notes:  # now that no Slice has bounds of two types
            result.rewritten.append(note)
        return result


def _narrow(region: Region, names: Names) -> None:
    """Let the nodes of the region compute in int32, with Casts where others need int64."""
    new: dict[ir.Value, ir.Value] = {}
    for node, place in region.entries():
        value = node.inputs[place]
        if value is None:
            continue
        if value not in new:
            new[value] = _narrowed(value, node, names)
        node.replace_input_with(place, new[value])
        drop_unread_constant(value)
    for node in region.nodes:
        for value in node.outputs:
            value.type = ir.TensorType(ir.DataType.INT32)
    for value in region.results:
        _widen(value, region, names)
    for cast in region.gone:
        source = cast.inputs[0]
        if source is not None and source.producer() in region.inside:
            cast.outputs[0].replace_all_uses_with(source)
        remove_unread(cast)


def _narrowed(value: ir.Value, node: ir.Node, names: Names) -> ir.Value:
    """Return ``value`` as int32: a constant, what a Cast reads, or a new Cast before ``node``."""
    source, tensor = narrow_source(value), constant(value)
    if source is not None:
        return source
    name = names.fresh(f"{value.name}.int32")
    if tensor is not None and node.graph is not None:
        array = ir.Tensor(tensor.numpy().astype(np.int32), name=name)
        return new_initializer(node.graph, name, array)
    copy = ir.Value(name=name, type=ir.TensorType(ir.DataType.INT32), shape=value.shape)
    attributes = {"to": ir.DataType.INT32.value}
    node.prepend(ir.node("Cast", [value], attributes, outputs=[copy], name=name))
    return copy


def _widen(value: ir.Value, region: Region, names: Names) -> None:
    """Let readers that need int64 read a copy of ``value``, which takes over its name."""
    maker, name, uses = value.producer(), value.name, list(value.uses())
    if maker is None:
        return
    value.name = names.fresh(f"{name}.int32")
    copy = ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=value.shape)
    outputs = value.graph.outputs if value.is_graph_output() and value.graph is not None else []
    for index, output in enumerate(outputs):
        if output is value:
            outputs[index] = copy
    attributes = {"to": ir.DataType.INT64.value}
    maker.append(ir.node("Cast", [value], attributes, outputs=[copy], name=name))
    for use in uses:
        if not region.takes(use.node, use.idx):
            use.node.replace_input_with(use.idx, copy)


def _index_constants(graph: ir.Graph) -> list[ir.Value]:
    """Return the int64 initializers that are read as indices only, of whole Slices only."""
    found = {value: None for value in graph.initializers.values() if _is_index(value)}
    while True:
        mixed = [
            value
            for value in found
            if any(other not in found for use in value.uses() for other in _indices(use.node))
        ]
        if not mixed:
            return list(found)
        for value in mixed:
            del found[value]


def _is_index(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.INT64 or not value.uses():
        return False
    if value.is_graph_input() or value.is_graph_output():
        return False
    if any(use.idx not in _indices_of(use.node) for use in value.uses()):
        return False
    array = tensor.numpy()
    fits = not array.size or (array.min() >= INT32[0] and array.max() <= INT32[1])
    return fits or all(use.node.op_type == "Slice" and use.idx in _CLAMPED for use in value.uses())


def _indices_of(node: ir.Node) -> tuple[int, ...]:
    return () if node.domain else _INDICES.get(node.op_type, ())


def _indices(node: ir.Node) -> list[ir.Value]:
    """Return the inputs that share the type of an index."""
    places = _indices_of(node)
    return [value for place, value in enumerate(node.inputs) if value and place in places]


def _store(value: ir.Value, names: Names) -> None:
    """Replace an initializer by one of int32, clamped."""
    tensor, graph = value.const_value, value.graph
    if tensor is None or graph is None:
        return
    array = np.clip(tensor.numpy(), *INT32).astype(np.int32)
    name = names.fresh(f"{value.name}.int32")
    value.replace_all_uses_with(new_initializer(graph, name, ir.Tensor(array, name=name)))
    drop_unread_initializer(value)
