"""Write a model into one file, its large weights one after the other.

``SerializeToString`` makes a message of the whole model, then bytes of the message, then writes
them: each weight is in memory three times. Here only what is small goes that way.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from onnx_passes.core.file_reader import MIN_WEIGHT_BYTES
from onnx_passes.core.wire import GRAPH_INITIALIZER, MODEL_GRAPH, TENSOR_RAW_DATA, bytes_head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx
    import onnx_ir as ir


def write(model: ir.Model, path: Path) -> None:
    """Write ``model`` to ``path``; tensors in other files are named, not written."""
    import onnx_ir as ir

    large = {
        name: value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and _is_large(value.const_value)
    }
    tensors = {name: value.const_value for name, value in large.items()}
    with _headers_only(large):
        proto = ir.to_proto(model)
    headers = [
        (item.SerializeToString(), tensors.get(item.name)) for item in proto.graph.initializer
    ]
    del proto.graph.initializer[:]
    _stream(proto, headers, path)


class _Header:
    """Stands for a tensor: all but its bytes."""

    def __init__(self, tensor: ir.TensorProtocol) -> None:
        self.name, self.doc_string = tensor.name, tensor.doc_string
        self.dtype, self.shape = tensor.dtype, tensor.shape
        self.metadata_props = tensor.metadata_props
        self.size, self.nbytes = tensor.size, tensor.nbytes

    def tobytes(self) -> bytes:
        return b""


@contextlib.contextmanager
def _headers_only(values: dict[str, ir.Value]) -> Iterator[None]:
    """Within the block, let headers stand for the tensors of ``values``."""
    tensors = {value: value.const_value for value in values.values()}
    try:
        for value, tensor in tensors.items():
            if tensor is not None:
                stand_in: Any = _Header(tensor)
                value.const_value = stand_in
        yield
    finally:
        for value, tensor in tensors.items():
            value.const_value = tensor


def _is_large(tensor: ir.TensorProtocol) -> bool:
    import onnx_ir as ir

    if isinstance(tensor, ir.ExternalTensor) or tensor.dtype == ir.DataType.STRING:
        return False
    return tensor.nbytes >= MIN_WEIGHT_BYTES


def _stream(
    proto: onnx.ModelProto, headers: list[tuple[bytes, ir.TensorProtocol | None]], path: Path
) -> None:
    """Write a model without initializers, and these as fields of its graph.

    Args:
        proto: The model.
        headers: Of each initializer the message, and the tensor if its bytes are not in there.
        path: The file.
    """
    body = proto.graph.SerializeToString()
    proto.ClearField("graph")
    heads = []
    for header, tensor in headers:
        raw = b"" if tensor is None else bytes_head(TENSOR_RAW_DATA, tensor.nbytes)
        length = len(header) + len(raw) + (0 if tensor is None else tensor.nbytes)
        heads.append(bytes_head(GRAPH_INITIALIZER, length) + header + raw)
    weights = sum(tensor.nbytes for _, tensor in headers if tensor is not None)
    with path.open("wb") as stream:
        stream.write(proto.SerializeToString())
        length = len(body) + sum(map(len, heads)) + weights
        stream.write(bytes_head(MODEL_GRAPH, length) + body)
        for head, (_, tensor) in zip(heads, headers, strict=True):
            stream.write(head)
            if tensor is not None:
                write_bytes(tensor, stream)


def write_bytes(tensor: ir.TensorProtocol, stream: Any) -> None:  # noqa: ANN401  a binary file
    """Write the bytes of a tensor, without a copy of them where it can.

    Raises:
        ValueError: If it has not the bytes that its type and shape need.
    """
    before = stream.tell()
    if hasattr(tensor, "tofile"):
        tensor.tofile(stream)
    else:
        stream.write(tensor.tobytes())
    if stream.tell() - before != tensor.nbytes:
        msg = f"tensor {tensor.name!r} has {stream.tell() - before} bytes, not {tensor.nbytes}"
        raise ValueError(msg)
