"""Tiny data sets and a model that truly reads them.

An image of 100 x 32 pixels is not resized, so a text can be written into it as its CTC path: the
class c of step t is one bright block at channel c // 32, row c % 32, columns 4t to 4t + 3. The
model moves these pixels to [*, 25, 37] and applies a softmax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import cv2
import lmdb
import numpy as np
import onnx
import onnx.parser
import pytest

from eval.labels import CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Stored = tuple[bytes | None, bytes | None]  # image and label, None for a missing key


class WriteSet(Protocol):
    def __call__(
        self, folder: Path, records: Sequence[Stored], count: bytes | None = ...
    ) -> Path: ...


class Draw(Protocol):
    def __call__(self, text: str) -> bytes: ...


class WriteModel(Protocol):
    def __call__(self, batch: str, *, tail: str = ..., classes: int = ...) -> Path: ...


@pytest.fixture
def write_set() -> WriteSet:
    """Write one LMDB data set; ``count`` replaces the value of num-samples, None leaves it out."""

    def write(folder: Path, records: Sequence[Stored], count: bytes | None = b"true") -> Path:
        folder.mkdir(parents=True)
        env = lmdb.open(str(folder), map_size=1 << 24)
        with env.begin(write=True) as transaction:
            if count is not None:
                value = str(len(records)).encode() if count == b"true" else count
                transaction.put(b"num-samples", value)
            for number, stored in enumerate(records, 1):
                for kind, content in zip((b"image", b"label"), stored, strict=True):
                    if content is not None:
                        transaction.put(b"%b-%09d" % (kind, number), content)
        env.close()
        return folder

    return write


@pytest.fixture
def draw() -> Draw:
    """Return a PNG that the model of ``write_model`` reads as the given text, at most 13 long."""

    def png(text: str) -> bytes:
        image = np.zeros((32, 100, 3), np.uint8)
        path = [1 + CHARACTERS.index(character) for character in text]
        classes = np.zeros(25, int)
        classes[: 2 * len(path) : 2] = path
        for step, one in enumerate(classes):
            image[one % 32, 4 * step : 4 * step + 4, one // 32] = 255
        return cv2.imencode(".png", image)[1].tobytes()

    return png


PIXELS_TO_CLASSES = """
    start = Constant <value_ints = [0]> ()
    stop = Constant <value_ints = [100]> ()
    axis = Constant <value_ints = [3]> ()
    four = Constant <value_ints = [4]> ()
    steps = Slice(x, start, stop, axis, four)
    flat_shape = Constant <value_ints = [-1, 96, 25]> ()
    flat = Reshape(steps, flat_shape)
    classes = Constant <value_ints = [CLASSES]> ()
    one = Constant <value_ints = [1]> ()
    known = Slice(flat, start, classes, one)
    by_step = Transpose <perm = [0, 2, 1]> (known)
    read = Softmax <axis = 2> (by_step)
"""


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Write a model for a batch, a number or a name; ``tail`` makes y of ``read``.

    ``read`` is [*, 25, classes]: 37 as a CTC head has, or 38 as an attention head.
    """

    def write(batch: str, *, tail: str = "y = Identity(read)", classes: int = 37) -> Path:
        text = f"""<ir_version: 8, opset_import: ["" : 17]>
        reader (float[{batch}, 3, 32, 100] x) => (float[{batch}, 25, {classes}] y) {{
            {PIXELS_TO_CLASSES.replace("CLASSES", str(classes))} {tail}
        }}"""
        path = tmp_path / f"model_{batch}_{classes}.onnx"
        onnx.save(onnx.parser.parse_model(text), path)
        return path

    return write
