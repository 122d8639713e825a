"""Types and shapes after an edit: what depends on it is forgotten and inferred again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.inference import infer, is_invented
from onnx_passes.core.values import subgraphs
from onnx_passes.numerics.stream import reads

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def retype(model: ir.Model, names: Collection[str]) -> None:
    """Infer the types and shapes of ``names`` and of all that nodes compute from them.

    What onnx cannot infer stays unknown; a graph output, which must declare a type, keeps its own.

    Args:
        model: Changed in place.
        names: Tensors of the main graph whose makers or meanings changed.
    """
    stale = list(_stale(model, set(names)))
    before = {value: (value.type, value.shape) for value in stale}
    for value in stale:
        value.type = value.shape = None
    inferred = infer(model)
    for value in stale:
        old_type, old_shape = before[value]
        new = inferred.get(value)
        if new is not None and new.type is not None:
            value.type, value.shape = new.type, _named(new.shape, old_shape)
        elif value.is_graph_output():
            value.type, value.shape = old_type, old_shape


def _stale(model: ir.Model, names: set[str]) -> Iterator[ir.Value]:
    """Yield the values that nodes make of ``names``, those among ``names`` included."""
    for node in model.graph:
        depends = not names.isdisjoint(reads(node))
        for value in node.outputs:
            if depends or value.name in names:
                names.add(value.name or "")
                yield value
        for graph in subgraphs(node) if depends else ():
            for inner in graph.all_nodes():
                yield from inner.outputs


def _named(new: ir.Shape | None, old: ir.Shape | None) -> ir.Shape | None:
    """Return ``new``; a dimension without a name keeps the symbol it had."""
    if new is None:
        return None
    known = list(old) if old is not None and old.rank() == new.rank() else [None] * new.rank()
    return ir.Shape(
        (was if isinstance(was, ir.SymbolicDim) else None) if is_invented(dim) else dim
        for dim, was in zip(new, known, strict=True)
    )
