"""What the cost model had to learn: prices of the things that peak rates do not tell.

A kernel is a list of amounts (:class:`Work`), and its time is the sum of amount times price. So a
fit is linear, and a range of the prices is a range of the time. The prices, with unit, source and
range, are in ``data/cost/ascend310p3.json``, which ``benchmarks/fit_cost.py`` writes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ascend.errors import AscendError

if TYPE_CHECKING:
    from collections.abc import Mapping

PRICES_FILE = Path(__file__).parents[1] / "data" / "cost" / "ascend310p3.json"


@dataclasses.dataclass
class Work:
    """The amounts of one kernel, or of many.

    Attributes:
        launches: Kernels started on the AI cores, and steps of a recurrence: each waits likewise.
        peak_us: Time at the peak rates: the longest of cube, vector unit and memory.
        copies: Small copies of GridSample, one after the other on the busiest core.
        row_copies: Likewise those of Gather and its kin.
        fetches: Elements picked one by one out of the unified buffer, on the busiest core.
        cpu_launches: Kernels started on the AI CPU.
        cpu_elements: Elements an AI CPU kernel writes.
    """

    launches: float = 0
    peak_us: float = 0
    copies: float = 0
    row_copies: float = 0
    fetches: float = 0
    cpu_launches: float = 0
    cpu_elements: float = 0

    def __add__(self, other: Work) -> Work:
        """Add amount by amount."""
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Work(*(a + b for a, b in zip(mine, theirs, strict=True)))

    def price_us(self, prices: Mapping[str, float]) -> float:
        """Return the time at some prices, by name of the amount."""
        return float(sum(amount * prices[name] for name, amount in vars(self).items()))


@dataclasses.dataclass(frozen=True)
class Price:
    """The price of one amount: ``value`` and its range, in ``unit``."""

    value: float
    low: float
    high: float
    unit: str
    kind: str
    source: str


@dataclasses.dataclass(frozen=True)
class Prices:
    """All prices, and how sure they are.

    Attributes:
        table: By name of the amount.
        folds: Prices fitted with one published point left out, in turns.
        spread: Greatest relative error on a point that was left out.
        fit: What the fit wrote down: points, residuals, degrees of freedom.
    """

    table: Mapping[str, Price]
    folds: tuple[Mapping[str, float], ...]
    spread: float
    fit: Mapping[str, Any]

    def time_us(self, work: Work) -> float:
        """Return the predicted time."""
        return work.price_us({name: price.value for name, price in self.table.items()})

    def range_us(self, work: Work) -> tuple[float, float]:
        """Return a low and a high time.

        The fitted prices take their values and those of each fold, the others their ends, and the
        relative error on a point left out is added on both sides.
        """
        low = {name: price.low for name, price in self.table.items()}
        high = {name: price.high for name, price in self.table.items()}
        fitted = {name: p.value for name, p in self.table.items() if p.kind == "fitted"}
        lows = [work.price_us({**low, **fold}) for fold in (fitted, *self.folds)]
        highs = [work.price_us({**high, **fold}) for fold in (fitted, *self.folds)]
        return min(lows) * (1 - self.spread), max(highs) * (1 + self.spread)


@functools.cache
def load_prices(path: Path = PRICES_FILE) -> Prices:
    """Read the prices.

    Raises:
        AscendError: If the file is missing or not of the expected form.
    """
    try:
        return parse_prices(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = (
            f"prices {path}: {type(error).__name__} {error}; expected what "
            "benchmarks/fit_cost.py writes: run it, or install the package again"
        )
        raise AscendError(msg) from error


def parse_prices(document: Mapping[str, Any]) -> Prices:
    """Return the prices of the document that ``benchmarks/fit_cost.py`` writes."""
    names = {field.name for field in dataclasses.fields(Work)}
    table = {name: Price(**entry) for name, entry in document["prices"].items()}
    if set(table) != names:
        msg = f"prices are given for {sorted(table)}, expected {sorted(names)}"
        raise ValueError(msg)
    fit = document["fit"]
    folds = tuple(fold["prices"] for fold in fit["leave_one_out"])
    return Prices(table, folds, float(fit["greatest_left_out_error"]), fit)
