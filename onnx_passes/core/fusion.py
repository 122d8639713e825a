"""What passes that make one node of several have in common: who reads a value, and the exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.spelling import maker, remove_unread
from onnx_passes.core.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir


def only_reader(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads ``value``, or None: several do, or the caller does."""
    if value.is_graph_output():
        return None
    readers = value.consumers()
    return readers[0] if len(readers) == 1 else None


def made_by(node: ir.Node, *op_types: str) -> tuple[ir.Node, ir.Value] | None:
    """Return what makes one of the two inputs of ``node``, an operator asked for, and the other."""
    for index in (0, 1):
        found, other = maker(node.inputs[index], *op_types), node.inputs[1 - index]
        if found is not None and other is not None:
            return found, other
    return None


def why_not_private(parts: Sequence[ir.Node]) -> str | None:
    """Return which result of ``parts``, the last one's aside, somebody else reads, or None."""
    inside = set(parts)
    for value in (value for part in parts[:-1] for value in part.outputs):
        if value.is_graph_output() or not inside.issuperset(value.consumers()):
            return f"{value.name!r} is a graph output or has another reader"
    return None


def exchange(parts: Sequence[ir.Node], new: ir.Node) -> None:
    """Put ``new`` in the place of the last of ``parts``; remove them and the constants they read.

    Its output takes over name, type and shape of the last one's, and the node all metadata.
    """
    last = parts[-1]
    old, made, graph = last.outputs[0], new.outputs[0], last.graph
    name, new.name = old.name, last.name
    for part in parts:
        new.metadata_props.update(part.metadata_props)
    made.type, made.shape = old.type, old.shape
    made.metadata_props.update(old.metadata_props)
    if graph is not None:
        graph.insert_before(last, new)
    replace(old, made)
    for part in reversed(parts):
        remove_unread(part)
    made.name = name
