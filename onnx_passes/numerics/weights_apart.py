"""Hand weights to onnxruntime as arrays, not inside the serialised model.

A serialised model holds a copy of every weight, and protobuf ends at 2 GiB. Declared as external
data, a weight can be given to the session as an array instead; one in a file stays there until the
session reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.values import is_read

if TYPE_CHECKING:
    import onnx

    from onnx_passes.numerics.runner import Arrays

# Smaller tensors stay inside: they may be shapes, which onnxruntime reads while loading.
_MIN_BYTES = 1024
# dtypes of numpy's own: onnxruntime takes arrays of no others.
_KINDS = "fiub"


def split_weights(model: ir.Model) -> tuple[onnx.ModelProto, Arrays]:
    """Return ``model`` as a proto without its large weights, and these by name."""
    if all(_stays(value) for graph in model.graphs() for value in graph.initializers.values()):
        return ir.serde.serialize_model(model), {}
    copy = model.clone()
    arrays: Arrays = {}
    for graph in copy.graphs():
        for value in list(graph.initializers.values()):
            tensor = value.const_value
            if tensor is None:
                continue
            if not value.uses() and not value.is_graph_input() and not value.is_graph_output():
                # onnxruntime drops what nothing reads, and then does not find what it is given.
                del graph.initializers[value.name or ""]
                continue
            if graph is copy.graph and not value.is_graph_input() and can_travel_apart(tensor):
                arrays[value.name or ""] = tensor.numpy()
                value.const_value = _declaration(value.name or "", tensor)
            elif isinstance(tensor, ir.ExternalTensor):
                value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)
    return ir.serde.serialize_model(copy), arrays


def _stays(value: ir.Value) -> bool:
    """Return whether an initializer is written just as it is; writing gives a tensor its name."""
    tensor = value.const_value
    if tensor is None or isinstance(tensor, ir.ExternalTensor) or not is_read(value):
        return False
    return tensor.name == value.name and not can_travel_apart(tensor)


def can_travel_apart(tensor: ir.TensorProtocol) -> bool:
    """Return whether onnxruntime takes ``tensor`` as an array, and it is worth it."""
    return tensor.nbytes >= _MIN_BYTES and tensor.dtype.numpy().kind in _KINDS


def declared(name: str, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    """Return ``tensor`` as a proto with dtype and shape but no data."""
    return ir.serde.serialize_tensor(_declaration(name, tensor))


def _declaration(name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        "given-as-array",
        offset=0,
        length=tensor.nbytes,
        dtype=tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=name,
    )
