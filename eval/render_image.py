"""Draw one word: Pillow draws it flat, one remap bends it, then it is lit and photographed."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from eval.errors import EvalError
from eval.render_shape import Shape, random_shape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BgrImage = NDArray[np.uint8]
Mask = NDArray[np.float32]
_FONT_PX = (30, 34, 38, 42)  # em sizes; a crop is later scaled to 32 px of height
_FIDUCIALS = 10  # points on the top edge of the outline, and as many on the bottom edge
_SHORTEST = 1.6  # an outline is at least that many times as long as high, see Rendered


@dataclasses.dataclass(frozen=True)
class Style:
    """How strongly a word is distorted; 0 switches a distortion off.

    Attributes:
        bent: Share of the words that follow an arc or a wave, 0..1.
        arc: Largest angle such a word spans on its circle, radians.
        wave: Largest amplitude of its wave, in word heights.
        rotation: Largest rotation, radians.
        shear: Largest slant, px per px.
        perspective: Largest change of height along the word, see ``random_shape``.
        texture: Strength of the paper's texture, 0..1.
        blur: Largest blur, as the sigma in px of the crop.
        noise: Largest standard deviation of the sensor noise, grey levels.
        contrast: Smallest difference of ink and paper, grey levels.
        margin: Range of the free space around the word, in word heights; negative cuts into it.
    """

    bent: float = 0.0
    arc: float = 0.0
    wave: float = 0.0
    rotation: float = 0.03
    shear: float = 0.1
    perspective: float = 0.05
    texture: float = 0.7
    blur: float = 1.2
    noise: float = 10.0
    contrast: float = 70.0
    margin: tuple[float, float] = (-0.02, 0.25)


STYLES: dict[str, Style] = {
    "plain": Style(),
    "perspective": Style(rotation=0.22, shear=0.4, perspective=0.4),
    "curved": Style(bent=1.0, arc=1.9, wave=0.4, rotation=0.08, perspective=0.1),
    "mixed": Style(bent=0.4, arc=1.9, wave=0.4, rotation=0.14, shear=0.25, perspective=0.25),
}


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A crop and where its word is.

    Attributes:
        image: uint8 [H, W, 3], BGR.
        text: What it says.
        outline: float64 [20, 2], (x, y) in px of the crop, (0, 0) its upper left corner: ten
            points along the top of the word from its start to its end, then ten along the
            bottom. The outline of a short word is widened to 1.6 times its height.
    """

    image: BgrImage
    text: str
    outline: NDArray[np.float64]


def render_word(
    text: str, rng: np.random.Generator, style: Style | None = None, fonts: Sequence[Path] = ()
) -> BgrImage:
    """Return a picture of ``text``, uint8 [H, W, 3] BGR; see `render`."""
    return render(text, rng, style, fonts).image


def render(
    text: str, rng: np.random.Generator, style: Style | None = None, fonts: Sequence[Path] = ()
) -> Rendered:
    """Draw ``text`` as a crop of a photograph.

    Args:
        text: Non-empty; characters the fonts have.
        rng: The only source of chance.
        style: Strength of the distortions; None is ``STYLES["mixed"]``.
        fonts: Font files to choose from; none means Pillow's own font.

    Returns:
        The crop, its text and the outline of the word.

    Raises:
        EvalError: ``text`` is empty or blank: there is nothing to draw.
    """
    if not text.strip():
        msg = f"cannot render {text!r}: a word needs at least one visible character"
        raise EvalError(msg)
    style = style or STYLES["mixed"]
    flat = _draw(text, rng, fonts)
    bends = rng.random() < style.bent
    shape = random_shape(
        rng,
        (flat.shape[1], flat.shape[0]),
        arc=style.arc if bends else 0.0,
        wave=style.wave if bends else 0.0,
        rotation=style.rotation,
        shear=style.shear,
        perspective=style.perspective,
    )
    word, outline = _bend(flat, shape, rng, style)
    picture = _light(word, rng, style)
    return Rendered(_camera(picture, rng, style), text, outline)


def encode(image: BgrImage, *, jpeg_quality: int | None = 85) -> bytes:
    """Return the bytes of an image file: JPEG, or PNG where ``jpeg_quality`` is None."""
    if jpeg_quality is None:
        return bytes(cv2.imencode(".png", image)[1])
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])[1])


@functools.lru_cache(maxsize=512)
def _load_font(path: Path | None, size_px: int) -> ImageFont.FreeTypeFont:
    """Return a font; None is the one that comes with Pillow."""
    if path is None:
        return ImageFont.load_default(size_px)  # type: ignore[return-value]  # Pillow >= 10.1
    return ImageFont.truetype(str(path), size_px, layout_engine=ImageFont.Layout.BASIC)


def _draw(text: str, rng: np.random.Generator, fonts: Sequence[Path]) -> Mask:
    """Return the ink of the flat word, float32 [h, w] in 0..1, cut to the ink's own box."""
    path = fonts[int(rng.integers(len(fonts)))] if fonts else None
    font = _load_font(path, int(rng.choice(_FONT_PX)))
    gap = rng.uniform(0.0, 0.25) * font.size if _chance(rng, 0.25) else 0.0
    stroke = int(_chance(rng, 0.1))
    length = font.getlength(text) + gap * len(text)
    canvas = Image.new("L", (int(length + 2 * font.size), int(2.2 * font.size)))
    pen, x = ImageDraw.Draw(canvas), 0.6 * font.size
    for piece in text if gap else (text,):
        pen.text((x, 0.4 * font.size), piece, fill=255, font=font, stroke_width=stroke)
        x += font.getlength(piece) + gap
    ink = np.asarray(canvas)
    box = canvas.getbbox() or (0, 0, *canvas.size)
    ink = ink[box[1] : box[3], box[0] : box[2]]
    low = round(0.45 * font.size) - ink.shape[0]
    if low > 0:  # a lone "a" or "-": keep a plausible height of line
        ink = np.pad(ink, ((low // 2, low - low // 2), (0, 0)))
    return ink.astype(np.float32) / np.float32(255)


def _bend(
    flat: Mask, shape: Shape, rng: np.random.Generator, style: Style
) -> tuple[Mask, NDArray[np.float64]]:
    """Return the bent ink, float32 [H, W], and the word's outline in it."""
    height, width = flat.shape
    ink_box = shape.to_crop(_edges(width / 2, height / 2))
    top_left, bottom_right = ink_box.min(axis=0), ink_box.max(axis=0)
    extent = bottom_right - top_left
    margins = rng.uniform(*style.margin, 4) * min(height, extent[1])
    start = top_left - margins[:2]
    size = np.maximum(np.ceil(extent + margins[:2] + margins[2:]), 8).astype(int)
    scale = min(1.0, rng.uniform(40, 72) / size[1])
    size = np.maximum(np.round(size * scale), 8).astype(int)
    columns, rows = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    source = shape.to_text(np.stack([columns, rows], axis=-1) / scale + start)
    source += np.array([width / 2 - 0.5, height / 2 - 0.5])
    bent = cv2.remap(flat, source.astype(np.float32), None, cv2.INTER_LINEAR)
    half = max(width / 2 + 0.05 * height, _SHORTEST * height / 2)
    outline = (shape.to_crop(_edges(half, 0.56 * height)) - start) * scale
    return np.asarray(bent, np.float32), outline


def _edges(half_width: float, half_height: float) -> NDArray[np.float64]:
    """Return ten points along the top and ten along the bottom, text frame, float64 [20, 2]."""
    across = np.linspace(-half_width, half_width, _FIDUCIALS)
    down = np.full(_FIDUCIALS, half_height)
    return np.concatenate([np.stack([across, -down], -1), np.stack([across, down], -1)])


def _light(word: Mask, rng: np.random.Generator, style: Style) -> NDArray[np.float32]:
    """Return ink on paper, float32 [H, W, 3] in grey levels."""
    paper, ink = _colours(rng, style)
    picture = paper + _texture(word.shape, rng, style)
    if _chance(rng, 0.15):  # a shadow
        shift = np.array([[1, 0, rng.uniform(-3, 3)], [0, 1, rng.uniform(1, 3)]])
        shadow = cv2.warpAffine(word, shift, word.shape[::-1])[..., None]
        picture = picture * (1 - 0.6 * shadow * rng.random())
    if _chance(rng, 0.1):  # an outline of another colour, as on posters
        edge = cv2.dilate(word, np.ones((3, 3), np.uint8))[..., None]
        picture = picture * (1 - edge) + edge * rng.uniform(0, 255, 3)
        ink = ink if np.abs(ink - picture.mean(axis=(0, 1))).mean() > style.contrast else 255 - ink
    cover = word[..., None] * rng.uniform(0.85, 1.0)
    return np.asarray(picture * (1 - cover) + cover * ink, np.float32)


def _colours(
    rng: np.random.Generator, style: Style
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the colours of paper and ink, float64 [3] each, at least ``contrast`` apart."""
    tint = rng.uniform(0, 60 if _chance(rng, 0.6) else 160)
    grey = rng.uniform(0, 255 - style.contrast)
    other = rng.uniform(grey + style.contrast, 255)
    dark = grey + rng.uniform(-0.5, 0.5, 3) * tint * 0.6
    bright = other + rng.uniform(-0.5, 0.5, 3) * tint * 0.6
    pair = [np.clip(dark, 0, 255), np.clip(bright, 0, 255)]
    first = int(_chance(rng, 0.55))
    return pair[first], pair[1 - first]


def _texture(shape: tuple[int, ...], rng: np.random.Generator, style: Style) -> NDArray[np.float32]:
    """Return the unevenness of the paper, float32 [H, W, 3], zero on average."""
    strength = 36.0 * style.texture * rng.random() ** 2
    cells = (int(rng.integers(2, 9)), int(rng.integers(2, 17)))
    rough = rng.normal(0, strength, (*cells, 1)) + rng.normal(0, strength / 3, (*cells, 3))
    size = (shape[1], shape[0])
    paper = cv2.resize(rough.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    if _chance(rng, 0.2 * style.texture):
        _draw_lines(paper, rng)
    return np.asarray(paper, np.float32)


def _draw_lines(paper: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draw a few straight lines into the paper: seams, frames, boards."""
    height, width = paper.shape[:2]
    for _ in range(int(rng.integers(1, 5))):
        ends = rng.uniform(-0.2, 1.2, (2, 2)) * (width, height)
        level = [float(c) for c in rng.uniform(-35, 35, 3)]
        (x0, y0), (x1, y1) = ends.astype(int).tolist()
        cv2.line(paper, (x0, y0), (x1, y1), level, int(rng.integers(1, 6)))


def _camera(picture: NDArray[np.float32], rng: np.random.Generator, style: Style) -> BgrImage:
    """Return the photograph of a scene: uneven light, blur, noise, 8 bits."""
    height, width = picture.shape[:2]
    if _chance(rng, 0.3):
        left, right = rng.uniform(0.75, 1.1, 2).tolist()
        picture = picture * np.linspace(left, right, width, dtype=np.float32)[:, None]
    sigma = style.blur * rng.random() ** 2 * height / 45
    if sigma > 0.3:  # noqa: PLR2004 - px; a smaller one changes nothing
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
    level = style.noise * rng.random() ** 2
    picture = picture + rng.normal(0, level, picture.shape).astype(np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _chance(rng: np.random.Generator, share: float) -> bool:
    """Say yes in ``share`` of the calls."""
    return float(rng.random()) < share
