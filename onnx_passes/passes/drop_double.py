"""drop-double: compute in float32 what the model computes in float64.

Before::

    x float64 -> Mul(w float64) -> h float64 -> y float64

After::

    x float64 -> Cast -> Mul(w float32) -> h float32 -> Cast -> y float64

Why:
    On 310P nearly every operator runs float64 on the AI CPU only.

Fires when:
    any node, weight or Constant is float64. Everything inside becomes float32 at once: weights,
    Constants, values of sub-graphs and functions, and the types that Cast, ConstantOfShape,
    EyeLike and the random operators name. Inputs and outputs of the model keep their type behind
    a Cast. A Cast from float32 to float64 becomes an Identity, which drop-identity removes:
    onnxruntime drops a Cast to the same type itself and forgets readers in a sub-graph.

Leaves alone:
    the whole model:

    - if a node of another domain, which is no function of the model, reads or makes float64.
    - if a weight is finite in float64 and not in float32.
    - if a sequence or an optional holds float64.
    - if the caller of a function sets the type that a node names.

Numerics:
    Inexact on purpose: each operation rounds to 24 bits instead of 53, and what exceeds 3.4e38
    becomes infinite. The check of the run says how far the outputs move.

References:
    - https://onnx.ai/onnx/repo-docs/IR.html#tensor-element-types
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.inference import infer
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.values import graphs

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOUBLE, _FLOAT = ir.DataType.DOUBLE, ir.DataType.FLOAT
_NAMES_A_TYPE = {
    "Cast": "to",
    **dict.fromkeys(("Bernoulli", "EyeLike", "Multinomial", "RandomNormal"), "dtype"),
    **dict.fromkeys(("RandomNormalLike", "RandomUniform", "RandomUniformLike"), "dtype"),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), "output_datatype"),
    "MelWeightMatrix": "output_datatype",
}


@register
@dataclass(frozen=True)
class DropDouble(Pass):
    """Compute in float32 what the model computes in float64."""

    name: ClassVar[str] = "drop-double"
    exactness: ClassVar[Exactness] = "inexact"
    purpose: ClassVar[str] = "target"

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring. All values change at once: no operator mixes the two types."""
        result = PassResult()
        inferred = infer(model)
        doubles = [value for value in _values(model) if _dtype(value, inferred) == _DOUBLE]
        inside = [value for value in doubles if not _is_border(value, model)]
        held = [node for node in _nodes(model) if _double_tensor(node) is not None]
        if not inside and not held:
            return result
        notes = [_why_not(node, model, inferred) for node in _nodes(model)]
        notes += [_why_not_weight(value) for value in inside]
        if refusals := [note for note in notes if note is not None]:
            result.skipped.extend(refusals)
            return result
        singles = {value for value in _values(model) if _dtype(value, inferred) == _FLOAT}
        _narrow_all(model, inside, singles)
        result.rewritten.append(Note("model", f"{len(inside)} values are float32 now"))
        return result


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    for graph in graphs(model):
        yield from graph


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in graphs(model):
        yield from graph.inputs
        yield from (value for value in graph.initializers.values() if not value.is_graph_input())
        for node in graph:
            yield from node.outputs


def _dtype(value: ir.Value, inferred: dict[ir.Value, ir.Value]) -> ir.DataType | None:
    return value.dtype or inferred.get(value, value).dtype


def _is_border(value: ir.Value, model: ir.Model) -> bool:
    """Return whether ``value`` is float64 for the caller only, behind a Cast."""
    if value.graph is not model.graph:
        return False
    if value.is_graph_input():
        return all(_is_cast(use.node) for use in value.uses())
    node = value.producer()
    is_cast = node is not None and _is_cast(node)
    return value.is_graph_output() and is_cast and not value.uses()


def _is_cast(node: ir.Node) -> bool:
    return (node.domain, node.op_type) == ("", "Cast")


def _double_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """Return the float64 tensor that a Constant or ConstantOfShape holds, or None."""
    if node.domain or node.op_type not in {"Constant", "ConstantOfShape"}:
        return None
    attribute = node.attributes.get("value")
    if attribute is None or attribute.is_ref():
        return None
    tensor = attribute.as_tensor()
    return tensor if tensor.dtype == _DOUBLE else None


def _why_not(node: ir.Node, model: ir.Model, inferred: dict[ir.Value, ir.Value]) -> Note | None:
    """Return why the model must stay because of ``node``, or None."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    if any(_holds_doubles(value.type or inferred.get(value, value).type) for value in values):
        return Note(label(node), "a sequence or an optional of float64")
    is_ours = node.domain == "" or node.op_identifier() in model.functions
    if not is_ours and any(_dtype(value, inferred) == _DOUBLE for value in values):
        return Note(label(node), f"an operator of domain {node.domain!r} reads or makes float64")
    named = node.attributes.get(_NAMES_A_TYPE.get(node.op_type, ""))
    if named is not None and named.is_ref():
        return Note(label(node), "the caller of the function sets its type")
    tensor = _double_tensor(node)
    if tensor is not None and _overflows(tensor):
        return Note(label(node), "it holds a number beyond the range of float32")
    return None


def _why_not_weight(value: ir.Value) -> Note | None:
    """Return why the model must stay because of an initializer, or None."""
    if not value.is_initializer() or value.const_value is None:
        return None
    name = f"initializer {value.name!r}"
    if value.is_graph_output() and not value.is_graph_input():
        return Note(name, "it is a graph output")
    if _overflows(value.const_value):
        return Note(name, "it holds a number beyond the range of float32")
    return None


def _holds_doubles(kind: ir.TypeProtocol | None) -> bool:
    return not isinstance(kind, (ir.TensorType, type(None))) and kind.dtype == _DOUBLE


def _overflows(tensor: ir.TensorProtocol) -> bool:
    array = tensor.numpy()
    with np.errstate(over="ignore"):
        return bool((np.isfinite(array) & ~np.isfinite(array.astype(np.float32))).any())


def _narrow_all(model: ir.Model, inside: list[ir.Value], singles: set[ir.Value]) -> None:
    """Make float32 of the values ``inside``, and put Casts between them and the interface.

    ``singles`` are float32 already, recorded so or not.
    """
    names, changed, graph = Names(model), set(inside), model.graph
    for node in _nodes(model):
        if not _is_cast(node) or node.outputs[0] in changed or node.graph is not graph:
            _narrow_attributes(node)
    for value in changed - set(graph.inputs):
        if value.is_initializer() and value.const_value is not None:
            value.const_value = _float32(value.const_value)
        if value.type is not None:
            value.type = ir.TensorType(_FLOAT)
    singles |= changed - set(graph.inputs)
    for node in _nodes(model):
        _copy_same(node, changed, singles)
    for value in graph.inputs:
        if value in changed:
            _cast_input(value, graph, names)
    _cast_outputs(graph, changed, names)


def _cast_outputs(graph: ir.Graph, changed: set[ir.Value], names: Names) -> None:
    for index, value in enumerate(graph.outputs):
        if value in changed and not value.is_graph_input():
            graph.outputs[index] = _cast_output(value, graph, names)


def _narrow_attributes(node: ir.Node) -> None:
    """Make float32 of the type that ``node`` names and of the tensor that it holds."""
    tensor = _double_tensor(node)
    if tensor is not None:
        node.attributes.add(ir.AttrTensor("value", _float32(tensor)))
    name = _NAMES_A_TYPE.get(node.op_type, "")
    if not node.domain and name in node.attributes and node.attributes[name].as_int() == _DOUBLE:
        node.attributes.add(ir.AttrInt64(name, _FLOAT.value))


def _copy_same(node: ir.Node, changed: set[ir.Value], singles: set[ir.Value]) -> None:
    """Make an Identity of a Cast whose result is what it reads, now that it is float32."""
    if not _is_cast(node) or node.outputs[0] not in changed:
        return
    source, to = node.inputs[0], node.attributes["to"]
    if source in singles and not to.is_ref():
        node.op_type = "Identity"
        node.attributes.clear()


def _float32(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    with np.errstate(under="ignore"):
        return ir.Tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _cast_input(value: ir.Value, graph: ir.Graph, names: Names) -> None:
    """Let all readers of an input but Casts read a float32 copy of it."""
    name = names.fresh(f"{value.name}.float32")
    copy = ir.Value(name=name, type=ir.TensorType(_FLOAT), shape=value.shape)
    readers = [use for use in value.uses() if not _is_cast(use.node)]
    for use in readers:
        use.node.replace_input_with(use.idx, copy)
    cast = ir.node("Cast", [value], {"to": _FLOAT.value}, outputs=[copy], name=name)
    graph.insert_before(graph[0], cast)


def _cast_output(value: ir.Value, graph: ir.Graph, names: Names) -> ir.Value:
    """Return a float64 copy of ``value`` under its name, for the interface."""
    name, value.name = value.name, names.fresh(f"{value.name}.float32")
    copy = ir.Value(name=name, type=ir.TensorType(_DOUBLE), shape=value.shape)
    graph.append(ir.node("Cast", [value], {"to": _DOUBLE.value}, outputs=[copy], name=name))
    return copy
