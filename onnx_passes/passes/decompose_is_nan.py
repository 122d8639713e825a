"""decompose-is-nan: replace IsNaN by a comparison of the value with itself.

Before::

    x -> IsNaN -> y -> Where(y, 0, x)

After::

    Equal(x, x) -> Not -> y -> Where(y, 0, x)

PyTorch writes it behind the Softmax of an attention: a row that is masked as a whole is not a
number there, and becomes 0.

Why:
    310P runs IsNaN on the AI CPU only, and CANN 5 has no such operator.

Fires when:
    the node is ``ai.onnx::IsNaN`` over float16, bfloat16, float32 or float64, in the main graph, in
    a sub-graph or in a function.

Leaves alone:
    - opsets below 11, and below 13 for bfloat16: Equal takes no such numbers there.
    - an input of another or of an unknown type.

Numerics:
    Exact: of all numbers only a NaN does not equal itself (IEEE 754). A compiler that takes Equal
    of a value with itself for true would undo it; whether ATC does has not been seen on a device.

References:
    - https://onnx.ai/onnx/operators/onnx__IsNaN.html
    - https://onnx.ai/onnx/operators/onnx__Equal.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.known_inputs import complete_inputs, forget
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import nodes_of

# The first opset whose Equal takes a type.
_LEAST_OPSET = {
    **dict.fromkeys((ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE), 11),
    ir.DataType.BFLOAT16: 13,
}


@register
@dataclass(frozen=True)
class DecomposeIsNan(Pass):
    """Replace IsNaN by a comparison of the value with itself."""

    name: ClassVar[str] = "decompose-is-nan"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"IsNaN"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        nodes = list(nodes_of(model, "IsNaN"))
        before = complete_inputs(model, [node for node, _ in nodes])
        names = Names(model) if nodes else None
        for node, opset in nodes:
            note = Note(label(node), "not equal to itself")
            if refusal := _why_not(node, opset):
                result.skipped.append(Note(label(node), refusal))
            elif names is not None:
                _replace(Emitter(node, names, opset), node)
                result.rewritten.append(note)
        if not result.rewritten:
            forget(before)
        return result


def _why_not(node: ir.Node, opset: int) -> str | None:
    """Return the reason to leave ``node`` alone, or None to rewrite it."""
    value = node.inputs[0]
    dtype = None if value is None else value.dtype
    if dtype not in _LEAST_OPSET:
        kind = "unknown" if dtype is None else dtype.name.lower()
        return f"its input has type {kind}, expected float16, bfloat16, float or double"
    least = _LEAST_OPSET[dtype]
    return f"Equal of opset {opset} takes no {dtype.name.lower()}" if opset < least else None


def _replace(emit: Emitter, node: ir.Node) -> None:
    value = node.inputs[0]
    same = emit.op("Not", emit.op("Equal", value, value))
    for new in emit.nodes:
        new.metadata_props.update(node.metadata_props)
    emit.replace(node, same)
