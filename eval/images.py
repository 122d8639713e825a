"""From an encoded image to the network's input: decode, resize to height 32, normalise, pad."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from eval.errors import import_extra

CHANNELS, HEIGHT, WIDTH = 3, 32, 100

# The order of the divisions decides the last bit: x / 255, then - 0.5, then / 0.5.
_HALF = np.float32(0.5)
_NORMALISED = (np.arange(256, dtype=np.float32) / np.float32(255) - _HALF) / _HALF

Float32: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.uint8]


def decode(encoded: bytes) -> Pixels | None:
    """Decode an image file.

    A cut JPEG is None with OpenCV 4.11 and later; older ones return what they could decode.

    Returns:
        uint8 [height, width, 3] in the order blue, green, red, turned upright by EXIF, without
        alpha; None if OpenCV cannot decode it.
    """
    cv2 = import_extra("cv2")
    try:
        image: Any = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a header that claims more pixels than OpenCV accepts
        return None
    return None if image is None else np.asarray(image)


def resized_width(height: int, width: int) -> int:
    """Return the width at height 32 that keeps the aspect ratio, at most 100."""
    return min(WIDTH, math.ceil(HEIGHT * (width / height)))


def to_input(image: Pixels, out: Float32 | None = None) -> Float32:
    """Resize and normalise one image.

    Args:
        image: uint8 [height, width, 3], blue first.
        out: Where to write the result; None for a new array.

    Returns:
        float32 [3, 32, 100] in [-1, 1], padded with 0 on the right.
    """
    cv2 = import_extra("cv2")
    width = resized_width(image.shape[0], image.shape[1])
    resized = cv2.resize(image, (width, HEIGHT))
    padded = np.empty((CHANNELS, HEIGHT, WIDTH), np.float32) if out is None else out
    padded[:, :, :width] = cv2.LUT(resized, _NORMALISED).transpose(2, 0, 1)
    padded[:, :, width:] = 0
    return padded
