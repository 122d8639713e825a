"""tie-batch: give the batch dimension one symbol, in inputs and outputs.

Before::

    x [?, 3, 32, 100] -> ... -> y [DynamicDimension.1, 25, 37]

After::

    x [N, 3, 32, 100] -> ... -> y [N, 25, 37]

Fires when:
    the first dimension of every input (scalars apart) is dynamic, and is one and the same. Each
    output whose first dimension is dynamic gets the symbol too where onnx's shape inference,
    started from the inputs alone, finds it there: that is the proof. What a converter wrote
    about outputs is not believed, since every converter names dynamic dimensions in its own way.
    An old symbol that is replaced is replaced in all shapes.

Leaves alone:
    - models with an input whose first dimension is fixed or unknown: nothing says which dimension
      is the batch then.
    - models with inputs whose first dimensions have different symbols or none: images and boxes
      may differ in number.
    - models that use the symbol for another dimension already.
    - an output for which there is no proof, or that has no dynamic first dimension.

Numerics:
    Exact: only names of dimensions change.

References:
    - https://onnx.ai/onnx/repo-docs/IR.html#static-tensor-shapes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult
from onnx_passes.core.inference import infer
from onnx_passes.core.registry import register
from onnx_passes.core.values import main_graphs

if TYPE_CHECKING:
    from collections.abc import Iterator


@register
@dataclass(frozen=True)
class TieBatch(Pass):
    """Give the batch dimension one symbol, in inputs and outputs."""

    name: ClassVar[str] = "tie-batch"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"
    symbol: str = "N"

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        inputs = _inputs(model)
        if refusal := _why_not(inputs) or _why_not_symbol(model, inputs, self.symbol):
            result.skipped.append(Note("model", refusal))
            return result
        for value in inputs:
            if _first(value) != self.symbol:
                result.rewritten.append(_name(value, f"input {value.name!r}", self.symbol, model))
        proven = _first_dimensions(model)
        for value in model.graph.outputs:
            label = f"output {value.name!r}"
            if refusal := _why_not_output(value, proven, self.symbol):
                result.skipped.append(Note(label, refusal))
            elif _first(value) != self.symbol:
                result.rewritten.append(_name(value, label, self.symbol, model))
        return result


def _inputs(model: ir.Model) -> list[ir.Value]:
    """Return the inputs that may have a batch: no scalars, and none with a default value."""
    defaults = model.graph.initializers
    return [
        value
        for value in model.graph.inputs
        if value.name not in defaults and (value.shape is None or value.shape.rank() > 0)
    ]


def _why_not(inputs: list[ir.Value]) -> str | None:
    """Return why the first dimensions of ``inputs`` are not one batch, or None if they are."""
    if not inputs:
        return "no input has a dimension"
    for value in inputs:
        if value.shape is None:
            return f"input {value.name!r} has no shape"
        if isinstance(value.shape[0], int):
            return f"the first dimension of input {value.name!r} is {value.shape[0]}"
    symbols = {_first(value) for value in inputs}
    if len(symbols) > 1 or (len(inputs) > 1 and None in symbols):
        found = ", ".join(f"{value.name} [{_first(value) or '?'}, ...]" for value in inputs)
        return f"nothing says that the first dimensions of the inputs are equal: {found}"
    return None


def _why_not_symbol(model: ir.Model, inputs: list[ir.Value], symbol: str) -> str | None:
    if _first(inputs[0]) == symbol:
        return None
    for value in _values(model):
        if value.shape is not None and symbol in map(_symbol, value.shape):
            return f"{symbol!r} names a dimension of {value.name!r} already; set symbol to another"
    return None


def _why_not_output(value: ir.Value, proven: dict[str, str | None], symbol: str) -> str | None:
    """Return why the first dimension of an output is not known to be the batch, or None."""
    if value.shape is None or value.shape.rank() == 0 or isinstance(value.shape[0], int):
        return "it has no dynamic first dimension"
    if proven.get(value.name or "") != symbol:
        return f"there is no proof that its first dimension is {symbol}"
    return None


def _first_dimensions(model: ir.Model) -> dict[str, str | None]:
    """Return the first dimension of each output, inferred from the shapes of the inputs alone."""
    inferred = infer(model, afresh=True)
    return {
        value.name or "": _first(inferred[value]) if value in inferred else None
        for value in model.graph.outputs
    }


def _name(value: ir.Value, label: str, symbol: str, model: ir.Model) -> Note:
    """Call the first dimension of ``value`` by ``symbol``, and all dimensions of its old name."""
    old = _first(value)
    if value.shape is not None:
        value.shape = ir.Shape([symbol, *value.shape[1:]])
    for other in _values(model) if old is not None else ():
        if other.shape is not None and old in map(_symbol, other.shape):
            other.shape = ir.Shape(symbol if _symbol(dim) == old else dim for dim in other.shape)
    return Note(label, f"its first dimension {old or '?'} is {symbol}")


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in main_graphs(model):
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _first(value: ir.Value) -> str | None:
    """Return the symbol of the first dimension, or None."""
    return _symbol(value.shape[0]) if value.shape is not None and value.shape.rank() else None


def _symbol(dim: int | ir.SymbolicDim) -> str | None:
    return None if isinstance(dim, int) else dim.value
