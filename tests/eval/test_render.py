from __future__ import annotations

import dataclasses
import string
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import ImageFont

from eval.errors import EvalError
from eval.lmdb_data import LmdbTree
from eval.render import STYLES, Style, encode, find_fonts, random_word, render, write_lmdb_tree
from eval.render_shape import random_shape

if TYPE_CHECKING:
    from pathlib import Path


def clean(style: Style) -> Style:
    """Return the style on even paper, sharp, without noise, with space around the word."""
    return dataclasses.replace(style, texture=0.0, blur=0.0, noise=0.0, margin=(0.2, 0.5))


def words(count: int, seed: int = 0) -> list[str]:
    return [random_word(np.random.default_rng([seed, i])) for i in range(count)]


def test_words_have_1_to_20_ascii_letters_and_digits() -> None:
    some = words(2000)
    assert {len(word) for word in some} == set(range(1, 21))
    assert set("".join(some)) <= set(string.ascii_letters + string.digits)
    assert all(any(c in word for word in some) for c in string.ascii_lowercase + string.digits)


def test_most_words_are_short() -> None:
    assert 4 < np.median([len(word) for word in words(2000)]) < 9


def test_a_mix_of_letters_and_digits_leaves_out_what_looks_alike() -> None:
    mixed = [w for w in words(2000) if not w.isalpha() and not w.isdigit()]
    assert len(mixed) > 50
    assert not set("".join(mixed)) & set("oO0iIlL1")


def test_equal_generators_give_equal_words_and_others_do_not() -> None:
    assert words(50) == words(50)
    assert words(50) != words(50, seed=1)


@pytest.mark.parametrize("style", STYLES)
def test_a_shape_maps_to_the_crop_and_back(style: str) -> None:
    given = STYLES[style]
    rng = np.random.default_rng(0)
    u, v = np.meshgrid(np.linspace(-100, 100, 21), np.linspace(-20, 20, 5))
    points = np.stack([u, v], axis=-1)
    for _ in range(50):
        shape = random_shape(
            rng,
            (200, 40),
            arc=given.arc,
            wave=given.wave,
            rotation=given.rotation,
            shear=given.shear,
            perspective=given.perspective,
        )
        back = shape.to_text(shape.to_crop(points))
        np.testing.assert_allclose(back, points, atol=1e-6)  # px; closed formulas in float64


def test_no_strength_leaves_a_word_straight_up_to_a_stretch() -> None:
    shape = random_shape(
        np.random.default_rng(3), (90, 30), arc=0, wave=0, rotation=0, shear=0, perspective=0
    )
    x, y = shape.to_crop(np.array([[45.0, -15.0], [-45.0, 15.0]])).T
    np.testing.assert_allclose(y, [-15, 15])
    np.testing.assert_allclose(x[0], -x[1])


@pytest.mark.parametrize("style", STYLES)
def test_the_ink_lies_inside_the_outline(style: str) -> None:
    for seed in range(8):
        drawn = render("Hamburg", np.random.default_rng(seed), clean(STYLES[style]))
        grey = drawn.image.astype(int).mean(axis=2)
        paper = np.median(np.concatenate([grey[0], grey[-1]]))
        ink = np.abs(grey - paper) > 0.5 * np.abs(grey - paper).max()
        top, bottom = drawn.outline[:10], drawn.outline[10:]
        polygon = np.rint(np.concatenate([top, bottom[::-1]])).astype(np.int32)
        inside = cv2.fillPoly(np.zeros(ink.shape, np.uint8), [polygon], [1]) > 0
        assert ink.sum() > 50
        assert ink[inside].sum() >= 0.97 * ink.sum(), f"seed {seed}"


def bend(outline: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    """Return how far the upper edge leaves its chord, in lengths of the chord."""
    chord = outline[9] - outline[0]
    off = (outline[:10] - outline[0]) @ np.array([-chord[1], chord[0]])
    return float(np.abs(off).max() / (chord @ chord))


def bends(style: str) -> list[float]:
    return [
        bend(render("Hamburg", np.random.default_rng(i), STYLES[style]).outline) for i in range(40)
    ]


def test_plain_and_perspective_words_are_straight_and_curved_ones_are_not() -> None:
    assert max(bends("plain")) < 1e-6
    assert max(bends("perspective")) < 1e-6
    assert min(bends("curved")) > 0.02
    assert max(bends("curved")) > 0.15
    assert 0.3 < np.mean(np.array(bends("mixed")) < 1e-6) < 0.9


def slopes(style: str) -> float:
    outlines = [
        render("Hamburg", np.random.default_rng(i), STYLES[style]).outline for i in range(40)
    ]
    return float(np.mean([abs(o[9, 1] - o[0, 1]) / abs(o[9, 0] - o[0, 0]) for o in outlines]))


def test_perspective_words_are_less_level_than_plain_ones() -> None:
    assert slopes("perspective") > 3 * slopes("plain")


@pytest.mark.parametrize("style", STYLES)
def test_an_image_is_a_pure_function_of_its_generator(style: str) -> None:
    first, again, other = (
        render("Word", np.random.default_rng(seed), STYLES[style]).image for seed in (5, 5, 6)
    )
    assert first.dtype == np.uint8
    assert first.ndim == 3
    assert first.shape[2] == 3
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_ink_stands_out_from_paper_by_the_contrast_asked_for() -> None:
    faint = clean(Style(contrast=70))
    spans = []
    for seed in range(40):
        image = render("Contrast", np.random.default_rng(seed), faint).image
        spans.append(np.ptp(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(int)))
    assert min(spans) >= 35  # colour, cover and light may take half of it


@pytest.mark.parametrize("text", ["i", ".", "W" * 20, "gjpqy", "Zoë"])
def test_any_visible_text_gives_an_image_of_usable_size(text: str) -> None:
    for seed in range(5):
        height, width, _ = render(text, np.random.default_rng(seed)).image.shape
        assert 8 <= height <= 120
        assert 8 <= width <= 1500


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_a_text_without_ink_is_refused(text: str) -> None:
    with pytest.raises(EvalError, match="at least one visible character"):
        render(text, np.random.default_rng(0))


def test_png_keeps_every_pixel_and_jpeg_is_a_jpeg() -> None:
    image = render("Bytes", np.random.default_rng(1)).image
    png, jpeg = encode(image, jpeg_quality=None), encode(image)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(png, np.uint8), 1), image)
    assert jpeg[:3] == b"\xff\xd8\xff"
    assert len(jpeg) < len(png)


@pytest.fixture
def font(tmp_path: Path) -> Path:
    """Pillow's own font as a file: the one font every machine has."""
    path = tmp_path / "fonts" / "deeper" / "Text.ttf"
    path.parent.mkdir(parents=True)
    default = ImageFont.load_default(20)
    assert isinstance(default, ImageFont.FreeTypeFont)
    path.write_bytes(default.font_bytes)
    return path


def test_fonts_are_found_below_folders_and_others_are_left_out(font: Path) -> None:
    folder = font.parent
    (folder / "Symbols.ttf").write_bytes(font.read_bytes())
    (folder / "broken.otf").write_bytes(b"no font")
    (folder / "README.txt").write_text("no font")
    assert find_fonts([folder.parent, folder.parent / "missing"]) == [font]
    assert find_fonts([]) == []


def test_a_font_file_draws_what_pillows_own_font_draws(font: Path) -> None:
    by_file = render("Same", np.random.default_rng(2), STYLES["plain"], [font]).image
    assert by_file.shape[0] > 8


SMALL = {"plain": 12, "curved": 3}


def records(tree: Path) -> list[tuple[str, bytes | None, bytes | None]]:
    with LmdbTree(tree) as opened:
        return [(sample.dataset, sample.image, sample.label) for sample in opened]


def test_a_tree_reads_back_as_decodable_images_with_their_words(tmp_path: Path) -> None:
    write_lmdb_tree(tmp_path / "words", SMALL, seed=4)
    found = records(tmp_path / "words")
    assert [name for name, *_ in found] == ["curved"] * 3 + ["plain"] * 12
    kinds = set()
    for _, image, label in found:
        assert image is not None
        assert label is not None
        assert label.decode().isalnum()
        assert cv2.imdecode(np.frombuffer(image, np.uint8), 1) is not None
        kinds.add(image[:2])
    assert kinds == {b"\xff\xd8", b"\x89P"}


def test_a_tree_depends_on_its_seed_alone(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_lmdb_tree(tmp_path / name, SMALL, seed)
    assert records(tmp_path / "a") == records(tmp_path / "b")
    assert records(tmp_path / "a") != records(tmp_path / "c")


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    write_lmdb_tree(tmp_path / "a", {"plain": 3})
    write_lmdb_tree(tmp_path / "b", {"plain": 5})
    assert records(tmp_path / "b")[:3] == records(tmp_path / "a")


def test_a_tree_replaces_an_earlier_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_lmdb_tree(tmp_path / "words", SMALL)
    write_lmdb_tree(tmp_path / "words", {"plain": 2})
    assert len(records(tmp_path / "words")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["words"]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        pytest.param({"fancy": 3}, "no style is called 'fancy'", id="a set named after no style"),
        pytest.param({"plain": 0}, "0 images", id="an empty set"),
        pytest.param({}, "no sets", id="no sets at all"),
    ],
)
def test_sets_that_cannot_be_are_refused(
    tmp_path: Path, sets: dict[str, int], message: str
) -> None:
    with pytest.raises(EvalError, match=message):
        write_lmdb_tree(tmp_path / "words", sets)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(EvalError, match="would be lost"):
        write_lmdb_tree(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_tree_that_fails_half_way_leaves_the_earlier_one(tmp_path: Path) -> None:
    write_lmdb_tree(tmp_path / "words", {"plain": 2})
    before = records(tmp_path / "words")
    with pytest.raises(OSError, match="cannot open"):
        write_lmdb_tree(tmp_path / "words", SMALL, fonts=[tmp_path / "missing.ttf"])
    assert records(tmp_path / "words") == before
    assert [path.name for path in tmp_path.iterdir()] == ["words"]
