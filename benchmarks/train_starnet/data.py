"""Training images: a pool of shards, rendered by a process of its own, read by the trainer.

    python -m benchmarks.train_starnet.data POOL --fonts /usr/share/fonts --shards 100

Image i of a pool depends on (seed, i) and the fonts only. A shard is written whole or not at all.
"""

from __future__ import annotations

import argparse
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from eval.render import STYLES, Rendered, encode, find_fonts, random_word, render

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARD = 2048
HEIGHT, WIDTH = 32, 100
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"  # class 0 is the CTC blank
MAX_STEPS = 25
STYLE_SHARES = {"plain": 0.3, "perspective": 0.2, "curved": 0.25, "mixed": 0.25}
PILLOW_SHARE = 0.08  # of the words are in Pillow's own font, which demo and tests draw
TOO_THIN = re.compile(r"thin|hairline|extralight|nushu", re.IGNORECASE)
UNSEEN = re.compile(r"^(Caladea|Cantarell|RobotoCondensed|URWGothic|NotoSerif-)")


class Shard(NamedTuple):
    """Images and what is known of them.

    Attributes:
        images: uint8 [N, 32, 100, 3] BGR; columns from ``widths`` on are padding.
        widths: int16 [N], columns of the image.
        labels: N strings of `ALPHABET`.
        fiducials: float32 [N, 20, 2], where a sampling grid should put its control points.
    """

    images: NDArray[np.uint8]
    widths: NDArray[np.int16]
    labels: NDArray[np.str_]
    fiducials: NDArray[np.float32]

    def take(self, pick: NDArray[np.int64] | slice) -> Shard:
        """Return some of the images."""
        return Shard(self.images[pick], self.widths[pick], self.labels[pick], self.fiducials[pick])


def training_fonts(folders: list[Path], *, unseen: bool = False) -> list[Path]:
    """Return the fonts to train with, or those kept apart to measure unseen fonts with."""
    fonts = [font for font in find_fonts(folders) if not TOO_THIN.search(font.name)]
    return [font for font in fonts if bool(UNSEEN.search(font.name)) == unseen]


def resized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 [32, w <= 100, 3]: the aspect is kept up to a width of 100."""
    height, width = image.shape[:2]
    target = min(WIDTH, int(np.ceil(HEIGHT * (width / height))))
    return np.asarray(cv2.resize(image, (target, HEIGHT)), np.uint8)


def fiducials_of(rendered: Rendered, width: int) -> NDArray[np.float32]:
    """Return the outline as grid coordinates of the padded image, float32 [20, 2]."""
    rows, columns = rendered.image.shape[:2]
    pixels = rendered.outline * (width / columns, HEIGHT / rows) - 0.5
    return np.asarray(2 * pixels / (WIDTH - 1, HEIGHT - 1) - 1, np.float32)


def make_sample(seed: int, index: int, fonts: list[Path]) -> Rendered:
    """Return image ``index``: a word that 25 CTC steps can emit; every other one was a JPEG."""
    rng = np.random.default_rng([seed, index])
    style = STYLES[rng.choice(list(STYLE_SHARES), p=list(STYLE_SHARES.values()))]
    word = random_word(rng)
    while steps_needed(word.lower()) > MAX_STEPS:
        word = random_word(rng)
    rendered = render(word, rng, style, fonts if rng.random() > PILLOW_SHARE else ())
    if rng.random() < 0.5:  # noqa: PLR2004 - a coin
        data = encode(rendered.image, jpeg_quality=int(rng.integers(40, 96)))
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return Rendered(np.asarray(image, np.uint8), word, rendered.outline)
    return rendered


def steps_needed(text: str) -> int:
    """Return how many CTC steps a text takes: a blank parts equal neighbours."""
    return len(text) + sum(a == b for a, b in itertools.pairwise(text))


def make_shard(seed: int, number: int, fonts: list[Path]) -> Shard:
    """Render shard ``number``: images ``number * 2048`` onwards."""
    images = np.zeros((SHARD, HEIGHT, WIDTH, 3), np.uint8)
    widths = np.zeros(SHARD, np.int16)
    fiducials = np.zeros((SHARD, 20, 2), np.float32)
    labels = []
    for i in range(SHARD):
        rendered = make_sample(seed, number * SHARD + i, fonts)
        small = resized(rendered.image)
        widths[i] = small.shape[1]
        images[i, :, : widths[i]] = small
        fiducials[i] = fiducials_of(rendered, int(widths[i]))
        labels.append(rendered.text.lower())
    return Shard(images, widths, np.array(labels), fiducials)


def load_shard(path: Path) -> Shard:
    """Read one shard."""
    with np.load(path) as arrays:
        return Shard(*(arrays[field] for field in Shard._fields))


def as_input(images: NDArray[np.uint8], widths: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return float32 [N, 3, 32, 100] in [-1, 1], zero in the padding."""
    scaled = (images.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    scaled[np.broadcast_to(np.arange(WIDTH) >= widths[:, None, None], scaled.shape[:3])] = 0
    return scaled.transpose(0, 3, 1, 2)


def main() -> None:
    """Render shards until the pool holds the number asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--fonts", type=Path, nargs="+", default=[Path("/usr/share/fonts")])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--shards", type=int, default=100)
    options = parser.parse_args()
    fonts = training_fonts(options.fonts)
    print(f"{len(fonts)} fonts", flush=True)
    cv2.setNumThreads(1)
    options.pool.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.shards):
        path = options.pool / f"{number:05d}.npz"
        if path.exists():
            continue
        part = path.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(stream, **make_shard(options.seed, number, fonts)._asdict())
        part.replace(path)
        print(path.name, flush=True)


if __name__ == "__main__":
    main()
