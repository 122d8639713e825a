"""merge-concats: join once instead of in steps.

Before::

    b, c -> Concat(axis=1) -> h;  a, h, d -> Concat(axis=1) -> y

After::

    a, b, c, d -> Concat(axis=1) -> y

Fires when:
    a Concat reads what another one makes on the same axis, and nothing but such Concats reads it,
    in the main graph, in a sub-graph (also where the first one stands in the graph around it) or
    in a function. Its inputs take its place, wherever that is among the inputs, each time it is
    read.

Leaves alone:
    - a Concat on another axis, or on one that cannot be told the same: one counts from the front,
      the other from the end, and no rank is recorded (run infer-shapes first).
    - a Concat that anything else reads, or that is a graph output: it would be computed anyway.
    - a merged Concat of more than ``max_inputs`` inputs: one that reads another twice doubles it.

Numerics:
    Exact: elements are moved, nothing is computed.

References:
    - https://onnx.ai/onnx/operators/onnx__Concat.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import is_operator, maker, operators, rank, remove_unread, set_inputs

if TYPE_CHECKING:
    import onnx_ir as ir

_DEFAULT_AXIS = 1  # of opset 1 to 3; later the attribute is required


@register
@dataclass(frozen=True)
class MergeConcats(Pass):
    """Join once instead of in steps.

    Attributes:
        max_inputs: The most inputs that a merged Concat may have.
    """

    name: ClassVar[str] = "merge-concats"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"Concat"})
    max_inputs: int = 256

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        while self._round(model, result):
            # A Concat that went may have been the reader that kept another one apart.
            result.skipped.clear()
        return result

    def _round(self, model: ir.Model, result: PassResult) -> bool:
        """Merge what can be merged now; return whether a Concat went."""
        concats = [node for node, _ in operators(model, "Concat")]
        refusals = {node: _why_not(node) for node in concats}
        before = len(result.rewritten)
        for outer in concats:
            made = (maker(value, "Concat") for value in outer.inputs)
            inner = dict.fromkeys(node for node in made if node is not None)
            merged = [node for node in inner if refusals[node] is None]
            reasons = [reason for node in inner if (reason := refusals[node])]
            size = sum(_width(value, merged) for value in outer.inputs)
            if merged and size > self.max_inputs:
                reasons.append(f"merged it would have {size} inputs, more than {self.max_inputs}")
                merged = []
            result.skipped += [Note(label(outer), reason) for reason in reasons]
            if merged:
                note = Note(label(outer), f"reads the inputs of {', '.join(map(label, merged))}")
                _rewrite(outer, merged)
                result.rewritten.append(note)
        return len(result.rewritten) > before


def _why_not(inner: ir.Node) -> str | None:
    """Return the reason to keep ``inner`` apart from those that read it, or None."""
    value = inner.outputs[0]
    if value.is_graph_output():
        return f"{value.name!r} is a graph output"
    axis = _axis(inner, value)
    for reader in value.consumers():
        if not is_operator(reader, "Concat"):
            return f"{value.name!r} has another reader"
        other = _axis(reader, value)
        if (axis < 0) != (other < 0):
            return f"the rank of {value.name!r} is unknown; infer shapes first"
        if axis != other:
            return f"{label(inner)} joins another axis than {label(reader)}"
    return None


def _axis(node: ir.Node, value: ir.Value) -> int:
    """Return the axis of a Concat that makes or reads ``value``, from the front if known."""
    axis = node.attributes.get_int("axis", _DEFAULT_AXIS)
    axes = rank(value)
    return axis + axes if axis < 0 and axes is not None else axis


def _width(value: ir.Value | None, merged: list[ir.Node]) -> int:
    node = maker(value, "Concat")
    return len(node.inputs) if node in merged and node is not None else 1


def _rewrite(outer: ir.Node, merged: list[ir.Node]) -> None:
    """Put the inputs of the ``merged`` in their places among the inputs of ``outer``."""
    values: list[ir.Value | None] = []
    for value in outer.inputs:
        node = maker(value, "Concat")
        values += node.inputs if node in merged and node is not None else [value]
    set_inputs(outer, values)
    for node in merged:
        remove_unread(node)
