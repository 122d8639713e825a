"""merge-transposes: permute axes once instead of twice.

Before::

    x [N, C, H, W] -> Transpose(0, 2, 3, 1) -> h -> Transpose(0, 2, 1, 3) -> y [N, W, H, C]

After::

    x [N, C, H, W] -> Transpose(0, 3, 2, 1) -> y

and two that undo each other leave nothing.

Fires when:
    a Transpose reads what another one makes, in the main graph, in a sub-graph (also where the
    first one stands in the graph around it) or in a function. The first one goes as soon as nothing
    else reads it; until then the second one reads past it, which costs no more than before.

Leaves alone:
    - a Transpose that stands alone, also one that keeps the order (see drop-noop).
    - two of different numbers of axes: the model is broken.
    - two that undo each other between a graph input, an initializer or a graph output and another
      graph output: an Identity stays, for each name needs a node.

Numerics:
    Exact: elements are moved, nothing is computed.

References:
    - https://onnx.ai/onnx/operators/onnx__Transpose.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import maker, operators, pass_through, remove_unread


@register
@dataclass(frozen=True)
class MergeTransposes(Pass):
    """Permute axes once instead of twice."""

    name: ClassVar[str] = "merge-transposes"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"Transpose"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for outer, _ in list(operators(model, "Transpose")):
            inner = maker(outer.inputs[0], "Transpose")
            if inner is None or inner.inputs[0] is None:
                continue
            perm = _merged(inner, outer)
            if perm is None:
                text = f"{label(inner)} has another number of axes"
                result.skipped.append(Note(label(outer), text))
                continue
            note = Note(label(outer), f"merged with {label(inner)}: {perm or 'they cancel'}")
            _rewrite(inner, outer, perm)
            result.rewritten.append(note)
        return result


def _merged(inner: ir.Node, outer: ir.Node) -> list[int] | None:
    """Return the order of both together, [] where they cancel, None if they do not fit."""
    first, second = _perm(inner), _perm(outer)
    if first is None and second is None:
        return []  # To reverse the axes twice changes nothing, whatever the rank.
    implied = list(range(len(first or second or [])))[::-1]
    first, second = first or implied, second or implied
    if len(first) != len(second):
        return None
    perm = [first[axis] for axis in second]
    return [] if perm == sorted(perm) else perm


def _perm(node: ir.Node) -> list[int] | None:
    perm = node.attributes.get_ints("perm")
    return None if perm is None else list(perm)


def _rewrite(inner: ir.Node, outer: ir.Node, perm: list[int]) -> None:
    """Let ``outer``, or where they cancel its readers, read what ``inner`` reads."""
    source = inner.inputs[0]
    if source is None:
        return
    if perm:
        outer.replace_input_with(0, source)
        outer.attributes["perm"] = ir.AttrInt64s("perm", perm)
    else:
        pass_through(outer, source)
    remove_unread(inner)
