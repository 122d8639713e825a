"""Render the frozen evaluation sets; no training image shares their seed.

    python -m benchmarks.train_starnet.frozen OUT --fonts /usr/share/fonts
    python -m benchmarks.train_starnet.frozen --small tests/data/words --fonts /usr/share/fonts

OUT receives three trees of 3,300, 1,100 and 1,100 images: ``seen`` in the fonts of the training,
``unseen`` in families kept apart from it, ``pillow`` in Pillow's own font.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.train_starnet.data import training_fonts
from eval.render import write_lmdb_tree

SEED = 20_000
LARGE = {"plain": 1500, "perspective": 900, "curved": 900}
MIDDLE = {"plain": 500, "perspective": 300, "curved": 300}
SMALL = {"plain": 140, "perspective": 80, "curved": 80}


def main() -> None:
    """Write the trees asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--small", type=Path, help="write the 300 images of the tests here")
    parser.add_argument("--fonts", type=Path, nargs="+", default=[Path("/usr/share/fonts")])
    options = parser.parse_args()
    seen = training_fonts(options.fonts)
    if options.small:
        write_lmdb_tree(options.small, SMALL, SEED + 1, seen)
    if options.out:
        unseen = training_fonts(options.fonts, unseen=True)
        write_lmdb_tree(options.out / "seen", LARGE, SEED, seen)
        write_lmdb_tree(options.out / "unseen", MIDDLE, SEED, unseen)
        write_lmdb_tree(options.out / "pillow", MIDDLE, SEED)


if __name__ == "__main__":
    main()
