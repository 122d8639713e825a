r"""Two readings of the same records: what changed, and whether accuracy did.

Both models see the same pictures, so records are compared one by one. With ``gained`` records that
only the second reads right, ``lost`` that only the first does, and ``n`` records::

    McNemar, exact   p = min(1, 2 P(X <= min(gained, lost))),  X ~ Binomial(gained + lost, 1/2)
    interval         d +- 1.96 sqrt((g + l) / m - d^2) / sqrt(m),
                     g = gained + 1/2, l = lost + 1/2, m = n + 2, d = (g - l) / m

The interval is Wald's with half a record added to each of the four cells (Agresti and Min 2005,
https://doi.org/10.1002/sim.1781), which keeps its coverage when few records change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.errors import EvalError

if TYPE_CHECKING:
    from eval.evaluation import Evaluation, Outcome
    from eval.manifest import Record

_QUANTILE = 1.959963984540054  # of the normal distribution, two-sided 95 %


@dataclass(frozen=True)
class Change:
    """One record that the two read differently."""

    record: Record
    before: str
    after: str

    @property
    def verdict(self) -> str:
        """``gained`` if only the second is right, ``lost`` if only the first, else ``other``."""
        right = self.record.label
        if self.after == right:
            return "gained"
        return "lost" if self.before == right else "other"


@dataclass(frozen=True)
class Comparison:
    """Two readings of the same records.

    Attributes:
        records: Records that both have read.
        changes: Those read differently, in order.
        p_value: McNemar's exact test of equal accuracy; 1 if nothing was gained or lost.
        difference: Share of records gained less share lost, in [-1, 1].
        low: Lower end of the 95 % interval of the difference.
        high: Upper end.
    """

    records: int
    changes: tuple[Change, ...]
    p_value: float
    difference: float
    low: float
    high: float

    def count(self, verdict: str) -> int:
        """Return how many changes have a verdict, see :class:`Change`."""
        return sum(change.verdict == verdict for change in self.changes)


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare two evaluations of one data folder.

    Raises:
        EvalError: If they are not of the same records, or none is good.
    """
    records = [outcome.record for outcome in first.outcomes]
    if records != [outcome.record for outcome in second.outcomes]:
        msg = (
            f"the two evaluations are of other records ({len(records)} and "
            f"{len(second.outcomes)}); evaluate both on the same data"
        )
        raise EvalError(msg)
    pairs = zip(first.outcomes, second.outcomes, strict=True)
    read = [(a, b) for a, b in pairs if a.record.reason is None]
    if not read:
        msg = f"nothing to compare: all {len(records)} records are bad"
        raise EvalError(msg)
    changes = tuple(_change(a, b) for a, b in read if a.text != b.text)
    gained = sum(change.verdict == "gained" for change in changes)
    lost = sum(change.verdict == "lost" for change in changes)
    low, high = interval(gained, lost, len(read))
    difference = (gained - lost) / len(read)
    return Comparison(len(read), changes, mcnemar(gained, lost), difference, low, high)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided exact p-value."""
    n = gained + lost
    ways = tail = 1  # to choose k of n, and their sum: integers, so nothing is rounded
    for k in range(min(gained, lost)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << n))


def interval(gained: int, lost: int, records: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference in accuracy."""
    g, l, m = gained + 0.5, lost + 0.5, records + 2  # noqa: E741  the formula's letters
    middle = (g - l) / m
    half = _QUANTILE * math.sqrt(max(0.0, (g + l) / m - middle**2) / m)
    return max(-1.0, middle - half), min(1.0, middle + half)


def _change(before: Outcome, after: Outcome) -> Change:
    return Change(before.record, before.text or "", after.text or "")
