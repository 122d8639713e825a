"""Tensors that lie in files beside a model: where they may be, and which of them are read.

A model file is untrusted: external data must lie inside the model's folder and be as long as the
model says. Initializers stay in their file. Tensors of attributes are read, since next to no tool
looks for files there: onnxruntime does not when it gets a model as bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.contract import ModelError
from onnx_passes.core.wire import MAX_SINGLE_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx_ir as ir


def external_tensors(model: ir.Model) -> list[ir.ExternalTensor]:
    """Return the initializers of all graphs that live in a file."""
    import onnx_ir as ir

    from onnx_passes.core.values import main_graphs

    return [
        value.const_value
        for graph in main_graphs(model)
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    ]


def settle_external(model: ir.Model, path: Path | None) -> None:
    """Judge external tensors, and put those of attributes into memory.

    Args:
        model: Changed in place.
        path: Its file, or None for a model that is not from a file, whose files are not judged.

    Raises:
        ModelError: If external data lies outside the folder of ``path``, is missing, too short,
            cannot be read, or if attributes hold more of it than a file can.
    """
    inside = list(_attributes(model))
    if path is not None:
        outside = [tensor for _, _, tensors in inside for tensor in tensors]
        for tensor in (*external_tensors(model), *outside):
            _check_file(tensor, path)
        for tensor in outside:
            tensor.base_dir = path.parent  # onnx-ir leaves it out in functions
    size = sum(tensor.nbytes for _, _, tensors in inside for tensor in tensors)
    if size > MAX_SINGLE_FILE_BYTES:
        msg = (
            f"model {path or ''}: its attributes hold {size} bytes of external data, one file can "
            f"hold {MAX_SINGLE_FILE_BYTES}; export these constants as initializers"
        )
        raise ModelError(msg)
    for node, attribute, _ in inside:
        _read_attribute(node, attribute)


def _read_attribute(node: ir.Node, attribute: ir.Attr) -> None:
    import onnx_ir as ir

    single = attribute.type == ir.AttributeType.TENSOR
    tensors = [attribute.value] if single else attribute.value
    try:
        read = [_read(tensor) for tensor in tensors]
    except (OSError, ValueError) as error:
        msg = f"external data of node {node.name!r} ({node.op_type}): {error}"
        raise ModelError(msg) from error
    content = read[0] if single else read
    node.attributes[attribute.name] = ir.Attr(attribute.name, attribute.type, content)


def _attributes(
    model: ir.Model,
) -> Iterator[tuple[ir.Node, ir.Attr, list[ir.ExternalTensor]]]:
    """Yield the attributes that hold external tensors, with their nodes and these tensors."""
    import onnx_ir as ir

    from onnx_passes.core.values import graphs

    for node in (node for graph in graphs(model) for node in graph):
        for attribute in node.attributes.values():
            value = attribute.value
            held = value if attribute.type == ir.AttributeType.TENSORS else [value]
            outside = [tensor for tensor in held or () if isinstance(tensor, ir.ExternalTensor)]
            if outside:
                yield node, attribute, outside


def _read(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    import onnx_ir as ir

    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    return ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)


def _check_file(tensor: ir.ExternalTensor, model_path: Path) -> None:
    folder = model_path.parent.resolve()
    target = (folder / tensor.location).resolve()
    if not target.is_relative_to(folder):
        msg = f"model {model_path}: external data {tensor.location!r} lies outside its folder"
        raise ModelError(msg)
    if not target.is_file():
        msg = f"model {model_path}: external data {tensor.location!r} is missing; put it beside it"
        raise ModelError(msg)
    found = target.stat()
    if found.st_nlink > 1:
        msg = (
            f"model {model_path}: external data {tensor.location!r} has {found.st_nlink} hard "
            f"links, so it may be another's file, and onnx-ir does not read it; copy it"
        )
        raise ModelError(msg)
    length = tensor.nbytes if tensor.length is None else tensor.length
    if length != tensor.nbytes:
        msg = (
            f"model {model_path}: tensor {tensor.name!r} has {length} bytes of external data, "
            f"its type and shape need {tensor.nbytes}"
        )
        raise ModelError(msg)
    start = tensor.offset or 0
    if start < 0 or found.st_size < start + length:
        msg = (
            f"model {model_path}: external data {tensor.location!r} holds {found.st_size} bytes, "
            f"tensor {tensor.name!r} needs bytes {start} to {start + length}"
        )
        raise ModelError(msg)
