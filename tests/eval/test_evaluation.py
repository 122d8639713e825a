from __future__ import annotations

import json

import pytest

from eval.ctc import Reading
from eval.dtrb_sets import SIZES
from eval.errors import EvalError
from eval.evaluation import Evaluation, Throughput, check_policy, conclude
from eval.manifest import Manifest, Record

MANIFEST = Manifest(
    (
        Record(0, "A", 1, "ab", None),
        Record(1, "A", 2, "?!", "label empty after filtering"),
        Record(2, "B", 1, "abcd", None),
        Record(3, "B", 2, "x", None),
    )
)
READINGS = [Reading("ab", 0.9), Reading("abcc", 0.8), Reading("x", 0.7)]


def test_a_bad_record_counted_is_entirely_wrong() -> None:
    evaluation = conclude(MANIFEST, READINGS, "count")
    overall = evaluation.overall
    assert (overall.records, overall.bad, overall.counted, overall.correct) == (4, 1, 4, 2)
    assert evaluation.acc == 2 / (4 + 1e-5)
    assert evaluation.norm_edit_dis == 1 - (1 + 1 / 4) / (4 + 1e-5)


def test_a_bad_record_excluded_leaves_the_denominator() -> None:
    evaluation = conclude(MANIFEST, READINGS, "exclude")
    overall = evaluation.overall
    assert (overall.records, overall.bad, overall.counted, overall.correct) == (4, 1, 3, 2)
    assert evaluation.acc == 2 / (3 + 1e-5)
    assert evaluation.norm_edit_dis == 1 - (1 / 4) / (3 + 1e-5)


def test_each_data_set_has_its_own_figures() -> None:
    datasets = conclude(MANIFEST, READINGS, "count").datasets
    assert list(datasets) == ["A", "B"]
    assert (datasets["A"].counted, datasets["A"].bad, datasets["A"].correct) == (2, 1, 1)
    assert datasets["A"].norm_edit_dis == 1 - 1 / (2 + 1e-5)
    assert datasets["B"].acc == 1 / (2 + 1e-5)


def test_readings_belong_to_the_good_records_in_their_order() -> None:
    evaluation = conclude(MANIFEST, READINGS, "count")
    assert evaluation.texts == ("ab", None, "abcc", "x")
    assert [outcome.confidence for outcome in evaluation.outcomes] == [0.9, None, 0.8, 0.7]


def test_json_holds_everything() -> None:
    document = json.loads(
        json.dumps(conclude(MANIFEST, READINGS, "count", Throughput(3, 2.0, 2)).to_json())
    )
    assert document["acc"] == 2 / (4 + 1e-5)
    assert (document["records"], document["bad"], document["bad_policy"]) == (4, 1, "count")
    assert document["datasets"]["B"]["correct"] == 1
    assert document["throughput"] == {
        "images": 3,
        "seconds": 2.0,
        "batch_size": 2,
        "images_per_s": 1.5,
        "provider": "CPUExecutionProvider",
    }
    assert document["texts"][2] == {
        "index": 2,
        "dataset": "B",
        "record": 1,
        "label": "abcd",
        "reason": None,
        "text": "abcc",
        "confidence": 0.8,
    }


def test_without_a_model_there_is_no_throughput() -> None:
    assert conclude(MANIFEST, READINGS, "count").to_json()["throughput"] is None


def test_refuses_to_conclude_from_nothing() -> None:
    with pytest.raises(EvalError, match="nothing to score: 0 records"):
        conclude(Manifest(()), [], "count")
    bad = Manifest(MANIFEST.records[1:2])
    assert conclude(bad, [], "count").acc == 0.0
    with pytest.raises(EvalError, match="nothing to score: 1 records, of which 1 are bad"):
        conclude(bad, [], "exclude")


def test_refuses_an_unknown_policy() -> None:
    with pytest.raises(EvalError, match=r"'skip'; expected one of \('count', 'exclude'\)"):
        check_policy("skip")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    records = [(name, number) for name in SIZES for number in range(1, SIZES[name] + 1)]
    manifest = Manifest(tuple(Record(i, *one, "ab", None) for i, one in enumerate(records)))
    wrong = Reading("b", 0.5)
    readings = [wrong if i % 5 == 0 and i < 12050 else Reading("ab", 0.9) for i in range(12067)]
    return conclude(manifest, readings, "count")


class TestThePublishedEvaluation:
    """All 12,067 records of the ten sets, read as the published model reads them: 9,657 right."""

    def test_the_headline_is_met_to_the_last_bit(self, evaluation: Evaluation) -> None:
        assert (evaluation.overall.correct, evaluation.overall.counted) == (9657, 12067)
        assert evaluation.acc == 0.8002817595091724
        # Half a word is wrong in each, so the sum is exact.
        assert evaluation.norm_edit_dis == 1 - 2410 / 2 / (12067 + 1e-5)

    def test_every_set_and_every_benchmark_has_its_count(self, evaluation: Evaluation) -> None:
        assert {name: one.records for name, one in evaluation.datasets.items()} == SIZES
        assert {name: one.records for name, one in evaluation.benchmarks.items()} == {
            "CUTE80": 288,
            "IC03": 860 + 867,
            "IC13": 857 + 1015,
            "IC15": 1811 + 2077,
            "IIIT5k": 3000,
            "SVT": 647,
            "SVTP": 645,
        }
        assert sum(one.correct for one in evaluation.benchmarks.values()) == 9657
        assert evaluation.completeness == "12067 of the 12067 records of the published evaluation"
