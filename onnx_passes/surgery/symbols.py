"""Symbols of dimensions when two models are joined: one name must mean one size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.values import fresh_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx_ir as ir

    Dim = int | str | None


class SymbolClash(Exception):  # noqa: N818  becomes a UsageError where names are known
    """A symbol of the second model would be two sizes."""


def unify(a: ir.Model, b: ir.Model, pairs: Sequence[tuple[ir.Value, ir.Value]]) -> None:
    """Call the dimensions of ``b`` what ``a`` calls them where the two are connected.

    Other symbols of ``b`` that ``a`` uses too get a name of their own: nothing says that they are
    the same size.

    Args:
        a: The first model.
        b: The second model, whose shapes are changed.
        pairs: Each an output of ``a`` and the input of ``b`` that reads it.

    Raises:
        SymbolClash: If one symbol of ``b`` would be two sizes.
    """
    renamed: dict[str, Dim] = {}
    for source, target in pairs:
        for theirs, ours in zip(source.shape or (), target.shape or (), strict=False):
            _bind(renamed, _plain(ours), _plain(theirs))
    taken = _symbols(a) | _symbols(b)
    for symbol in sorted(_symbols(b) & _symbols(a)):
        renamed.setdefault(symbol, fresh_name(symbol, taken))
    _rename(b, renamed)


def _bind(renamed: dict[str, Dim], ours: Dim, theirs: Dim) -> None:
    """Note that ``ours``, if it is a symbol, is ``theirs``; a size says more than a symbol."""
    if not isinstance(ours, str) or theirs is None:
        return
    known = renamed.setdefault(ours, theirs)
    if isinstance(known, int) and isinstance(theirs, int) and known != theirs:
        msg = f"dimension {ours!r} of the second model would be {known} and {theirs}"
        raise SymbolClash(msg)
    if isinstance(theirs, int):
        renamed[ours] = theirs


def _rename(model: ir.Model, renamed: Mapping[str, Dim]) -> None:
    import onnx_ir as ir

    for value in _values(model):
        if value.shape is not None and not value.shape.is_static():
            value.shape = ir.Shape(
                renamed.get(dim, dim) if isinstance(dim, str) else dim
                for dim in map(_plain, value.shape)
            )


def _symbols(model: ir.Model) -> set[str]:
    shapes = (value.shape for value in _values(model) if value.shape is not None)
    return {dim for shape in shapes for dim in map(_plain, shape) if isinstance(dim, str)}


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _plain(dim: int | ir.SymbolicDim) -> Dim:
    return dim if isinstance(dim, int) else dim.value
