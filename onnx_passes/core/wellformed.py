"""Refuse what native code would die of: tensors that end too early, names that are no text.

onnx's shape inference reads small tensors, past their end if their data is shorter than their shape
says. A model file is untrusted, so this is asked before anything native sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.contract import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

_READ_BYTES = 1 << 20  # inference reads the data of small tensors only; onnxruntime checks all


def refuse_malformed(model: ir.Model, path: object) -> None:
    """Look at every name and every small tensor.

    Raises:
        ModelError: For a name that is not UTF-8, or a tensor without the data its shape asks for.
    """
    from onnx_passes.core.values import all_nodes

    nodes = list(all_nodes(model.graph))
    for node in nodes:
        names = (node.name, node.op_type, node.domain, *(value.name for value in node.outputs))
        if not all(isinstance(name, (str, type(None))) for name in names):
            msg = f"model {path}: a name is not UTF-8: {names}; export it again"
            raise ModelError(msg)
    for tensor in _held(model, nodes):
        if tensor.nbytes <= _READ_BYTES and not _is_whole(tensor):
            what = f"tensor {tensor.name!r} has not the data that {tensor.shape} asks for"
            msg = f"model {path}: {what}; export it again"
            raise ModelError(msg)


def _held(model: ir.Model, nodes: list[ir.Node]) -> Iterator[ir.TensorProtocol]:
    """Yield the tensors that lie in the file itself."""
    import onnx_ir as ir

    from onnx_passes.core.values import main_graphs

    values = (
        value.const_value for graph in main_graphs(model) for value in graph.initializers.values()
    )
    attributes = (
        attribute.value
        for node in nodes
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref()
    )
    for tensor in (*values, *attributes):
        if tensor is not None and not isinstance(tensor, ir.ExternalTensor):
            yield tensor


def _is_whole(tensor: ir.TensorProtocol) -> bool:
    try:
        tensor.numpy()
    except Exception:  # whatever the data of a file may bring about
        return False
    return True
