"""What several passes must know about a value, and the one way to put one in another's place.

The names of graph outputs belong to the caller: a value that stands in for an output takes over
its name, type and shape, and where it cannot, there is a reason.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

# Two results of one of these may differ although the inputs do not; Dropout in training mode.
RANDOM_OPERATORS = frozenset(
    {
        *("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike"),
        *("RandomUniform", "RandomUniformLike"),
    }
)

_flat: ContextVar[ir.Graph | None] = ContextVar("flat", default=None)


@contextlib.contextmanager
def known_to_be_flat(graph: ir.Graph) -> Iterator[None]:
    """Within the block, search ``graph`` for no graph inside its nodes: there is none.

    The search is most of what a pass costs that finds nothing to do.
    """
    token = _flat.set(graph)
    try:
        yield
    finally:
        _flat.reset(token)


def graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """Yield the main graph, the body of each function, and the sub-graphs of them all."""
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        yield from with_inner(root)


def main_graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """Yield the main graph and its sub-graphs."""
    return with_inner(model.graph)


def all_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield each node of ``graph`` and, right after it, those of the graphs inside it."""
    if graph is _flat.get():
        yield from graph
        return
    for node in graph:
        yield node
        if node.attributes.data:
            for inner in subgraphs(node):
                yield from all_nodes(inner)


def with_inner(graph: ir.Graph) -> Iterator[ir.Graph]:
    """Yield ``graph`` and the graphs inside it, each before those inside it.

    ``onnx_ir`` has this too, several times slower: half the passes spent most of their time there.
    """
    yield graph
    if graph is _flat.get():
        return
    for node in graph:
        if node.attributes.data:  # a plain dictionary: this is asked of each node, by each pass
            for inner in subgraphs(node):
                yield from with_inner(inner)


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """Yield the graphs that are attributes of ``node``: an If's branches, a Loop's body."""
    for attribute in node.attributes.data.values():
        kind = attribute.type
        if kind is ir.AttributeType.GRAPH and attribute.value is not None:
            yield attribute.value
        elif kind is ir.AttributeType.GRAPHS and attribute.value is not None:
            yield from attribute.value


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Return the tensor ``value`` always holds, or None.

    An initializer that is also a graph input is a default, not a constant.
    """
    if value is None:
        return None
    node = value.producer()
    if node is None:
        return None if value.is_graph_input() else value.const_value
    if node.op_type != "Constant":  # first, since nearly all are others
        return value.const_value
    held = node.attributes.get("value") if node.domain == "" else None
    if held is not None and not held.is_ref():
        return held.as_tensor()  # get_const_tensor would rename it, and looking is no edit
    return ir.convenience.get_const_tensor(value)


def why_not_replace(old: ir.Value, new: ir.Value) -> str | None:
    """Return the reason why ``new`` cannot stand in for ``old``, or None if it can."""
    if not old.is_graph_output():
        return None
    if new.is_graph_input():
        return f"it copies the graph input {new.name!r} to the graph output {old.name!r}"
    if new.is_initializer():
        return f"it copies the initializer {new.name!r} to the graph output {old.name!r}"
    if new.is_graph_output():
        return f"{new.name!r} and {old.name!r} are both graph outputs"
    if new.graph is not old.graph:
        return f"{new.name!r} belongs to the graph around the one whose output is {old.name!r}"
    return None


def replace(old: ir.Value, new: ir.Value) -> None:
    """Let all readers of ``old`` read ``new``; see :func:`why_not_replace`."""
    if old.is_graph_output():
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        new.name, new.type, new.shape = old.name, old.type, old.shape
        return
    old.replace_all_uses_with(new)
    if not new.is_graph_input() and not new.is_graph_output():
        new.type = old.type if new.type is None else new.type
        new.shape = old.shape if new.shape is None else new.shape


def remove(node: ir.Node) -> None:
    """Take ``node``, which nothing reads, out of its graph, with all that its sub-graphs read."""
    for graph in subgraphs(node):
        for inner in list(graph.all_nodes()):
            inner.resize_inputs(0)
    if node.graph is not None:
        node.graph.remove(node, safe=True)


class TakenNames(set[str]):
    """Names, and for each wish that was taken the last number behind it: none is tried twice."""

    def __init__(self) -> None:
        """Start with no name."""
        super().__init__()
        self.counts: dict[str, int] = {}


def value_names(model: ir.Model) -> TakenNames:
    """Return the names of all values of ``model``."""
    names = TakenNames()
    for graph in graphs(model):
        made = (value for node in graph for value in node.outputs)
        for value in (*graph.inputs, *graph.initializers.values(), *made):
            names.add(value.name or "")
    return names


def fresh_name(wish: str, names: set[str]) -> str:
    """Return ``wish``, or ``wish_2``... where that is taken, and add it to ``names``."""
    name, counts = wish, names.counts if isinstance(names, TakenNames) else {}
    while name in names:
        counts[wish] = count = counts.get(wish, 1) + 1
        name = f"{wish}_{count}"
    names.add(name)
    return name


def reads(value: ir.Value) -> int:
    """Return how often nodes read ``value``, in constant time.

    ``value.uses()`` copies all uses: asked of a constant that each node of a long chain reads,
    after each rewrite, that is quadratic.
    """
    uses = getattr(value, "_uses", None)  # onnx-ir 1.1 has no public way that copies nothing
    return len(value.uses() if uses is None else uses)


def is_read(value: ir.Value) -> bool:
    """Return whether a node reads ``value``, in constant time."""
    return reads(value) > 0


def new_initializer(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """Add ``tensor`` to the initializers of ``graph`` under a name that is free there."""
    shape = ir.Shape(tensor.shape.numpy())
    kind = ir.TensorType(tensor.dtype)
    value = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
    graph.register_initializer(value)
    return value


def drop_unread_initializer(value: ir.Value | None) -> None:
    """Remove ``value`` if it is an initializer that nothing reads and no caller can name."""
    if value is None or not value.is_initializer() or is_read(value):
        return
    if value.is_graph_input() or value.is_graph_output() or value.graph is None or not value.name:
        return
    del value.graph.initializers[value.name]
