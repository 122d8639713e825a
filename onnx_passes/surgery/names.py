"""Names of two models that are to become one: prefixed, and never the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.contract import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir


def add_prefix(model: ir.Model, prefix: str) -> None:
    """Put ``prefix`` before the names of all values and nodes of the graph and its sub-graphs."""
    if not prefix:
        return
    for graph in model.graphs():
        for value in _values(graph):
            if value.name:
                value.name = prefix + value.name
        for node in graph:
            if node.name:
                node.name = prefix + node.name


def clash(a: ir.Model, b: ir.Model) -> str | None:
    """Return a name that both models give to a tensor, or both to a node, or None."""
    values = _value_names(a) & _value_names(b)
    nodes = _node_names(a) & _node_names(b)
    return min((values | nodes) - {""}, default=None)


def same_functions(a: ir.Model, b: ir.Model) -> Mapping[ir.OperatorIdentifier, ir.Function]:
    """Return the functions of ``b``.

    Raises:
        UsageError: If ``a`` calls another function by the same name.
    """
    import onnx_ir as ir

    for key in sorted(set(a.functions) & set(b.functions)):
        one, other = (ir.to_proto(model.functions[key]) for model in (a, b))
        if one.SerializeToString(deterministic=True) != other.SerializeToString(deterministic=True):
            msg = f"both models define a function {key[1]!r} of domain {key[0]!r}, differently"
            raise UsageError(msg)
    return dict(b.functions)


def _values(graph: ir.Graph) -> list[ir.Value]:
    """Return the values of one graph; one that is input and initializer, once."""
    made = [value for node in graph for value in node.outputs]
    return list(dict.fromkeys((*graph.inputs, *graph.initializers.values(), *made)))


def _value_names(model: ir.Model) -> set[str]:
    """Return the names of all values but those of functions, which have names of their own."""
    return {value.name or "" for graph in model.graphs() for value in _values(graph)}


def _node_names(model: ir.Model) -> set[str]:
    return {node.name or "" for node in model.graph.all_nodes()}
