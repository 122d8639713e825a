"""What onnx's shape inference knows of a model's values, without touching the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.skeleton import skeleton
from onnx_passes.core.values import main_graphs, subgraphs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx


def infer(
    model: ir.Model, *, afresh: bool = False, wanted: Callable[[ir.Value], bool] = lambda _: True
) -> dict[ir.Value, ir.Value]:
    """Return, for each value that a node makes, a value with the inferred type and shape.

    The main graph and its sub-graphs are covered. Data is propagated, so that the shape a Reshape
    computes from a Shape is known, unless two graphs use one name: onnx 1.17 to 1.23 keeps the data
    of both under it. A model that onnx cannot infer at all gives an empty result.
    Values share shapes, which are frozen: what goes into a model is a copy.

    Args:
        model: It is not changed.
        afresh: Whether the recorded shapes of what nodes make are left out of account.
        wanted: Which values are asked for; where none is, nothing is inferred.
    """
    import onnx

    if not any(wanted(v) for graph in main_graphs(model) for node in graph for v in node.outputs):
        return {}
    before = skeleton(model)
    if afresh:
        _forget_shapes(before.graph)
    try:
        proto = onnx.shape_inference.infer_shapes(before, data_prop=not _shares_names(model))
    except onnx.shape_inference.InferenceError:
        return {}
    found: dict[ir.Value, ir.Value] = {}
    _collect(model.graph, proto.graph, found, _Reader(wanted))
    return found


def _shares_names(model: ir.Model) -> bool:
    """Return whether two of the main graph and its sub-graphs give a value the same name."""
    seen: set[str | None] = set()
    graphs = list(main_graphs(model))
    for graph in graphs if len(graphs) > 1 else ():
        made = (value for node in graph for value in node.outputs)
        names = {value.name for value in (*graph.inputs, *graph.initializers.values(), *made)}
        names -= {"", None}
        if not seen.isdisjoint(names):
            return True
        seen |= names
    return False


class _Reader:
    """Reads type and shape of values; most values of a model share a few."""

    def __init__(self, wanted: Callable[[ir.Value], bool]) -> None:
        self.wanted = wanted
        self._known: dict[bytes, tuple[ir.DataType, ir.Shape | None]] = {}

    def value(self, info: onnx.ValueInfoProto | None, name: str | None) -> ir.Value:
        """Return a value with all that ``info`` says."""
        if info is None:
            return ir.Value(name=name)
        key = info.type.SerializeToString()
        if key not in self._known:
            value = ir.serde.deserialize_value_info_proto(info, None)
            if value.shape is not None:
                value.shape.freeze()
            if type(value.type) is not ir.TensorType or value.type.denotation:
                return value
            self._known[key] = value.type.dtype, value.shape
        dtype, shape = self._known[key]
        return ir.Value(name=name, type=ir.TensorType(dtype), shape=shape)


def _forget_shapes(graph: onnx.GraphProto) -> None:
    made = {name for node in graph.node for name in node.output}
    for info in (*graph.value_info, *graph.output):
        if info.name in made and info.type.HasField("tensor_type"):
            info.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                _forget_shapes(inner)


def _collect(
    graph: ir.Graph, proto: onnx.GraphProto, found: dict[ir.Value, ir.Value], reader: _Reader
) -> None:
    """Read what is known of the results of the nodes of ``graph`` from its proto."""
    infos = {info.name: info for info in (*proto.value_info, *proto.output)}
    for place, node in enumerate(graph):
        for value in node.outputs:
            if reader.wanted(value):
                found[value] = reader.value(infos.get(value.name or ""), value.name)
        if node.attributes.data and (held := list(subgraphs(node))):
            for inner, twin in zip(held, _graphs_of(proto.node[place]), strict=True):
                _collect(inner, twin, found, reader)


def _graphs_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs that are attributes of ``node``, in the order of :func:`subgraphs`."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def is_invented(dim: int | ir.SymbolicDim) -> bool:
    """Return whether a dimension has no size and no name but one that onnx made up for it."""
    return not isinstance(dim, int) and (dim.value is None or dim.value.startswith("unk__"))


def learn(value: ir.Value, inferred: ir.Value) -> bool:
    """Add what ``inferred`` knows and ``value`` does not; return whether there was anything.

    Sizes and symbols that stand there stay; names that onnx made up are not taken.
    """
    learnt = False
    if value.type is None and inferred.type is not None:
        value.type, learnt = inferred.type, True
    shape = None if inferred.shape is None else _merged(value.shape, inferred.shape)
    if shape is not None:
        value.shape, learnt = shape, True
    return learnt


def _merged(known: ir.Shape | None, inferred: ir.Shape) -> ir.Shape | None:
    """Return the shape of which more is known than of either, or None if ``known`` says it all."""
    if known is None:
        return ir.Shape([None if is_invented(dim) else dim for dim in inferred])
    if known.rank() != inferred.rank():
        return None
    pairs = zip(known, inferred, strict=True)
    dims = tuple([new if is_invented(old) and not is_invented(new) else old for old, new in pairs])
    return None if dims == known.dims else ir.Shape(dims)
