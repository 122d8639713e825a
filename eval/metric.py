"""Accuracy and normalised edit distance, as the guide's headline figures are defined.

Formula::

    acc           = correct / (count + 1e-5)
    norm_edit_dis = 1 - sum(levenshtein(p, t) / max(len(p), len(t))) / (count + 1e-5)

Spaces (U+0020) are deleted from both texts first. The 1e-5 is part of the published numbers:
0.8002817595091724 is 9657 of 12067 to the last bit, and only with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.errors import EvalError, import_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

EPSILON = 1e-5


@dataclass
class RecMetric:
    """A running count. The sum is taken text by text, so batches do not change its last bit.

    Attributes:
        count: Texts so far, the denominator.
        correct: How many were read without any error.
        distance: Sum of the normalised edit distances.
    """

    count: int = 0
    correct: int = 0
    distance: float = 0.0

    def add(self, predictions: Sequence[str], targets: Sequence[str]) -> None:
        """Compare texts pair by pair.

        Raises:
            EvalError: If there are not as many predictions as targets.
        """
        if len(predictions) != len(targets):
            msg = f"{len(predictions)} predictions for {len(targets)} targets; expected one each"
            raise EvalError(msg)
        levenshtein = import_extra("rapidfuzz.distance.Levenshtein")
        for prediction, target in zip(predictions, targets, strict=True):
            ours, theirs = prediction.replace(" ", ""), target.replace(" ", "")
            self.count += 1
            self.correct += ours == theirs
            self.distance += levenshtein.normalized_distance(ours, theirs)

    def add_wrong(self) -> None:
        """Count one record that has no prediction as entirely wrong."""
        self.count += 1
        self.distance += 1.0

    @property
    def acc(self) -> float:
        """The share of texts read without any error; 0 if nothing was added."""
        return self.correct / (self.count + EPSILON)

    @property
    def norm_edit_dis(self) -> float:
        """One minus the mean normalised edit distance; 1 if nothing was added."""
        return 1 - self.distance / (self.count + EPSILON)
