"""Connected nodes that compute int64 values which are proven to fit in int32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.contract import Note, PassResult, label
from onnx_passes.core.integer_ranges import INT32, Bounds
from onnx_passes.core.values import constant

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALL = range(1 << 10)
_DATA: dict[str, range] = {
    **dict.fromkeys(("Add", "Concat", "Div", "Max", "Min", "Mod", "Mul", "Sub"), _ALL),
    **dict.fromkeys(("Abs", "Expand", "Flatten", "Gather", "GatherElements"), range(1)),
    **dict.fromkeys(("Identity", "Neg", "Reshape", "Slice", "Split", "Squeeze"), range(1)),
    **dict.fromkeys(("Tile", "Transpose", "Unsqueeze"), range(1)),
    "Where": range(1, 3),
}
RELIEVED = ("Expand", "Mod")  # no int64 kernel on AI Core, CANN 8.1 operator list
_INDEX = 1
_READ_BY_INDEX = ("Gather", "GatherElements")


class Region:
    """Connected nodes, and the Casts around them.

    Attributes:
        nodes: The nodes, in order.
        inside: The same as a set.
        sources: What they read from outside, constants apart.
        results: What others need in int64 of what they make.
        gone: Casts that go.
    """

    def __init__(self, nodes: list[ir.Node]) -> None:
        """Note what is around ``nodes``."""
        self.nodes, self.inside = nodes, set(nodes)
        outside = [node.inputs[place] for node, place in self.entries()]
        self.sources = {v: None for v in outside if v is not None and constant(v) is None}
        self.results: dict[ir.Value, None] = {}
        self.gone: dict[ir.Node, None] = {}
        for value in (value for node in nodes for value in node.outputs):
            if value.is_graph_output() or not all(
                self.takes(use.node, use.idx) for use in value.uses()
            ):
                self.results[value] = None
            for use in value.uses():
                if _ends_in_int32(use.node) and use.node.graph is nodes[0].graph:
                    self.gone[use.node] = None
        for value in self.sources:
            maker = value.producer()
            if maker is not None and narrow_source(value) is not None and self._has(value):
                self.gone[maker] = None

    def entries(self) -> Iterator[tuple[ir.Node, int]]:
        """Yield the places at which the nodes read int64 data from outside."""
        for node in self.nodes:
            for place in _places(node):
                value = node.inputs[place]
                if value is not None and value.producer() not in self.inside:
                    yield node, place

    def takes(self, node: ir.Node, place: int) -> bool:
        """Return whether a reader takes int32 as it does int64."""
        is_index = not node.domain and node.op_type in _READ_BY_INDEX and place == _INDEX
        return is_index or self._is_inner(node, place) or _is_cast(node)

    def why_not(self) -> str | None:
        """Return why int32 would be no gain, or None."""
        if any(node.op_type in RELIEVED for node in self.nodes):
            return None
        come = sum(1 for value in self.sources if narrow_source(value) is None)
        come, go = come + len(self.results), len(self.gone)
        text = f"{come} Casts would come and {go} go, without Expand or Mod among them"
        return None if come < go else text

    def _is_inner(self, node: ir.Node, place: int) -> bool:
        return node in self.inside and place in _DATA[node.op_type]

    def _has(self, value: ir.Value) -> bool:
        """Return whether nothing outside reads ``value``."""
        return not value.is_graph_output() and all(
            self._is_inner(use.node, use.idx) for use in value.uses()
        )


def regions(
    graph: ir.Graph, ranges: dict[ir.Value, Bounds], result: PassResult
) -> Iterator[Region]:
    """Yield the connected nodes of ``graph`` whose values all fit; note what does not."""
    leader: dict[ir.Node, ir.Node] = {}
    for node in graph:
        if not _is_int64(node):
            continue
        values = [*(node.inputs[place] for place in _places(node)), *node.outputs]
        misfit = next((v for v in values if v is not None and not _fits(v, ranges)), None)
        if misfit is None:
            leader[node] = node
        elif node.op_type in RELIEVED:
            text = f"nothing proves that {misfit.name!r} fits in int32"
            result.skipped.append(Note(label(node), text))
    groups: dict[ir.Node, list[ir.Node]] = {}
    _join(leader)
    for node in leader:
        groups.setdefault(_root(node, leader), []).append(node)
    for nodes in groups.values():
        yield Region(nodes)


def narrow_source(value: ir.Value) -> ir.Value | None:
    """Return the int32 value that a Cast makes ``value`` of, or None."""
    maker = value.producer()
    source = maker.inputs[0] if maker is not None and _is_cast(maker) else None
    return source if source is not None and source.dtype == ir.DataType.INT32 else None


def _join(leader: dict[ir.Node, ir.Node]) -> None:
    """Give nodes of which one reads the other's data one leader."""
    for node in leader:
        for place in _places(node):
            value = node.inputs[place]
            maker = None if value is None else value.producer()
            if maker is not None and maker in leader:
                leader[_root(maker, leader)] = _root(node, leader)


def _root(node: ir.Node, leader: dict[ir.Node, ir.Node]) -> ir.Node:
    while leader[node] is not node:
        leader[node] = leader[leader[node]]
        node = leader[node]
    return node


def _is_int64(node: ir.Node) -> bool:
    """Return whether ``node`` moves or computes int64 values that have a type."""
    known = node.domain == "" and node.op_type in _DATA
    return known and all(value.dtype == ir.DataType.INT64 for value in node.outputs)


def _places(node: ir.Node) -> list[int]:
    """Return the inputs that have the type of the outputs."""
    return [place for place in range(len(node.inputs)) if place in _DATA[node.op_type]]


def _fits(value: ir.Value, ranges: dict[ir.Value, Bounds]) -> bool:
    low, high = ranges.get(value, (INT32[0] - 1, 0))
    return INT32[0] <= low and high <= INT32[1]


def _is_cast(node: ir.Node) -> bool:
    return (node.domain, node.op_type) == ("", "Cast") and not node.attributes["to"].is_ref()


def _ends_in_int32(node: ir.Node) -> bool:
    """Return whether ``node`` is a Cast to int32 that makes no graph output."""
    if not _is_cast(node) or node.outputs[0].is_graph_output():
        return False
    return node.attributes["to"].as_int() == ir.DataType.INT32.value
