"""gather-to-split: replace the Gathers that cut a tensor into pieces by one Split.

Before::

    x [3, N, C] -> Gather<axis = 0>(0) -> q [N, C]
                -> Gather<axis = 0>(1) -> k [N, C]
                -> Gather<axis = 0>(2) -> v [N, C]

After::

    x -> Split<axis = 0>(1, 1, 1) -> Squeeze<axes = [0]> x3 -> q, k, v

A Gather whose indices are a list, ``[2, 3, 4]``, keeps the axis and needs no Squeeze.

Why:
    One copy of x instead of a lookup for each piece.

Fires when:
    two or more Gathers on one axis are all that reads x, their constant indices rise by one, and
    the pieces tile the axis, whose extent is static: each row is read once.

Leaves alone:
    - a tensor that a node other than a Gather reads, or that is read as the indices of one.
    - a reader in another graph, the branch of an If, say.
    - Gathers on more than one axis, or with indices that are computed or of rank 2 and higher.
    - an axis of unknown extent: run infer-shapes first.
    - pieces that overlap, leave a gap, or are not in order within themselves.
    - constants, without a word: fold-constants computes what reads them.
    - a tensor with one reader, without a word: there is nothing to split.

Numerics:
    Exact: elements are copied, none is computed.

References:
    - https://onnx.ai/onnx/operators/onnx__Gather.html
    - https://onnx.ai/onnx/operators/onnx__Split.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.values import constant, drop_unread_initializer, graphs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

_SQUEEZE_AXES_ARE_INPUT = 13


class _Piece(NamedTuple):
    """The rows ``start`` to ``stop - 1``, which ``gather`` reads; a scalar index drops the axis."""

    start: int
    stop: int
    gather: ir.Node
    scalar: bool


@register
@dataclass(frozen=True)
class GatherToSplit(Pass):
    """Replace the Gathers that cut a tensor into pieces by one Split."""

    name: ClassVar[str] = "gather-to-split"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"Gather"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, names = PassResult(), Names(model)
        for gathers, opset in [(gathers, opset) for _, gathers, opset in _gathered(model)]:
            x = gathers[0].inputs[0]  # not what was found: a Split may have taken its place
            if x is None:
                continue
            refusal = _why_not_readers(x, gathers) or _why_not_axis(x, gathers)
            pieces = [] if refusal else _pieces(x, gathers)
            if refusal := refusal or _why_not_pieces(x, pieces):
                result.skipped.append(Note(label(gathers[0]), refusal))
                continue
            note = Note(label(gathers[0]), f"{len(pieces)} pieces of {x.name!r}")
            _replace(x, gathers, pieces, names, opset)
            result.rewritten.append(note)
        return result


def _gathered(model: ir.Model) -> Iterator[tuple[ir.Value, list[ir.Node], int]]:
    """Yield what is no constant and two or more Gathers of one graph read, with that graph's opset.

    The Gathers stand in the order of the graph.
    """
    for graph in graphs(model):
        opset = graph.opset_imports.get("", model.opset_imports.get("", 0))
        readers: dict[ir.Value, list[ir.Node]] = {}
        for node in graph:
            if (node.domain, node.op_type) == ("", "Gather") and node.inputs[0] is not None:
                readers.setdefault(node.inputs[0], []).append(node)
        for value, gathers in readers.items():
            if len(gathers) > 1 and constant(value) is None:
                yield value, gathers, opset


def _why_not_readers(x: ir.Value, gathers: list[ir.Node]) -> str | None:
    """Return which reader of ``x`` is no Gather with constant indices in one graph, or None."""
    for reader, position in x.uses():
        if (reader.domain, reader.op_type) != ("", "Gather") or position:
            return f"{x.name!r} is read by {label(reader)} too"
        if reader.graph is not gathers[0].graph:
            return f"{label(reader)} reads {x.name!r} in another graph"
    for gather in gathers:
        indices = constant(gather.inputs[1])
        if indices is None:
            return f"the indices of {label(gather)} are no constant"
        if len(indices.shape) > 1:
            return f"the indices of {label(gather)} have rank {len(indices.shape)}"
    return None


def _why_not_axis(x: ir.Value, gathers: list[ir.Node]) -> str | None:
    """Return why the Gathers have no common axis of static extent, or None."""
    if x.shape is None or not len(x.shape):
        return f"the shape of {x.name!r} is unknown; run infer-shapes first"
    axes = {_axis(gather, len(x.shape)) for gather in gathers}
    if len(axes) > 1:
        return f"{x.name!r} is gathered along the axes {', '.join(map(str, sorted(axes)))}"
    axis = axes.pop()
    if not isinstance(x.shape[axis], int):
        return f"the extent of axis {axis} of {x.name!r} is unknown; run infer-shapes first"
    return None


def _axis(gather: ir.Node, rank: int) -> int:
    return (gather.attributes.get_int("axis", 0) or 0) % rank


def _extent(x: ir.Value, axis: int) -> int:
    size = x.shape[axis] if x.shape is not None else 0
    return size if isinstance(size, int) else 0


def _pieces(x: ir.Value, gathers: list[ir.Node]) -> list[_Piece]:
    """Return what each Gather reads, in the order of the rows; empty if one skips rows."""
    rank = len(x.shape) if x.shape is not None else 0
    extent = _extent(x, _axis(gathers[0], rank))
    pieces = []
    for gather in gathers:
        tensor = constant(gather.inputs[1])
        indices = np.asarray(tensor).astype(np.int64)
        rows = np.where(indices < 0, indices + extent, indices).reshape(-1)
        if not rows.size or (np.diff(rows) != 1).any():
            return []
        pieces.append(_Piece(int(rows[0]), int(rows[-1]) + 1, gather, indices.ndim == 0))
    return sorted(pieces, key=lambda piece: piece.start)


def _why_not_pieces(x: ir.Value, pieces: list[_Piece]) -> str | None:
    """Return why the pieces do not tile the axis, or None."""
    if not pieces or x.shape is None:
        return "the indices of one Gather do not rise by one"
    row = 0
    for piece in pieces:
        if piece.start != row:
            fault = "overlaps the piece before it" if piece.start < row else "leaves a gap"
            return f"{label(piece.gather)}, which reads from row {piece.start}, {fault}"
        row = piece.stop
    extent = _extent(x, _axis(pieces[0].gather, len(x.shape)))
    return None if row == extent else f"the pieces end at row {row} of {extent}"


def _replace(
    x: ir.Value, gathers: list[ir.Node], pieces: list[_Piece], names: Names, opset: int
) -> None:
    """Put a Split before the first Gather, and what is left of each Gather in its place."""
    first, graph = gathers[0], gathers[0].graph
    if x.shape is None or graph is None:
        return
    axis = _axis(first, len(x.shape))
    emit = Emitter(first, names, opset)
    parts = emit.split(x, axis, [piece.stop - piece.start for piece in pieces])
    for value in emit.initializers:
        graph.register_initializer(value)
    graph.insert_before(first, emit.nodes)
    for piece, part in zip(pieces, parts, strict=True):
        indices = piece.gather.inputs[1]
        emit = Emitter(piece.gather, names, opset)
        kept = emit.value(part)
        emit.replace(piece.gather, _squeezed(emit, kept, axis) if piece.scalar else kept)
        drop_unread_initializer(indices)


def _squeezed(emit: Emitter, part: ir.Value, axis: int) -> ir.Value:
    """Return ``part`` without ``axis``, whose extent is 1."""
    dims = [dim if isinstance(dim, int) else dim.value for dim in part.shape or ()]
    dims = [*dims[:axis], *dims[axis + 1 :]]
    if emit.opset >= _SQUEEZE_AXES_ARE_INPUT:
        squeezed = emit.op("Squeeze", part, np.array([axis], np.int64), dims=dims)
        squeezed.type = part.type  # not that of the axes, where it is unknown
        return squeezed
    return emit.op("Squeeze", part, dims=dims, axes=[axis])
