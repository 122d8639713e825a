from __future__ import annotations

import io

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from onnx_passes.report import pictures
from onnx_passes.report.pictures import draw, is_picture, picture_input, picture_names, png

NAMES = ("t", "Relu -> 't'", "x")


def decode(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = Image.open(io.BytesIO(data))
    image.load()
    return np.asarray(image)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (40, 1, 3)])
def test_a_png_decodes_to_its_pixels(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(decode(png(pixels)), pixels)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        pytest.param((2, 3, 32, 100), True, id="takes colour pictures"),
        pytest.param((2, 1, 16, 16), True, id="takes grey pictures"),
        pytest.param((None, 3, 32, 100), True, id="takes an unknown batch"),
        pytest.param((2, 4, 32, 100), False, id="leaves four channels alone"),
        pytest.param((2, 3, 15, 100), False, id="leaves thin feature maps alone"),
        pytest.param((2, 3, None, 100), False, id="leaves unknown sizes alone"),
        pytest.param((3, 32, 100), False, id="leaves rank 3 alone"),
    ],
)
def test_reads_pictures_off_shapes(shape: tuple[object, ...], expected: bool) -> None:
    assert is_picture(shape) == expected


def test_the_input_shown_is_the_first_that_is_a_picture() -> None:
    feeds = {
        "ids": np.zeros(3),
        "image": np.zeros((1, 3, 16, 16)),
        "other": np.zeros((1, 3, 16, 16)),
    }
    assert picture_input(feeds) == "image"
    assert picture_input({"ids": np.zeros(3)}) is None


def test_shapes_that_a_model_does_not_declare_are_inferred() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    agraph (float[N,3,16,20] x) => (float[N,48] y)
    { a = Relu(x)  b = Sigmoid(a)  m = ReduceMean<axes=[3],keepdims=0>(b)  y = Flatten(m) }"""
    model = ir.from_onnx_text(text)
    assert picture_names(model, ["b", "m", "a", "y", "unknown"]) == ["b", "a"]


def test_draws_the_original_from_black_to_white_and_the_difference_apart() -> None:
    before = np.zeros((1, 1, 16, 16), np.float32)
    before[0, 0, 0, 0], before[0, 0, 0, 1] = -2, 2
    after = before.copy()
    after[0, 0, 5, 6] += 0.25
    after[0, 0, 5, 7] -= 0.5
    drawn = draw(NAMES, before, before, after)
    assert drawn is not None
    assert (drawn.low, drawn.high, drawn.largest) == (-2, 2, 0.5)
    given, old, new, gap = map(decode, drawn.rows[0])
    assert (old[0, 0], old[0, 1], old[5, 6]) == (0, 255, 128)
    assert np.array_equal(given, old)
    # +0.25 of a range of 4 is 16 of 255 levels; -0.5 is 32.
    assert new[5, 6] == 143
    assert new[5, 7] == 96
    assert (gap[5, 6], gap[5, 7], gap[0, 0]) == (128, 255, 0)


def test_keeps_the_order_of_the_channels() -> None:
    before = np.zeros((1, 3, 16, 16), np.float32)
    before[0, 0], before[0, 1] = 1.0, 0.5
    drawn = draw(NAMES, before, before, before)
    assert drawn is not None
    assert decode(drawn.rows[0][1])[3, 4].tolist() == [255, 128, 0]


def test_no_difference_is_black() -> None:
    before = np.full((2, 1, 16, 16), np.nan, np.float32)
    drawn = draw(NAMES, before, before, before.copy())
    assert drawn is not None
    assert drawn.largest == 0
    assert decode(drawn.rows[1][3]).max() == 0


def test_a_number_against_nan_or_infinity_is_white() -> None:
    before = np.ones((1, 1, 16, 16), np.float32)
    after = before.copy()
    after[0, 0, 2, 2], after[0, 0, 2, 3], after[0, 0, 2, 4] = np.nan, np.inf, 1.5
    drawn = draw(NAMES, before, before, after)
    assert drawn is not None
    assert drawn.largest == 0.5
    assert decode(drawn.rows[0][3])[2, 1:6].tolist() == [0, 255, 255, 255, 0]


def test_shows_few_images_of_a_large_batch() -> None:
    before = np.zeros((9, 1, 16, 16), np.float32)
    drawn = draw(NAMES, before, before, before)
    assert drawn is not None
    assert drawn.shape == (9, 1, 16, 16)
    assert len(drawn.rows) == pictures.MAX_IMAGES


def test_thinning_a_large_picture_hides_no_difference() -> None:
    before = np.zeros((1, 1, 701, 33), np.float32)
    after = before.copy()
    after[0, 0, 700, 32] = 1
    drawn = draw(NAMES, before, before, after)
    assert drawn is not None
    gap = decode(drawn.rows[0][3])
    assert max(gap.shape) <= pictures.MAX_SIDE_PX
    assert gap[-1, -1] == 255
    assert np.count_nonzero(gap) == 1
    assert decode(drawn.rows[0][1]).shape == gap.shape


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((1, 3, 16, 16), (1, 3, 16, 17), id="refuses another shape"),
        pytest.param((4, 3, 16, 16), (4, 3, 16, 16), id="refuses another batch than the input's"),
    ],
)
def test_draws_only_what_goes_together(before: tuple[int, ...], after: tuple[int, ...]) -> None:
    assert draw(NAMES, np.zeros((1, 3, 16, 16)), np.zeros(before), np.zeros(after)) is None
