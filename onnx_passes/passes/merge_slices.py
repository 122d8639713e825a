"""merge-slices: cut once instead of twice.

Before::

    x [N, C, 32, 100] -> Slice(axis 2, 0:16) -> Slice(axis 3, 10:90) -> Slice(axis 2, 4:8) -> y

After::

    x -> Slice(axis 2, 4:8; axis 3, 10:90) -> y

Fires when:
    a Slice reads what another one makes, both with constant operands, in the main graph, in a
    sub-graph (also where the first one stands in the graph around it) or in a function. The first
    one goes as soon as nothing else reads it; until then the second one reads past it, which
    costs no more than before. On different axes that is all; on one axis both must count forwards
    from the front, or the extent of x there be recorded.

Leaves alone:
    - operands that are computed.
    - one axis cut twice, of unknown extent, with an index that counts from the end or a negative
      step: what is cut depends on the extent (run infer-shapes first).
    - axes of which some count from the front and some from the end, where the rank is unknown.
    - a negative step that starts before the first element (NumPy takes nothing, the clamping of
      the specification the first element) or ends at the largest number (onnxruntime goes on to
      the first element), or on an empty axis.

Numerics:
    Exact: elements are moved, nothing is computed.

References:
    - https://onnx.ai/onnx/operators/onnx__Slice.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import (
    Constants,
    extent,
    maker,
    operators,
    picked,
    rank,
    remove_unread,
    set_inputs,
    slice_axes,
)

_LARGEST = 2**63 - 1
_Cut = tuple[int, int, int]


@register
@dataclass(frozen=True)
class MergeSlices(Pass):
    """Cut once instead of twice."""

    name: ClassVar[str] = "merge-slices"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"Slice"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, constants = PassResult(), Constants(model)
        for outer, _ in list(operators(model, "Slice")):
            while inner := maker(outer.inputs[0], "Slice"):
                cuts = _merged(inner, outer)
                if isinstance(cuts, str):
                    result.skipped.append(Note(label(outer), cuts))
                    break
                note = Note(label(outer), f"merged with {label(inner)}: {_text(cuts)}")
                _rewrite(inner, outer, cuts, constants)
                result.rewritten.append(note)
        return result


def _merged(inner: ir.Node, outer: ir.Node) -> dict[int, _Cut] | str:
    """Return start, end and step of both together for each axis, or why that is not possible."""
    source = inner.inputs[0]
    first, second = slice_axes(inner), slice_axes(outer)
    if first is None or second is None:
        return "starts, ends, axes or steps are computed"
    axes = rank(source) if rank(source) is not None else rank(outer.inputs[0])
    if axes is None and len({axis < 0 for axis in (*first, *second)}) > 1:
        return "the rank is unknown, and so whether the axes are the same; infer shapes first"
    merged, then = _from_front(first, axes), _from_front(second, axes)
    if (len(merged), len(then)) != (len(first), len(second)):
        return "an axis is named twice"
    for axis, cut in then.items():
        both = _both(merged[axis], cut, extent(source, axis)) if axis in merged else cut
        if isinstance(both, str):
            return f"axis {axis}: {both}"
        merged[axis] = both
    return merged


def _from_front(cuts: dict[int, _Cut], axes: int | None) -> dict[int, _Cut]:
    return {axis + axes if axis < 0 and axes is not None else axis: cuts[axis] for axis in cuts}


def _both(first: _Cut, second: _Cut, size: int | None) -> _Cut | str:
    """Return the cut that is ``second`` after ``first``, or why it cannot be told."""
    if size is None:
        return _without_extent(first, second)
    outer = picked(size, *first)
    inner = None if outer is None else picked(len(outer), *second)
    if outer is None or inner is None:
        return "a negative step means different things to different tools here"
    if not inner:
        return 0, 0, 1
    if len(inner) == 1:
        return outer[inner[0]], outer[inner[0]] + 1, 1
    last, step = outer[inner[-1]], outer.step * inner.step
    end = last + 1 if step > 0 else last - 1
    return outer[inner[0]], end if end >= 0 else -_LARGEST, step


def _without_extent(first: _Cut, second: _Cut) -> _Cut | str:
    """Merge two cuts that count forwards from the front: clamping commutes with both."""
    if min(*first, *second) < 0:
        return "what is cut depends on its extent; infer shapes first"
    (start, end, step), (begin, stop, stride) = first, second
    start, end = start + begin * step, min(end, start + stop * step)
    return (start, end, min(step * stride, _LARGEST)) if start < end else (0, 0, 1)


def _text(cuts: dict[int, _Cut]) -> str:
    return ", ".join(f"axis {a} [{start}:{end}:{step}]" for a, (start, end, step) in cuts.items())


def _rewrite(inner: ir.Node, outer: ir.Node, cuts: dict[int, _Cut], constants: Constants) -> None:
    """Let ``outer`` make the ``cuts`` in what ``inner`` reads."""
    starts, ends, steps = zip(*cuts.values(), strict=True)
    operands = {"starts": starts, "ends": ends, "axes": tuple(cuts), "steps": steps}
    if "starts" in outer.attributes:  # below opset 10, where each step is 1
        del operands["steps"]
        for name, numbers in operands.items():
            outer.attributes[name] = ir.AttrInt64s(name, numbers)
        outer.replace_input_with(0, inner.inputs[0])
    else:
        made = [constants.integers(outer, name, numbers) for name, numbers in operands.items()]
        set_inputs(outer, [inner.inputs[0], *made])
    remove_unread(inner)
