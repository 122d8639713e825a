"""Greedy decoding of an attention head: the best class of each step, up to the end token.

The classes are the start token, the 36 characters and the end token (RARE's table, 38 classes).
Repeats are letters here, and there is no blank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.ctc import Reading
from eval.errors import EvalError
from eval.labels import CHARACTERS

if TYPE_CHECKING:
    from eval.images import Float32

CLASSES = len(CHARACTERS) + 2
_START, _END = 0, CLASSES - 1
_TABLE = np.array(["", *CHARACTERS, ""])


def decode(probabilities: Float32) -> list[Reading]:
    """Read a batch.

    On a tie the lower class wins. Without an end token the text fills all steps.

    Args:
        probabilities: float32 [batch, steps, 38] from the softmax.

    Raises:
        EvalError: If the shape is another one.
    """
    if probabilities.ndim != 3 or probabilities.shape[2] != CLASSES:  # noqa: PLR2004  a rank
        msg = f"cannot decode shape {list(probabilities.shape)}; expected [batch, steps, {CLASSES}]"
        raise EvalError(msg)
    classes = probabilities.argmax(axis=2)
    best = probabilities.max(axis=2)
    kept = np.cumsum(classes == _END, axis=1) == 0
    kept &= classes != _START
    characters = _TABLE[classes]
    return [
        Reading("".join(row[keep]), float(peak[keep].mean()) if keep.any() else 0.0)
        for row, keep, peak in zip(characters, kept, best, strict=True)
    ]
