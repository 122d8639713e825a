"""Greedy CTC decoding: the best class of each step, repeats merged, blanks dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eval.errors import EvalError
from eval.labels import CHARACTERS

if TYPE_CHECKING:
    from eval.images import Float32

STEPS = 25
CLASSES = 1 + len(CHARACTERS)  # class 0 is the blank
_BLANK = 0
_TABLE = np.array(["", *CHARACTERS])


class Reading(NamedTuple):
    """What was read: the text and the mean probability of its characters (0 if it is empty)."""

    text: str
    confidence: float


def decode(probabilities: Float32) -> list[Reading]:
    """Read a batch.

    Repeats are merged in the raw sequence of classes, so a blank between two equal letters keeps
    both. On a tie the lower class wins.

    Args:
        probabilities: float32 [batch, steps, 37] from the softmax.

    Raises:
        EvalError: If the shape is another one.
    """
    if probabilities.ndim != 3 or probabilities.shape[2] != CLASSES:  # noqa: PLR2004  a rank
        msg = f"cannot decode shape {list(probabilities.shape)}; expected [batch, steps, {CLASSES}]"
        raise EvalError(msg)
    classes = probabilities.argmax(axis=2)
    best = probabilities.max(axis=2)
    kept = classes != _BLANK
    kept[:, 1:] &= classes[:, 1:] != classes[:, :-1]
    characters = _TABLE[classes]
    return [
        Reading("".join(row[keep]), float(peak[keep].mean()) if keep.any() else 0.0)
        for row, keep, peak in zip(characters, kept, best, strict=True)
    ]
