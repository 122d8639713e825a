"""Write rendered words as a tree of LMDB sets, the layout of the DTRB benchmarks."""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.errors import EvalError, import_extra
from eval.render_image import STYLES, encode, render_word
from eval.render_words import random_word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_SETS = {"plain": 100, "perspective": 60, "curved": 60}
_LMDB_FILES = frozenset({"data.mdb", "lock.mdb"})
_PAGE_BYTES = 4096  # LMDB's page: a value takes whole pages


def write_lmdb_tree(
    out: Path,
    sets: Mapping[str, int] | None = None,
    seed: int = 0,
    fonts: Sequence[Path] | None = None,
) -> None:
    """Write one LMDB environment per set: ``out/plain``, ``out/perspective``, ...

    Image i of a set depends on (seed, set, i) and the fonts; the same versions of Pillow, NumPy
    and OpenCV write the same bytes. Even images are JPEG, every tenth is PNG.

    Args:
        out: Where the tree appears, whole or not at all; an earlier tree there is replaced.
        sets: Style name -> number of images; None is `DEFAULT_SETS`.
        seed: Another seed is another tree.
        fonts: Font files, see ``render_fonts.find_fonts``; None or none is Pillow's own font.

    Raises:
        EvalError: ``out`` holds something else, there are no sets, or one
            is named after no style or holds no images.
    """
    chosen = DEFAULT_SETS if sets is None else sets
    _check(out, chosen)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        fresh = Path(scratch, "new")
        fresh.mkdir()
        for name, count in chosen.items():
            _write_set(fresh / name, list(_samples(name, count, seed, fonts or ())))
        if out.exists():
            out.rename(Path(scratch, "old"))
        fresh.rename(out)


def _check(out: Path, sets: Mapping[str, int]) -> None:
    """Raise the reason not to write these sets there."""
    if out.exists() and not _is_tree(out):
        msg = f"{out} holds more than LMDB sets and would be lost; choose another directory"
        raise EvalError(msg)
    if not sets:
        msg = f"no sets to write to {out}; name at least one of {', '.join(STYLES)}"
        raise EvalError(msg)
    for name, count in sets.items():
        if name not in STYLES:
            msg = f"no style is called {name!r}; the styles are {', '.join(STYLES)}"
            raise EvalError(msg)
        if count < 1:
            msg = f"set {name!r} would hold {count} images; an empty set measures nothing"
            raise EvalError(msg)


def _is_tree(folder: Path) -> bool:
    """Say whether a folder holds LMDB sets and nothing else."""
    files = (
        [path for path in folder.rglob("*") if not path.is_dir()] if folder.is_dir() else [folder]
    )
    return all(path.name in _LMDB_FILES for path in files)


def _samples(
    style: str, count: int, seed: int, fonts: Sequence[Path]
) -> Iterator[tuple[bytes, str]]:
    """Yield image file and text."""
    for i in range(count):
        rng = np.random.default_rng([seed, zlib.crc32(style.encode()), i])
        text = random_word(rng)
        image = render_word(text, rng, STYLES[style], fonts)
        yield encode(image, jpeg_quality=None if i % 10 == 0 else 85), text


def _write_set(folder: Path, samples: Sequence[tuple[bytes, str]]) -> None:
    """Write one environment; keys count from 1."""
    lmdb = import_extra("lmdb")
    values = {b"num-samples": str(len(samples)).encode()}
    for number, (image, text) in enumerate(samples, start=1):
        values[b"image-%09d" % number] = image
        values[b"label-%09d" % number] = text.encode()
    size = sum(2 * _PAGE_BYTES + len(value) for value in values.values())
    folder.mkdir()
    with (
        lmdb.open(str(folder), map_size=size + 64 * _PAGE_BYTES, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key in sorted(values):
            transaction.put(key, values[key])
