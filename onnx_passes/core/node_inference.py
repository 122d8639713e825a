"""Infer what one node makes, once more, when more is known of what it reads.

Inference of a whole model costs as much as the model. A pass that learns shapes one after the
other, each from the last, asks for single nodes instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from onnx_passes.core.inference import learn
from onnx_passes.core.skeleton import typed
from onnx_passes.core.values import constant, subgraphs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_passes.core.shape_values import Known

_MAX_DATA_BYTES = 1024  # Longer tensors are no shapes.
_NO_DATA = ir.DataType.STRING, ir.DataType.UNDEFINED


class NodeInference:
    """Inference of single nodes of one model."""

    def __init__(self, model: ir.Model) -> None:
        """Note the opsets."""
        self._opsets = model.opset_imports
        self._imports = [
            onnx.OperatorSetIdProto(domain=domain, version=version)
            for domain, version in self._opsets.items()
        ]
        self._ir_version = model.ir_version

    def refine(self, node: ir.Node, known: Mapping[ir.Value, Known]) -> list[ir.Value]:
        """Record what the types, shapes and small constants that ``node`` reads say of its results.

        Args:
            node: Its results change. Control flow and calls of functions are left as they are.
            known: What is certain of inputs that are no constants.

        Returns:
            The results of which more is recorded than before.
        """
        read = dict.fromkeys(value for value in node.inputs if value is not None)
        if not onnx.defs.has(node.op_type, self._opsets.get(node.domain, 0), node.domain):
            return []
        if next(subgraphs(node), None) is not None or any(typed(v).type is None for v in read):
            return []
        schema = onnx.defs.get_schema(node.op_type, self._opsets[node.domain], node.domain)
        data = {value.name or "": _data(value, known) for value in read}
        try:
            found = onnx.shape_inference.infer_node_outputs(
                schema,
                ir.serde.serialize_node(node),
                {value.name or "": ir.serde.serialize_value(typed(value)).type for value in read},
                {name: tensor for name, tensor in data.items() if tensor is not None},
                opset_imports=self._imports,
                ir_version=self._ir_version,
            )
        except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
            return []  # The node contradicts its inputs: the checker's matter.
        made = [value for value in node.outputs if value.name]  # others are left out
        return [value for value in made if learn(value, _inferred(value, found))]


def _data(value: ir.Value, known: Mapping[ir.Value, Known]) -> onnx.TensorProto | None:
    """Return the elements of ``value`` if they are certain and few."""
    array = known[value].array() if value in known else None
    if array is not None:
        return onnx.numpy_helper.from_array(array)
    tensor = constant(value)
    if tensor is None or tensor.nbytes > _MAX_DATA_BYTES or tensor.dtype in _NO_DATA:
        return None
    return ir.serde.serialize_tensor(ir.Tensor(tensor.numpy(), dtype=tensor.dtype))


def _inferred(value: ir.Value, found: Mapping[str, onnx.TypeProto]) -> ir.Value:
    kind = found.get(value.name or "")
    if kind is None:
        return ir.Value(name=value.name)
    proto = onnx.ValueInfoProto(name=value.name, type=kind)
    return ir.serde.deserialize_value_info_proto(proto, None)
