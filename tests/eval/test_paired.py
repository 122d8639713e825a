"""Two readings of the same records, compared with numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from eval.ctc import Reading
from eval.errors import EvalError
from eval.evaluation import Evaluation, conclude
from eval.manifest import Manifest, Record
from eval.paired import compare, interval, mcnemar

LABELS = ("a", "b", "c", "d", None)


def evaluation(*texts: str, labels: tuple[str | None, ...] = LABELS) -> Evaluation:
    records = tuple(
        Record(i, "SVT", i + 1, label, None if label else "missing label")
        for i, label in enumerate(labels)
    )
    return conclude(Manifest(records), [Reading(text, 1.0) for text in texts], "count")


def test_each_change_has_its_verdict_and_bad_records_do_not_take_part() -> None:
    found = compare(evaluation("a", "b", "x", "y"), evaluation("a", "z", "c", "w"))
    assert found.records == 4
    assert [(c.record.label, c.before, c.after, c.verdict) for c in found.changes] == [
        ("b", "b", "z", "lost"),
        ("c", "x", "c", "gained"),
        ("d", "y", "w", "other"),
    ]
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert [found.count(verdict) for verdict in ("lost", "gained", "other")] == [1, 1, 1]
    assert found.low == -found.high


def test_equal_readings_have_no_change_and_an_interval_around_zero() -> None:
    one = evaluation("a", "b", "c", "d")
    found = compare(one, one)
    assert (found.changes, found.p_value, found.difference) == ((), 1.0, 0.0)
    assert found.low < 0 < found.high


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (0, 5, 2 / 32),
        (5, 0, 2 / 32),
        (3, 3, 1.0),
        (1, 9, 22 / 1024),
        (10, 30, 0.0022214337732293643),
    ],
)
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p, rel=1e-12)


def test_mcnemar_takes_many_records() -> None:
    assert mcnemar(6000, 6000) == 1.0
    assert 0 <= mcnemar(3000, 9000) < 1e-300


def test_the_interval_is_that_of_the_formula() -> None:
    low, high = interval(10, 30, 1000)
    middle = -20 / 1002
    half = 1.959963984540054 * math.sqrt(41 / 1002 - middle**2) / math.sqrt(1002)
    assert (low, high) == pytest.approx((middle - half, middle + half))


@pytest.mark.parametrize(("gained", "lost", "records"), [(5, 0, 5), (0, 1, 1), (0, 0, 1)])
def test_the_interval_stays_within_what_is_possible(gained: int, lost: int, records: int) -> None:
    low, high = interval(gained, lost, records)
    assert -1 <= low <= high <= 1


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    records, p_gained, p_lost = 60, 0.06, 0.02
    covered = 0.0
    for gained in range(records + 1):
        for lost in range(records + 1 - gained):
            low, high = interval(gained, lost, records)
            if low <= p_gained - p_lost <= high:
                rest = records - gained - lost
                ways = math.comb(records, gained) * math.comb(records - gained, lost)
                covered += ways * p_gained**gained * p_lost**lost * (1 - p_gained - p_lost) ** rest
    assert 0.93 < covered < 0.99


def test_other_records_are_refused() -> None:
    one = evaluation("a", "b", "c", "d")
    other = evaluation("a", "b", labels=("a", "b"))
    with pytest.raises(EvalError, match=r"other records \(5 and 2\)"):
        compare(one, other)
