"""Read a model file whose weights are large: each goes from the file straight into its array.

A parser holds the file, the message and later the array: three copies of each weight. Here the
weights are left out of what is parsed. They are in memory afterwards, not looked at in the file:
that may be overwritten while the model lives.
"""

from __future__ import annotations

import math
import mmap
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from onnx_passes.core.wire import (
    BYTES,
    GRAPH_INITIALIZER,
    MODEL_GRAPH,
    TENSOR_RAW_DATA,
    Field,
    UnusualError,
    bytes_head,
    fields,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    import numpy.typing as npt
    import onnx
    import onnx_ir as ir

# Below this a parser is as fast: most of a small file is nodes.
MIN_FILE_BYTES = 1 << 24
MIN_WEIGHT_BYTES = 1 << 16


class _Weight(NamedTuple):
    """A tensor without its bytes, and where these are."""

    header: onnx.TensorProto
    place: Field


def read(path: Path) -> ir.Model:
    """Return the model in a file.

    Raises:
        Exception: Whatever a parser raises for a file that is no model.
    """
    import onnx_ir as ir

    if path.stat().st_size < MIN_FILE_BYTES or sys.byteorder != "little":
        return ir.load(path)
    with path.open("rb", buffering=0) as stream:
        try:
            proto, weights = _without_weights(stream)
        except UnusualError:
            return ir.load(path)
        model = ir.from_proto(proto)
        ir.external_data.set_base_dir(model.graph, path.parent)
        for weight in weights:
            value = model.graph.initializers[weight.header.name]
            value.const_value = ir.Tensor(
                _array(stream, weight),
                name=weight.header.name,
                doc_string=weight.header.doc_string or None,
                metadata_props={item.key: item.value for item in _metadata(weight.header)},
            )
    return model


def _without_weights(stream: BinaryIO) -> tuple[onnx.ModelProto, list[_Weight]]:
    """Return the model without the bytes of its large weights, and where these are.

    Raises:
        UnusualError: If a parser must judge the file.
    """
    import onnx

    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        graphs = [item for item in fields(data, 0, len(data)) if item.number == MODEL_GRAPH]
        if len(graphs) != 1 or graphs[0].kind != BYTES:
            raise UnusualError
        (graph,) = graphs
        weights: list[_Weight] = []
        pieces: list[bytes] = []
        at = graph.body
        for item in fields(data, graph.body, graph.end):
            if item.number != GRAPH_INITIALIZER or item.end - item.start < MIN_WEIGHT_BYTES:
                continue
            if (weight := _weight(data, item)) is not None:
                header = weight.header.SerializeToString()
                pieces += [data[at : item.start], bytes_head(GRAPH_INITIALIZER, len(header))]
                pieces.append(header)
                weights.append(weight)
                at = item.end
        pieces.append(data[at : graph.end])
        body = b"".join(pieces)
        whole = data[: graph.start] + bytes_head(MODEL_GRAPH, len(body)) + body + data[graph.end :]
    proto = onnx.ModelProto.FromString(whole)
    names = [tensor.name for tensor in proto.graph.initializer]
    if len(set(names)) < len(names):
        raise UnusualError
    return proto, weights


def _weight(data: mmap.mmap, item: Field) -> _Weight | None:
    """Return a tensor whose raw bytes are just what its shape needs, or None."""
    import onnx

    if item.kind != BYTES:
        raise UnusualError
    raw = [part for part in fields(data, item.body, item.end) if part.number == TENSOR_RAW_DATA]
    if len(raw) != 1 or raw[0].kind != BYTES:
        return None
    place = raw[0]
    header = onnx.TensorProto.FromString(data[item.body : place.start] + data[place.end : item.end])
    dtype = _dtype(header)
    if dtype is None or header.data_location != onnx.TensorProto.DEFAULT or not header.name:
        return None
    if min(header.dims, default=0) < 0:
        return None
    needed = math.prod(header.dims) * dtype.itemsize
    return _Weight(header, place) if needed == place.end - place.body else None


def _dtype(header: onnx.TensorProto) -> np.dtype[np.generic] | None:
    """Return the dtype of a tensor if it is one of numpy's own, for which bytes are numbers."""
    import onnx

    kinds = onnx.TensorProto
    plain: dict[int, str] = {
        **{kinds.FLOAT: "<f4", kinds.DOUBLE: "<f8", kinds.FLOAT16: "<f2"},
        **{kinds.INT8: "i1", kinds.INT16: "<i2", kinds.INT32: "<i4", kinds.INT64: "<i8"},
        **{kinds.UINT8: "u1", kinds.UINT16: "<u2", kinds.UINT32: "<u4", kinds.UINT64: "<u8"},
    }
    text = plain.get(header.data_type)
    return None if text is None else np.dtype(text)


def _array(stream: BinaryIO, weight: _Weight) -> npt.NDArray[np.generic]:
    dtype = _dtype(weight.header)
    array: npt.NDArray[np.generic] = np.empty(tuple(weight.header.dims), dtype)
    stream.seek(weight.place.body)
    view = array.reshape(-1).view(np.uint8).data
    while view:
        count = stream.readinto(view)  # type: ignore[attr-defined]  # of a raw stream
        if not count:
            msg = f"it ends within tensor {weight.header.name!r}: it changed while it was read"
            raise EOFError(msg)
        view = view[count:]
    array.flags.writeable = False
    return array


def _metadata(header: onnx.TensorProto) -> list[onnx.StringStringEntryProto]:
    """Return the metadata of a tensor, which onnx before 1.17 does not know."""
    return list(getattr(header, "metadata_props", ()))
