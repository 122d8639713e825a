"""drop-empty-slice: take Slices of no elements out of a Concat.

Before::

    x [N, 4, 8] -> Slice(axis 1, 4:4) -> e [N, 0, 8];  a, e, b -> Concat(axis=1) -> y

After::

    a, b -> Concat(axis=1) -> y

Why:
    Exporters write such a Slice for a shift by nothing and for the first step of an unrolled loop.

Fires when:
    a Slice certainly takes nothing from the axis that the Concat joins: its constant start is not
    before its end (both counted from the same side, or the extent is recorded), or a recorded
    extent of its input or of its output is 0. In the main graph, in a sub-graph or in a function.
    The Slice goes unless something else reads it.

Leaves alone:
    - a Slice that may take something, or whose operands are computed (run infer-shapes first).
    - a Slice that is empty along another axis: so are the other inputs, and its extent counts.
    - a Concat axis and a Slice axis that cannot be told the same (see merge-concats).
    - the last input of a Concat: if all are empty, one stays. A Concat left with one input stays
      too (see drop-noop).
    - a Slice that is a graph output, or read by others: only the Concat forgets it.

Numerics:
    Exact: there is no element to compute.

References:
    - https://onnx.ai/onnx/operators/onnx__Slice.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import (
    TO_THE_END,
    extent,
    extents,
    maker,
    operators,
    picked,
    rank,
    remove_unread,
    set_inputs,
    slice_axes,
)

if TYPE_CHECKING:
    import onnx_ir as ir

_DEFAULT_AXIS = 1  # of opset 1 to 3; later the attribute is required


@register
@dataclass(frozen=True)
class DropEmptySlice(Pass):
    """Take Slices of no elements out of a Concat."""

    name: ClassVar[str] = "drop-empty-slice"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"Concat"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for concat, _ in list(operators(model, "Concat")):
            reasons = [_why_not(value, concat) for value in concat.inputs]
            kept = [i for i, reason in enumerate(reasons) if reason is not None]
            result.skipped += [Note(label(concat), reason) for reason in reasons if reason]
            if not kept:
                kept = [len(reasons) - 1]
                result.skipped.append(Note(label(concat), "all it joins is empty; the last stays"))
            if len(kept) < len(reasons):
                note = Note(label(concat), f"reads {len(reasons) - len(kept)} empty Slices less")
                _keep(concat, kept)
                result.rewritten.append(note)
        return result


def _why_not(value: ir.Value | None, concat: ir.Node) -> str | None:
    """Return why ``concat`` must keep an input, "" if it goes without saying, None to drop it."""
    node = maker(value, "Slice")
    if node is None:
        return ""
    empty = _empty_axes(node)
    if empty is None:
        return f"the operands of {label(node)} are computed"
    axis = concat.attributes.get_int("axis", _DEFAULT_AXIS)
    axes = rank(value) if rank(value) is not None else rank(node.inputs[0])
    if axes is not None:
        axis, empty = axis % axes, {item % axes for item in empty}
    if axis in empty:
        return None
    if any((item < 0) != (axis < 0) for item in empty):
        return f"the rank of {label(node)} is unknown; infer shapes first"
    return f"{label(node)} is empty along another axis" if empty else ""


def _empty_axes(node: ir.Node) -> set[int] | None:
    """Return the axes, as written, without an element; None if nothing is known of them."""
    recorded = {
        axis
        for value in (node.inputs[0], node.outputs[0])
        for axis, size in enumerate(extents(value) or [])
        if size == 0
    }
    cuts = slice_axes(node)
    if cuts is None:
        return recorded or None
    sizes = {axis: extent(node.inputs[0], axis) for axis in cuts}
    return recorded | {axis for axis, cut in cuts.items() if _is_empty(cut, sizes[axis])}


def _is_empty(cut: tuple[int, int, int], size: int | None) -> bool:
    """Return whether a cut takes nothing, whatever the extent if that is None."""
    if size is not None:
        indices = picked(size, *cut)
        return indices is not None and not indices
    start, end, step = cut
    if step > 0:  # clamping keeps the order of two indices counted from one side
        return (start < 0) == (end < 0) and start >= end
    return 0 <= start <= end < TO_THE_END  # which onnxruntime takes for the first element


def _keep(concat: ir.Node, kept: list[int]) -> None:
    """Let ``concat`` read only these of its inputs."""
    gone = [value for i, value in enumerate(concat.inputs) if i not in kept]
    set_inputs(concat, [concat.inputs[index] for index in kept])
    for node in dict.fromkeys(maker(value, "Slice") for value in gone):
        if node is not None:
            remove_unread(node)
