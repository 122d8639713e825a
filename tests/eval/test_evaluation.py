from __future__ import annotations

import json

import pytest

from eval.ctc import Reading
from eval.errors import EvalError
from eval.evaluation import Throughput, check_policy, conclude
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
