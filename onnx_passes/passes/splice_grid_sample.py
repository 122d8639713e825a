"""splice-grid-sample: put GridSample back where an export wrote a placeholder for it.

Before::

    grid [N, Ho, Wo, 2] -> (pin) -> Unsqueeze, Pad 2 to C, Squeeze, Transpose -> p [N, C, Ho, Wo]
    x [N, C, H, W] -> (pin) -> i;  i, p -> Add -> (pin) -> y

After::

    x, grid -> GridSample -> y

A pin is Transpose, Add of zeros, Transpose: it computes nothing and only fixes shapes.

Why:
    Guides for converters without grid_sample patch the network to export such a chain, which takes
    both tensors and gives one of the right shape, and put the operator in its place afterwards by
    the names of the nodes. Those differ with every converter; the structure does not.

Fires when:
    a Pad of zeros appends C - 2 elements to the last axis of a tensor [N, Ho, Wo, 2], Transpose,
    Squeeze, Unsqueeze, Identity and Add of zeros bring that axis to place 1 and keep the others in
    order, and one Add joins it to a tensor of C channels. Pins around the three tensors go too.
    What the placeholder stood for does not show in it: ``mode``, ``padding_mode`` and
    ``align_corners`` are options, with Paddle's defaults for grid_sample.

Leaves alone:
    - a Pad that pads other axes, other sides or other amounts, with another mode or value, or
      with amounts that are computed.
    - a Pad that reaches no Add, or an Add that gets its axes in another order.
    - a shape that is not known: run infer-shapes first.
    - a value between the Pad and the end that another node reads or that is a graph output.
    - models of an opset below 16, which has no GridSample: run set-opset{version=16} first.

Numerics:
    Inexact on purpose: the placeholder's numbers mean nothing, GridSample's are those of the
    network before the patch.

References:
    - https://onnx.ai/onnx/operators/onnx__GridSample.html
    - https://www.paddlepaddle.org.cn/documentation/docs/en/api/paddle/nn/functional/grid_sample_en.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import (
    input_of,
    integers,
    is_operator,
    operators,
    remove_unread,
)
from onnx_passes.core.values import constant, replace

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_OPSET = 16
_NEW_MODE_NAMES = 20
_MODES = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
_PADDINGS = ("zeros", "border", "reflection")
_MOVERS = ("Transpose", "Squeeze", "Unsqueeze", "Identity")
_SAME = [0, 1, 2, 3]
_CHANNEL_FIRST = [0, 3, 1, 2]
_Axes = list[int | None]


class _Placeholder(NamedTuple):
    """The tensors of a placeholder, and the value that stands for the sampled picture."""

    x: ir.Value
    grid: ir.Value
    y: ir.Value


@register
@dataclass(frozen=True)
class SpliceGridSample(Pass):
    """Put GridSample back where an export wrote a placeholder for it.

    Attributes:
        mode: bilinear, nearest or bicubic.
        padding_mode: zeros, border or reflection.
        align_corners: Whether -1 and 1 mean pixel centres rather than pixel edges.
    """

    name: ClassVar[str] = "splice-grid-sample"
    exactness: ClassVar[Exactness] = "inexact"
    purpose: ClassVar[str] = "target"

    mode: str = "bilinear"
    padding_mode: str = "zeros"
    align_corners: bool = True

    def __post_init__(self) -> None:
        """Refuse a mode that GridSample does not have."""
        known = {"mode": tuple(_MODES), "padding_mode": _PADDINGS}
        for option, allowed in known.items():
            if (value := getattr(self, option)) not in allowed:
                msg = f"option {option} is {value!r}, expected one of {', '.join(allowed)}"
                raise UsageError(msg)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for pad, opset in list(operators(model, "Pad")):
            found = _placeholder(pad)
            if isinstance(found, _Placeholder) and opset < _FIRST_OPSET:
                found = f"opset {opset} has no GridSample; run set-opset{{version=16}} first"
            if isinstance(found, str):
                result.skipped.append(Note(label(pad), found))
                continue
            note = label(pad)
            self._replace(found, opset)
            text = f"GridSample of {found.x.name!r} at {found.grid.name!r}"
            result.rewritten.append(Note(note, text))
        return result

    def _replace(self, found: _Placeholder, opset: int) -> None:
        """Let the readers of the placeholder read a GridSample, and drop what only led there."""
        end = found.y.producer()
        if end is None:
            return
        attributes: dict[str, int | str] = {
            "mode": _MODES[self.mode] if opset >= _NEW_MODE_NAMES else self.mode,
            "padding_mode": self.padding_mode,
            "align_corners": int(self.align_corners),
        }
        y = ir.Value(name=found.y.name, type=found.y.type, shape=found.y.shape)
        name = None if end.name is None else f"{end.name}/grid_sample"
        end.append(ir.node("GridSample", [found.x, found.grid], attributes, outputs=[y], name=name))
        replace(found.y, y)
        pending = [end]
        while pending:
            node = pending.pop()
            makers = [value.producer() for value in node.inputs if value is not None]
            if remove_unread(node):
                pending += [maker for maker in makers if maker is not None and maker.graph]


def _placeholder(pad: ir.Node) -> _Placeholder | str:
    """Return the placeholder around ``pad``, or the reason why there is none."""
    if refusal := _why_not_pad(pad):
        return refusal
    forward = list(_forward(pad.outputs[0]))
    if any(value.is_graph_output() or len(value.uses()) > 1 for value in forward):
        return "a value behind it is a graph output or has another reader"
    join = _reader(forward[-1])
    if join is None or not is_operator(join, "Add"):
        return "no Add joins what it makes to a picture"
    after = [node for value in forward[:-1] if (node := _reader(value)) is not None]
    grid = _farthest(pad.inputs[0], _CHANNEL_FIRST, [pad, *after])
    if grid is None:
        return "what it pads is no tensor [N, Ho, Wo, 2] whose last axis goes to place 1"
    other = next((value for value in join.inputs if value is not forward[-1]), None)
    return _joined(_farthest(other, _SAME, []), grid, join, 2 + sum(integers(pad, "pads", 1) or []))


def _joined(x: ir.Value | None, grid: ir.Value, join: ir.Node, made: int) -> _Placeholder | str:
    """Return the placeholder that joins ``grid``, ``made`` channels of it, to the picture ``x``."""
    if x is None or x.shape is None:
        return f"{label(join)} joins it to no tensor of rank 4 (or its shape is unknown)"
    if x.shape[1] != made:
        return f"it makes {made} channels, {x.name!r} has {x.shape[1]}"
    return _Placeholder(x, grid, _end(join.outputs[0]))


def _why_not_pad(pad: ir.Node) -> str | None:
    """Return why ``pad`` does not append zeros to the last of its axes that is not new."""
    mode = pad.attributes.get("mode")
    pads, value = integers(pad, "pads", 1), constant(input_of(pad, 2))
    if mode is not None and mode.as_string() != "constant":
        return f"its mode is {mode.as_string()!r}"
    if pads is None or input_of(pad, 3) is not None:
        return "its amounts are computed, or for some axes only"
    if input_of(pad, 2) is not None and (value is None or value.numpy().any()):
        return "it pads with something other than 0"
    if min(pads) < 0 or sum(1 for amount in pads if amount) != 1 or any(pads[: len(pads) // 2]):
        return "it does more than append to one axis"
    return None


def _forward(value: ir.Value) -> Iterator[ir.Value]:
    """Yield ``value`` and what nodes that only move elements make of it."""
    yield value
    while (node := _reader(value)) is not None and _moves(node):
        value = node.outputs[0]
        yield value


def _backward(value: ir.Value | None) -> Iterator[tuple[ir.Value, list[ir.Node]]]:
    """Yield ``value`` and what it was moved from, each with the nodes that led from there."""
    nodes: list[ir.Node] = []
    while value is not None:
        yield value, list(nodes)
        node = value.producer()
        if node is None or not _moves(node):
            return
        nodes.insert(0, node)
        value = _data(node)


def _reader(value: ir.Value) -> ir.Node | None:
    use = next(iter(value.uses()), None)
    return None if use is None else use.node


def _moves(node: ir.Node) -> bool:
    """Return whether ``node`` only moves elements, or adds zeros."""
    return is_operator(node, *_MOVERS) or _zeros(node) is not None


def _zeros(node: ir.Node) -> ir.Value | None:
    """Return the constant of an Add of zeros, or None."""
    for value in node.inputs if is_operator(node, "Add") else ():
        tensor = constant(value)
        if tensor is not None and not tensor.numpy().any():
            return value
    return None


def _data(node: ir.Node) -> ir.Value | None:
    """Return what ``node`` moves."""
    zeros = _zeros(node)
    return next((value for value in node.inputs if value is not zeros), None)


def _farthest(value: ir.Value | None, wanted: list[int], behind: list[ir.Node]) -> ir.Value | None:
    """Return the farthest source [., ., ., .] of ``value`` whose axes end up as ``wanted``.

    Args:
        value: What the node behind reads.
        wanted: The place of each axis of the source, after the nodes ``behind``.
        behind: Nodes that follow ``value``.
    """
    found = None
    for source, nodes in _backward(value):
        if source.shape is None or len(source.shape) != len(_SAME):
            continue
        if wanted == _CHANNEL_FIRST and source.shape[3] != 2:  # noqa: PLR2004  x and y
            continue
        if _axes([*nodes, *behind]) == wanted:
            found = source
    return found


def _end(joined: ir.Value) -> ir.Value:
    """Return the last value behind the join that holds the same elements in the same order."""
    end, nodes = joined, list[ir.Node]()
    for value in _forward(joined):
        if (node := value.producer()) is not None and value is not joined:
            nodes.append(node)
        if _axes(nodes) == _SAME:
            end = value
        if value.is_graph_output() or len(value.uses()) != 1:
            break
    return end


def _axes(nodes: list[ir.Node]) -> _Axes | None:
    """Return which source axis each axis is after ``nodes``; None for one that is new.

    Returns:
        None where it cannot be told, or where the padded axis is not the last of the source.
    """
    axes: _Axes = list(_SAME)
    for node in nodes:
        moved = _moved(node, axes)
        if moved is None:
            return None
        axes = moved
    return axes


def _moved(node: ir.Node, axes: _Axes) -> _Axes | None:
    if node.op_type == "Transpose":
        perm = node.attributes.get_ints("perm") or range(len(axes))[::-1]
        return [axes[axis] for axis in perm]
    if node.op_type == "Pad":
        pads = integers(node, "pads", 1) or []
        place = next(index for index, amount in enumerate(pads[len(axes) :]) if amount)
        return axes if axes[place] == 3 else None  # noqa: PLR2004  the last axis of the grid
    if node.op_type not in {"Squeeze", "Unsqueeze"}:
        return axes
    places = integers(node, "axes", 1)
    if places is None:
        return None
    if node.op_type == "Squeeze":
        gone = {place % len(axes) for place in places}
        return [axis for place, axis in enumerate(axes) if place not in gone]
    rank, old = len(axes) + len(places), iter(axes)
    new = {place % rank for place in places}
    return [None if place in new else next(old) for place in range(rank)]
