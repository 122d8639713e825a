"""Pictures of words to try a recogniser on where nobody gave any."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SEED = 310
Array = np.ndarray[Any, np.dtype[np.float32]]


def draw_words(count: int, channels: int, height: int, width: int) -> Array:
    """Return float32 [count, channels, height, width] in [-1, 1], the same in every call.

    The pictures keep their ratio and are padded with 0 on the right, as ``eval.images`` does.

    Args:
        count: How many.
        channels: 3, blue first, or 1, their mean.
        height: In pixels.
        width: In pixels.

    Raises:
        MissingExtraError: If the extra ``eval`` is not installed (eval's error, exit code 4).
    """
    from eval.errors import import_extra

    cv2 = import_extra("cv2")
    import_extra("PIL")
    from eval.render import STYLES, random_word, render_word

    styles = list(STYLES.values())
    words = np.zeros((count, channels, height, width), np.float32)
    for index, word in enumerate(words):
        rng = np.random.default_rng([SEED, index])
        image = render_word(random_word(rng), rng, styles[index % len(styles)])
        filled = min(width, math.ceil(height * image.shape[1] / image.shape[0]))
        pixels = cv2.resize(image, (filled, height)).transpose(2, 0, 1).astype(np.float32)
        if channels == 1:
            pixels = pixels.mean(axis=0, keepdims=True)
        word[:, :, :filled] = (pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    return words
