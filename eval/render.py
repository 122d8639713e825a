"""Render words as scene-text crops: data where the public sets cannot be downloaded.

Endless and seeded: an image depends on its text, its generator, its style and the fonts, and on
nothing else. Without font files Pillow's own font is drawn, so this needs nothing but the extra
``eval``. Example::

    fonts = find_fonts([Path("/usr/share/fonts")])
    rng = np.random.default_rng([seed, i])
    image = render_word(random_word(rng), rng, STYLES["curved"], fonts)
    write_lmdb_tree(Path("words"), {"plain": 100, "curved": 60}, seed=1, fonts=fonts)
"""

from eval.render_fonts import find_fonts
from eval.render_image import STYLES, Rendered, Style, encode, render, render_word
from eval.render_tree import DEFAULT_SETS, write_lmdb_tree
from eval.render_words import random_word

__all__ = [
    "DEFAULT_SETS",
    "STYLES",
    "Rendered",
    "Style",
    "encode",
    "find_fonts",
    "random_word",
    "render",
    "render_word",
    "write_lmdb_tree",
]
