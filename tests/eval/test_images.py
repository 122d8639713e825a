from __future__ import annotations

import io
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from eval.images import decode, resized_width, to_input

if TYPE_CHECKING:
    from eval.images import Float32, Pixels


ROOT = Path(__file__).resolve().parents[2]


def bilinear(image: Pixels, width: int, height: int) -> Pixels:
    """Resize in integers, as OpenCV's fixed-point linear interpolation is specified."""
    source_height, source_width = image.shape[:2]
    left, right_weight = taps(width, source_width)
    outside = (left < 0) | (left >= source_width - 1)
    left = left.clip(0, source_width - 1)
    right_weight = np.where(outside, np.float32(0), right_weight)
    top, bottom_weight = taps(height, source_height)
    rows = [(top + i).clip(0, source_height - 1) for i in (0, 1)]

    first, second = weights(right_weight)
    pixels = image.astype(np.int64)
    right = np.minimum(left + 1, source_width - 1)
    sums = pixels[:, left] * first[:, None] + pixels[:, right] * second[:, None]
    above, below = (part[:, None, None] for part in weights(bottom_weight))
    total = ((above * (sums[rows[0]] >> 4)) >> 16) + ((below * (sums[rows[1]] >> 4)) >> 16)
    return np.asarray((total + 2) >> 2, np.uint8)


def taps(size: int, source: int) -> tuple[npt.NDArray[np.int64], Float32]:
    scale = 1.0 / (size / source)
    position = ((np.arange(size) + 0.5) * scale - 0.5).astype(np.float32)
    whole = np.floor(position)
    return whole.astype(np.int64), (position - whole).astype(np.float32)


def weights(fraction: Float32) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    scale, one = np.float32(2048), np.float32(1)
    first = np.rint((one - fraction) * scale).astype(np.int64)
    return first, np.rint(fraction * scale).astype(np.int64)


def noise(height: int, width: int) -> Pixels:
    generator = np.random.default_rng([height, width])
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def sizes() -> list[tuple[int, int]]:
    """Edges, exact halves and doubles, and a seeded spread."""
    edges = [(1, 1), (1, 2), (2, 1), (1, 300), (300, 1), (32, 100), (32, 101), (32, 1), (33, 100)]
    halves = [(64, 200), (64, 150), (16, 50), (64, 100), (32, 200), (96, 300), (16, 200)]
    generator = np.random.default_rng(7)
    spread = [(int(h), int(w)) for h, w in generator.integers(1, 400, (84, 2))]
    return edges + halves + spread


@pytest.mark.parametrize(("height", "width"), sizes())
def test_every_bit_agrees_with_the_integer_description(height: int, width: int) -> None:
    image = noise(height, width)
    ratio = width / float(height)
    kept = min(100, math.ceil(32 * ratio))
    expected = np.zeros((3, 32, 100), np.float32)
    resized = bilinear(image, kept, 32).astype(np.float32).transpose(2, 0, 1) / 255
    expected[:, :, :kept] = (resized - 0.5) / 0.5
    result = to_input(image)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    assert result.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (101, 32, 100),
        (100, 32, 100),
        (99, 32, 99),
        (50, 33, 49),
        (100, 33, 97),
        (10, 100, 4),
        (1, 1, 32),
        (1, 10_000, 1),
        (10_000, 1, 100),
    ],
)
def test_the_width_keeps_the_aspect_ratio_up_to_100(width: int, height: int, expected: int) -> None:
    assert resized_width(height, width) == expected


def test_black_is_minus_one_white_is_one_and_the_padding_is_zero() -> None:
    image = np.zeros((32, 50, 3), np.uint8)
    image[:, 25:] = 255
    result = to_input(image)
    assert (result[:, :, :25] == -1).all()
    assert (result[:, :, 25:50] == 1).all()
    assert (result[:, :, 50:] == 0).all()


def test_blue_comes_first() -> None:
    red = np.zeros((32, 100, 3), np.uint8)
    red[:, :, 2] = 255  # OpenCV writes blue, green, red
    decoded = decode(cv2.imencode(".png", red)[1].tobytes())
    assert decoded is not None
    assert to_input(decoded)[:, 0, 0].tolist() == [-1, -1, 1]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        pytest.param("L", 90, [90, 90, 90], id="grey is replicated"),
        pytest.param("RGBA", (10, 20, 30, 0), [30, 20, 10], id="alpha is dropped"),
        pytest.param("I;16", 0x1234, [0x12, 0x12, 0x12], id="16 bits are reduced to 8"),
        pytest.param("P", 0, [0, 0, 0], id="a palette is expanded"),
    ],
)
def test_every_picture_has_three_channels_of_8_bits(
    mode: str, colour: int | tuple[int, ...], expected: list[int]
) -> None:
    stream = io.BytesIO()
    Image.new(mode, (3, 2), colour).save(stream, "PNG")
    decoded = decode(stream.getvalue())
    assert decoded is not None
    assert decoded.shape == (2, 3, 3)
    assert decoded.dtype == np.uint8
    assert decoded[0, 0].tolist() == expected


def test_the_orientation_of_a_photograph_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show it upright
    stream = io.BytesIO()
    Image.new("RGB", (20, 10)).save(stream, "JPEG", exif=exif)
    decoded = decode(stream.getvalue())
    assert decoded is not None
    assert decoded.shape == (20, 10, 3)


def encoded(extension: str) -> bytes:
    return cv2.imencode(extension, noise(40, 60))[1].tobytes()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"not an image", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="a bare signature"),
        pytest.param(encoded(".png")[:-2000], id="a cut PNG"),
        pytest.param(encoded(".jpg")[:-1000], id="a cut JPEG"),
        pytest.param(b"P6 2000000 2000000 255 ", id="more pixels than OpenCV accepts"),
    ],
)
def test_an_undecodable_image_is_none(content: bytes) -> None:
    assert decode(content) is None


def test_a_picture_that_claims_a_gigapixel_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: OpenCV looks at its limit when it is loaded."""
    monkeypatch.delenv("OPENCV_IO_MAX_IMAGE_PIXELS", raising=False)
    script = (
        "import struct, zlib; from eval.images import decode\n"
        "def part(kind, data):\n"
        "    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', "
        "zlib.crc32(kind + data))\n"
        "side = 8000\n"
        "rows = zlib.compress(bytes((side // 8 + 1) * side), 9)\n"
        "head = struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0)\n"
        "png = b'\\x89PNG\\r\\n\\x1a\\n' + part(b'IHDR', head) + part(b'IDAT', rows)\n"
        "png += part(b'IEND', b'')\n"
        "print(len(png), decode(png) is None)\n"
    )

    def decoded(**variables: str) -> str:
        environment = {**os.environ, **variables}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, env=environment)
        size, none = done.stdout.decode().split()
        assert int(size) < 20_000
        return none

    assert decoded() == "True"
    assert decoded(OPENCV_IO_MAX_IMAGE_PIXELS=str(1 << 30)) == "False"  # nothing else stops it
