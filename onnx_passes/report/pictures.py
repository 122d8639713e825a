"""Tensors that read as pictures, side by side: input, before, after, difference."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Array

CHANNELS = (1, 3)
MIN_SIDE_PX = 16
# Larger pictures are thinned out, so that a report stays a few megabytes.
MAX_SIDE_PX = 320
MAX_IMAGES = 4


@dataclasses.dataclass(frozen=True)
class Pictures:
    """One tensor of the original and of the rewritten model, for the first images of a batch.

    Attributes:
        tensor: Its name.
        node: The label of its producer in the original.
        input: The graph input shown beside it.
        shape: Its shape, N C H W.
        low: Value of the original tensor that is drawn black.
        high: Value of the original tensor that is drawn white.
        largest: Difference that is drawn white; 0.0 if there is none.
        rows: PNG files of input, before, after and difference, for each image.
    """

    tensor: str
    node: str
    input: str
    shape: tuple[int, ...]
    low: float
    high: float
    largest: float
    rows: tuple[tuple[bytes, bytes, bytes, bytes], ...]


def is_picture(shape: Iterable[object]) -> bool:
    """Return whether a shape reads as a batch of pictures, N C H W."""
    dims = list(shape)
    if len(dims) != len("NCHW") or dims[1] not in CHANNELS:
        return False
    return all(isinstance(dim, int) and dim >= MIN_SIDE_PX for dim in dims[2:])


def picture_input(feeds: Mapping[str, Array]) -> str | None:
    """Return the first graph input that is fed with pictures."""
    return next((name for name, array in feeds.items() if is_picture(array.shape)), None)


def picture_names(model: ir.Model, names: Iterable[str]) -> list[str]:
    """Return those of the tensors ``names`` that read as pictures; shapes are inferred."""
    import onnx

    from onnx_passes.core.skeleton import skeleton

    try:
        graph = onnx.shape_inference.infer_shapes(skeleton(model), data_prop=True).graph
    except Exception:  # noqa: BLE001, RUF100  a model without known shapes shows no pictures
        return []
    shapes = {
        value.name: [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    return [name for name in names if is_picture(shapes.get(name, ()))]


def draw(names: tuple[str, str, str], given: Array, before: Array, after: Array) -> Pictures | None:
    """Return the pictures of one tensor, or None if it does not go with the input.

    Args:
        names: Of the tensor, its producer and the graph input.
        given: The input, [N, C, H, W].
        before: The tensor in the original.
        after: The tensor in the rewritten model.
    """
    if before.shape != after.shape or before.shape[0] != given.shape[0]:
        return None
    shape = tuple(int(size) for size in before.shape)
    given, before, after = (_first(array) for array in (given, before, after))
    low, high = _range(before)
    with np.errstate(all="ignore"):
        gap = np.where((before == after) | (np.isnan(before) & np.isnan(after)), 0, after - before)
    gap = np.nan_to_num(np.abs(gap), nan=np.inf, posinf=np.inf)
    finite = gap[np.isfinite(gap)]
    largest = float(finite.max()) if finite.size else 0.0
    rows = zip(
        _pngs(_thin(given), *_range(given)),
        _pngs(_thin(before), low, high),
        _pngs(_thin(after), low, high),
        _pngs(_block_maxima(gap), 0.0, largest),
        strict=True,
    )
    return Pictures(*names, shape, low, high, largest, tuple(rows))


def png(pixels: Array) -> bytes:
    """Return a PNG file of uint8 pixels, [H, W] for grey or [H, W, 3] for colours.

    https://www.w3.org/TR/png-3/
    """
    height, width = pixels.shape[:2]
    grey, colours, bits = 0, 2, 8
    kind = grey if pixels.ndim == len("HW") else colours
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    # Each line starts with its filter; 0 is none.
    lines = b"".join(b"\0" + line.tobytes() for line in np.ascontiguousarray(pixels))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _first(array: Array) -> Array:
    return np.asarray(array[:MAX_IMAGES], dtype=np.float64)


def _range(array: Array) -> tuple[float, float]:
    finite = array[np.isfinite(array)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _pngs(images: Array, low: float, high: float) -> list[bytes]:
    """Return [N, C, H, W] as PNG files; ``low`` is black, ``high`` and infinity are white."""
    with np.errstate(all="ignore"):
        shares = np.nan_to_num((images - low) / (high - low if high > low else 1.0), nan=0.0)
    pixels = np.rint(np.clip(shares, 0.0, 1.0) * 255).astype(np.uint8)
    return [png(_channels_last(image)) for image in pixels]


def _channels_last(image: Array) -> Array:
    return image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, 2)


def _factor(images: Array) -> int:
    height, width = images.shape[2:]
    return int(-(-max(height, width) // MAX_SIDE_PX))


def _thin(images: Array) -> Array:
    """Return every k-th pixel, so that the longer side fits."""
    step = _factor(images)
    return images[:, :, ::step, ::step]


def _block_maxima(images: Array) -> Array:
    """Return the maxima of k x k pixels: thinning out must not hide a difference."""
    step = _factor(images)
    padding: Any = [(0, 0), (0, 0), *((0, -size % step) for size in images.shape[2:])]
    padded = np.pad(images, padding)
    n, c, height, width = padded.shape
    blocks = padded.reshape(n, c, height // step, step, width // step, step)
    return np.asarray(blocks.max(axis=(3, 5)))
