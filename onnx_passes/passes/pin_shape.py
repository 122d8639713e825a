"""pin-shape: give inputs a fixed size, and with them every shape that follows.

Before::

    x [N, 3, 32, W] -> ... -> y [DynamicDimension.1, 25, 37]

After, for ``pin-shape{shapes="x=8,3,32,100"}``::

    x [8, 3, 32, 100] -> ... -> y [8, 25, 37]

Fires when:
    the option names an input with a dynamic dimension. Several inputs are separated by a
    semicolon: ``shapes="image=8,3,32,100;boxes=8,4"``. A symbol that gets a size gets it in every
    input, output and recorded shape; what onnx's shape inference then knows is written down too.

Leaves alone:
    - everything, if the option is empty or the inputs have these sizes already.
    - dynamic dimensions of inputs that the option does not name, unless they share a symbol.
    - sizes that depend on data (NonZero, say): they stay dynamic.
    - bodies of functions: each call may have other shapes.

    An unknown input, a wrong rank, another fixed size, or two sizes for one symbol end the run: the
    option does not fit the model.

Numerics:
    Exact: nothing is computed differently at these sizes; other sizes are no longer accepted. The
    check feeds the original with these sizes.

References:
    - https://onnx.ai/onnx/repo-docs/IR.html#static-tensor-shapes
    - https://onnx.ai/onnx/repo-docs/ShapeInference.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError
from onnx_passes.core.inference import infer
from onnx_passes.core.registry import did_you_mean, register

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Sizes = tuple[int, ...]
_ENTRY = re.compile(r"\s*(.+)=\s*([1-9]\d*(?:\s*,\s*[1-9]\d*)*)\s*")


@register
@dataclass(frozen=True)
class PinShape(Pass):
    """Give inputs a fixed size, and with them every shape that follows."""

    name: ClassVar[str] = "pin-shape"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"
    narrows_inputs: ClassVar[bool] = True
    shapes: str = ""

    def __post_init__(self) -> None:
        """Refuse a text that holds no sizes."""
        _parse(self.shapes)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        wanted = _parse(self.shapes)
        if not wanted:
            result.skipped.append(Note("model", 'no sizes are given, as in shapes="x=8,3,32,100"'))
            return result
        inputs = {value.name or "": value for value in model.graph.inputs}
        symbols = _symbols(inputs, wanted)
        before = {name: str(value.shape) for name, value in inputs.items()}
        _pin(model, {inputs[name]: sizes for name, sizes in wanted.items()}, symbols)
        for name, value in inputs.items():
            if str(value.shape) != before[name]:
                text = f"{before[name]} is {value.shape}"
                result.rewritten.append(Note(f"input {name!r}", text))
        return result


def _parse(text: str) -> dict[str, Sizes]:
    """Return the sizes by input name from ``x=8,3,32,100;boxes=8,4``."""
    wanted: dict[str, Sizes] = {}
    for entry in text.split(";") if text.strip() else ():
        match = _ENTRY.fullmatch(entry)
        if match is None or match[1] in wanted:
            what = "is given twice" if match else "is not NAME=D0,D1,... with sizes from 1"
            msg = f"shapes: {entry!r} {what} (as in x=8,3,32,100;boxes=8,4)"
            raise ValueError(msg)
        wanted[match[1]] = tuple(int(size) for size in match[2].split(","))
    return wanted


def _symbols(inputs: Mapping[str, ir.Value], wanted: Mapping[str, Sizes]) -> dict[str, int]:
    """Return the size of each symbol that the wanted sizes bind.

    Raises:
        UsageError: If they do not fit the inputs.
    """
    symbols: dict[str, int] = {}
    for name, sizes in wanted.items():
        if name not in inputs:
            msg = f"pin-shape: the model has no input {name!r}{did_you_mean(name, inputs)}"
            raise UsageError(msg)
        shape = inputs[name].shape
        if shape is not None and (misfit := _bind(shape, sizes, symbols)):
            msg = f"pin-shape: input {name!r} is {shape}, not {list(sizes)}: {misfit}"
            raise UsageError(msg)
    return symbols


def _bind(shape: ir.Shape, sizes: Sizes, symbols: dict[str, int]) -> str | None:
    """Add the symbols of ``shape`` to ``symbols``, or return why ``sizes`` do not fit."""
    if shape.rank() != len(sizes):
        return f"it has {shape.rank()} dimensions"
    for dim, size in zip(shape, sizes, strict=True):
        if isinstance(dim, int) and dim != size:
            return f"{dim} is fixed"
        if not isinstance(dim, int) and dim.value and symbols.setdefault(dim.value, size) != size:
            return f"{dim.value} is {symbols[dim.value]} and {size}"
    return None


def _pin(model: ir.Model, wanted: Mapping[ir.Value, Sizes], symbols: Mapping[str, int]) -> None:
    """Write the sizes into all shapes: those that are given, and those that follow."""
    for value, sizes in wanted.items():
        value.shape = ir.Shape(sizes)
    for value in _values(model):
        if value.shape is not None and not value.shape.is_static():
            value.shape = ir.Shape(_bound(dim, symbols) for dim in value.shape)
    for value, inferred in infer(model).items():
        if inferred.shape is not None:
            value.type = value.type or inferred.type
            value.shape = _merged(value.shape, inferred.shape)


def _bound(dim: int | ir.SymbolicDim, symbols: Mapping[str, int]) -> int | ir.SymbolicDim:
    return dim if isinstance(dim, int) else symbols.get(dim.value or "", dim)


def _merged(known: ir.Shape | None, inferred: ir.Shape) -> ir.Shape | None:
    """Return ``known`` with the sizes that were inferred; no symbol is taken over."""
    if known is None:
        return inferred.copy() if inferred.is_static() else None
    if known.is_static() or known.rank() != inferred.rank():
        return known
    return ir.Shape(
        new if isinstance(new, int) and not isinstance(old, int) else old
        for old, new in zip(known, inferred, strict=True)
    )


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """Yield all values of the main graph and its sub-graphs that have shapes of their own."""
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs
