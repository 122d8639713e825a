"""merge-casts: convert once where the type in between loses nothing.

Before::

    x float16 -> Cast(float32) -> h -> Cast(float64) -> y,  x int32 -> Cast(int64) -> Cast(int32)

After::

    x float16 -> Cast(float64) -> y,  x

Fires when:
    a Cast reads what another one makes and the type in between holds each value of the first
    type: bool in any number; integers in wider ones, and in floating point with enough digits
    (int8 in float16, int16 in float32, int32 in float64); float16 and bfloat16 in float32, all of
    them in float64. In the main graph, in a sub-graph or in a function. Where the last type is
    the first, both go.

Leaves alone:
    - a type in between that loses something: float -> int -> float, float -> bool -> float,
      int64 -> int32 -> int64, float32 -> float16 -> float32, int32 -> float32 -> int32.
    - a last type into which the first does not fit by way of floating point: float32 -> float64
      -> int32, int16 -> float32 -> int8; what lies out of range is not defined, so two kernels
      may differ.
    - strings, complex numbers, types of 8 bits and fewer but for int8, uint8 and bool.
    - a first type that is not recorded (run infer-shapes first).
    - two that cancel between a graph input, an initializer or a graph output and another graph
      output: an Identity stays, for each name needs a node.

Numerics:
    Exact: the type in between holds each value, so the last conversion rounds, or wraps, the same
    value once. (In float16 onnxruntime's CPU provider keeps float32 between operators it has no
    kernel for; which ones may change when a Cast goes.)

References:
    - https://onnx.ai/onnx/operators/onnx__Cast.html
    - https://en.wikipedia.org/wiki/Double_rounding
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import maker, operators, pass_through, remove_unread

_TYPE_IS_NUMBER = 6  # Before opset 6 the type is a string.
# Integers as (lowest exponent of the range, highest): int8 is [-2^7, 2^7), uint8 [0, 2^8).
_BITS = {
    ir.DataType.BOOL: (0, 1),
    **{ir.DataType[f"INT{bits}"]: (bits - 1, bits - 1) for bits in (8, 16, 32, 64)},
    **{ir.DataType[f"UINT{bits}"]: (0, bits) for bits in (8, 16, 32, 64)},
}
# Floating point as (digits in bits, bits of the exponent).
_DIGITS = {
    ir.DataType.FLOAT16: (11, 5),
    ir.DataType.BFLOAT16: (8, 8),
    ir.DataType.FLOAT: (24, 8),
    ir.DataType.DOUBLE: (53, 11),
}


@register
@dataclass(frozen=True)
class MergeCasts(Pass):
    """Convert once where the type in between loses nothing."""

    name: ClassVar[str] = "merge-casts"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"Cast"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for outer, opset in list(operators(model, "Cast")):
            inner = maker(outer.inputs[0], "Cast")
            if inner is None or opset < _TYPE_IS_NUMBER:
                continue
            if refusal := _why_not(inner, outer):
                result.skipped.append(Note(label(outer), refusal))
                continue
            note = Note(label(outer), f"merged with {label(inner)}")
            _rewrite(inner, outer)
            result.rewritten.append(note)
        return result


def _why_not(inner: ir.Node, outer: ir.Node) -> str | None:
    """Return the reason to keep both casts, or None."""
    source = inner.inputs[0]
    if source is None or source.dtype is None:
        return f"the type that {label(inner)} reads is unknown; infer shapes first"
    first, between, last = source.dtype, _target(inner), _target(outer)
    for dtype in (first, between, last):
        if dtype not in _BITS and dtype not in _DIGITS:
            return f"{dtype} is not handled"
    if not _holds(between, first):
        return f"{between} does not hold each {first}"
    if between in _DIGITS and last in _BITS and not _converts(first, last):
        return f"{first} may be out of the range of {last}, where the result is not defined"
    return None


def _target(node: ir.Node) -> ir.DataType:
    return ir.DataType(node.attributes.get_int("to", 0))


def _holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Return whether each value of ``narrow`` is one of ``wide``."""
    if wide == narrow:
        return True
    if narrow in _BITS:
        below, above = _BITS[narrow]
        if wide in _DIGITS:
            return max(below, above) <= _DIGITS[wide][0]
        return wide in _BITS and below <= _BITS[wide][0] and above <= _BITS[wide][1]
    return wide in _DIGITS and all(
        more >= less for more, less in zip(_DIGITS[wide], _DIGITS[narrow], strict=True)
    )


def _converts(first: ir.DataType, last: ir.DataType) -> bool:
    """Return whether each value of ``first`` has a defined result in the integer ``last``."""
    return last == ir.DataType.BOOL or _holds(last, first)


def _rewrite(inner: ir.Node, outer: ir.Node) -> None:
    """Let ``outer``, or its readers where nothing changes, read what ``inner`` reads."""
    source = inner.inputs[0]
    if source is None:
        return
    if source.dtype == _target(outer):
        pass_through(outer, source)
    else:
        outer.replace_input_with(0, source)
    remove_unread(inner)
