"""The published evaluation: its sizes, its subsets, and what is missing of it."""

from __future__ import annotations

import pytest

from eval.ctc import Reading
from eval.dtrb_sets import SIZES, TOTAL, benchmark_of, completeness
from eval.evaluation import conclude
from eval.manifest import Manifest, Record


def test_the_sizes_add_up_to_the_published_denominator() -> None:
    assert TOTAL == 12067
    assert all(name.split("_")[-1] in {name, str(size)} for name, size in SIZES.items())


@pytest.mark.parametrize(
    ("dataset", "benchmark"),
    [
        ("IC03_860", "IC03"),
        ("evaluation/IC15_2077", "IC15"),
        ("SVT", "SVT"),
        ("SVTP", "SVTP"),
        ("IIIT5k_3000", "IIIT5k"),
        ("SVT_2", None),
        ("mine", None),
    ],
)
def test_subsets_belong_to_their_benchmark(dataset: str, benchmark: str | None) -> None:
    assert benchmark_of(dataset) == benchmark


def test_what_is_complete_missing_or_of_another_size_is_said() -> None:
    assert completeness(SIZES) == "12067 of the 12067 records of the published evaluation"
    assert completeness({"mine": 3}) == ""
    some = {name: size for name, size in SIZES.items() if name != "SVTP"} | {"SVT": 600, "mine": 1}
    assert completeness(some) == (
        "11375 of the 12067 records of the published evaluation; without SVTP; "
        "other sizes than published: SVT: 600 instead of 647; 1 data sets are none of them"
    )


def test_subsets_are_scored_together() -> None:
    sets = ("IC03_860", "IC03_867", "IC03_867", "SVT", "mine")
    records = tuple(Record(i, name, i + 1, "a", None) for i, name in enumerate(sets))
    texts = ("a", "b", "a", "a", "b")
    found = conclude(Manifest(records), [Reading(text, 1.0) for text in texts], "count")
    assert {name: (s.correct, s.counted) for name, s in found.benchmarks.items()} == {
        "IC03": (2, 3),
        "SVT": (1, 1),
    }
    document = found.to_json()
    assert document["benchmarks"]["IC03"]["correct"] == 2
    assert document["completeness"].startswith("4 of the 12067 records")
