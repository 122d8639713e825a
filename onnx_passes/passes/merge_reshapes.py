"""merge-reshapes: give a new shape once instead of twice.

Before::

    x [N, C, 1, W] -> Squeeze(axis 2) -> h [N, C, W] -> Reshape([0, -1]) -> y [N, C * W]

After::

    x [N, C, 1, W] -> Reshape([0, -1]) -> y

and two that undo each other leave nothing.

Fires when:
    a Reshape, Flatten, Squeeze or Unsqueeze reads what another of them makes, in the main graph,
    in a sub-graph (also where the first one stands in the graph around it) or in a function, and

    - the second one is a Reshape that means the same whatever it reads: its target holds no 0, or
      ``allowzero`` is set. A computed target is one of these if ``allowzero`` is set. Or
    - the shape of the result follows from the recorded shape of x by the operators alone: each
      extent is a number, or the extent of x at the same place (written 0), but for one (-1).

    The first one goes as soon as nothing else reads it.

Leaves alone:
    - a computed target, in which a 0 would copy an extent of what it reads.
    - a result with two extents that are neither numbers nor where they were.
    - -1 beside an extent of unknown size where neither of the two wrote -1: if that extent is 0
      when the model runs, onnxruntime cannot resolve -1.
    - an x whose shape is not recorded (run infer-shapes first); Reshape below opset 5, where the
      target is an attribute.
    - two that cancel between a graph input, an initializer or a graph output and another graph
      output: an Identity stays, for each name needs a node.

Numerics:
    Exact: elements stay in their order, nothing is computed.

References:
    - https://onnx.ai/onnx/operators/onnx__Reshape.html
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import (
    Constants,
    extents,
    input_of,
    integers,
    is_operator,
    maker,
    operators,
    pass_through,
    remove_unread,
    set_inputs,
)

if TYPE_CHECKING:
    import onnx_ir as ir

_OPERATORS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_TARGET_IS_INPUT = 5


class _Extent(NamedTuple):
    """A number times the extents of some axes of x."""

    factor: Fraction
    axes: tuple[int, ...] = ()


class _Form(enum.Enum):
    """What else two may become than a Reshape with a new target."""

    NOTHING = "they cancel"
    ITS_OWN = "its own target serves"


_ONE = _Extent(Fraction(1))
_Extents = list[_Extent]


@register
@dataclass(frozen=True)
class MergeReshapes(Pass):
    """Give a new shape once instead of twice."""

    name: ClassVar[str] = "merge-reshapes"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, constants = PassResult(), Constants(model)
        for outer, opset in list(operators(model, *_OPERATORS)):
            while is_operator(outer, *_OPERATORS) and opset >= _TARGET_IS_INPUT:
                inner = maker(outer.inputs[0], *_OPERATORS) if outer.inputs else None
                if inner is None or inner.inputs[0] is None:
                    break
                target = _merged(inner, outer)
                if isinstance(target, str):
                    result.skipped.append(Note(label(outer), target))
                    break
                text = target.value if isinstance(target, _Form) else target
                note = Note(label(outer), f"merged with {label(inner)}: {text}")
                _rewrite(inner, outer, target, constants)
                result.rewritten.append(note)
        return result


def _merged(inner: ir.Node, outer: ir.Node) -> list[int] | _Form | str:
    """Return the target of both together, or a sentence where there is none."""
    sizes = extents(inner.inputs[0])
    before = [
        _Extent(Fraction(1), (axis,)) if size is None else _Extent(Fraction(size))
        for axis, size in enumerate(sizes or [])
    ]
    fragile: set[int] = set()
    between = _after(inner, before, fragile) if sizes is not None else None
    after = _after(outer, between, fragile) if between is not None else None
    if _undoes(inner, outer) or (after is not None and after == before):
        return _Form.NOTHING
    if _is_independent(outer):
        return _Form.ITS_OWN
    if sizes is None:
        return f"the shape that {label(inner)} reads is unknown; infer shapes first"
    if after is None:
        return "the shape of the result does not follow from the shape of the input"
    return _target(after, fragile)


def _target(after: _Extents, fragile: set[int]) -> list[int] | str:
    """Write extents as the target of a Reshape, or say why that cannot be.

    Args:
        after: The extents of the result.
        fragile: The axes of x that must not be empty as it is, for the sake of a -1.
    """
    target = [_written(extent, place) for place, extent in enumerate(after)]
    copied = {axis for place, axis in enumerate(target) if axis == 0 for axis in after[place].axes}
    if any(extent.factor == 0 for extent in after):
        return "an extent of the result is 0"
    if target.count(-1) > 1:
        return f"{target.count(-1)} extents of the result are neither numbers nor where they were"
    if -1 in target and not copied <= fragile:
        return "-1 cannot be resolved if an axis of unknown extent is empty"
    return target


def _written(extent: _Extent, place: int) -> int:
    if not extent.axes and extent.factor.denominator == 1:
        return int(extent.factor)
    return 0 if extent == _Extent(Fraction(1), (place,)) else -1


def _is_independent(node: ir.Node) -> bool:
    """Return whether a node gives the same shape to whatever has as many elements."""
    if node.op_type != "Reshape":
        return False
    target = integers(node, "shape", 1)
    return node.attributes.get_int("allowzero", 0) == 1 or (target is not None and 0 not in target)


def _undoes(inner: ir.Node, outer: ir.Node) -> bool:
    """Return whether one inserts the axes that the other drops."""
    if {inner.op_type, outer.op_type} != {"Squeeze", "Unsqueeze"}:
        return False
    first, second = integers(inner, "axes", 1), integers(outer, "axes", 1)
    return bool(first) and second is not None and sorted(first or []) == sorted(second)


def _after(node: ir.Node, before: _Extents, fragile: set[int]) -> _Extents | None:
    """Return the extents that a node makes of ``before``, None if they cannot be told."""
    if node.op_type == "Reshape":
        return _reshaped(node, before, fragile)
    if node.op_type == "Flatten":
        axis = node.attributes.get_int("axis", 1)
        axis += len(before) if axis < 0 else 0
        return [_product(before[:axis]), _product(before[axis:])]
    axes = integers(node, "axes", 1)
    if not axes:
        implied = "axes" not in node.attributes and input_of(node, 1) is None
        if node.op_type == "Unsqueeze" or not implied or any(extent.axes for extent in before):
            return None
        return [extent for extent in before if extent != _ONE]
    if node.op_type == "Squeeze":
        dropped = {axis % max(1, len(before)) for axis in axes}
        return [extent for axis, extent in enumerate(before) if axis not in dropped]
    rest, rank = iter(before), len(before) + len(axes)
    added = {axis % rank for axis in axes}
    return [_ONE if axis in added else next(rest, _ONE) for axis in range(rank)]


def _reshaped(node: ir.Node, before: _Extents, fragile: set[int]) -> _Extents | None:
    target = integers(node, "shape", 1)
    copies = node.attributes.get_int("allowzero", 0) == 0
    if target is None or (copies and 0 in target[len(before) :]):
        return None
    after = [
        before[place] if size == 0 and copies else _Extent(Fraction(size))
        for place, size in enumerate(target)
    ]
    if -1 not in target:
        return after
    open_ = target.index(-1)
    others = _product(after[:open_] + after[open_ + 1 :])
    after[open_ : open_ + 1] = whole = _quotient(_product(before), others)
    fragile.update(others.axes)
    return after if whole else None


def _product(extents_: _Extents) -> _Extent:
    factor, axes = Fraction(1), list[int]()
    for extent in extents_:
        factor, axes = factor * extent.factor, axes + list(extent.axes)
    return _Extent(factor, tuple(sorted(axes)))


def _quotient(whole: _Extent, part: _Extent) -> _Extents:
    """Return ``whole / part`` as a list of one, or none where it is no product of extents."""
    axes = list(whole.axes)
    for axis in part.axes:
        if axis not in axes:
            return []
        axes.remove(axis)
    return [_Extent(whole.factor / part.factor, tuple(axes))] if part.factor else []


def _rewrite(
    inner: ir.Node, outer: ir.Node, target: list[int] | _Form, constants: Constants
) -> None:
    """Let ``outer``, or where they cancel its readers, read what ``inner`` reads."""
    source = inner.inputs[0]
    if source is None:
        return
    if target is _Form.ITS_OWN:
        outer.replace_input_with(0, source)
    elif isinstance(target, _Form):
        pass_through(outer, source)
    else:
        shape = constants.integers(outer, "shape", target)
        outer.op_type = "Reshape"
        outer.attributes.clear()
        set_inputs(outer, [source, shape])
    remove_unread(inner)
