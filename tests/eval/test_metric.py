from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.errors import EvalError
from eval.metric import RecMetric


def distance(left: str, right: str) -> int:
    """Levenshtein's distance by the textbook recursion over rows."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (a != b))
    return row[-1]


@pytest.mark.parametrize(
    ("correct", "count", "expected"),
    [
        pytest.param(9657, 12067, 0.8002817595091724, id="StarNet MobileNetV3, the headline"),
        pytest.param(10182, 12067, 0.8437888449127465, id="StarNet ResNet34"),
        pytest.param(10232, 12067, 0.847932376855944, id="RARE ResNet34"),
        pytest.param(9338, 12067, 0.773846025711572, id="Rosetta MobileNetV3"),
    ],
)
def test_published_accuracies_are_met_to_the_last_bit(
    correct: int, count: int, expected: float
) -> None:
    metric = RecMetric()
    metric.add(["a"] * correct + ["b"] * (count - correct), ["a"] * count)
    assert metric.acc == expected
    assert metric.acc != correct / count


def test_nothing_added() -> None:
    assert (RecMetric().acc, RecMetric().norm_edit_dis) == (0.0, 1.0)


def test_a_perfect_run_stays_below_one() -> None:
    metric = RecMetric()
    metric.add(["ab", ""], ["ab", ""])
    assert metric.acc == 2 / (2 + 1e-5)
    assert metric.norm_edit_dis == 1.0


def test_the_distance_is_relative_to_the_longer_text() -> None:
    metric = RecMetric()
    metric.add(["kitten", "", "abc", "abcd"], ["sitting", "ab", "abc", "ab"])
    assert metric.distance == 3 / 7 + 1 + 0 + 2 / 4
    assert metric.norm_edit_dis == 1 - (3 / 7 + 1.5) / (4 + 1e-5)
    assert (metric.correct, metric.count) == (1, 4)


def test_only_the_plain_space_is_ignored_and_case_counts() -> None:
    metric = RecMetric()
    metric.add(["a b", "a\u00a0b", "A", "ab"], [" ab", "ab", "a", "a\tb"])
    assert metric.correct == 1
    assert metric.distance == 0 + 1 / 3 + 1 + 1 / 3


def test_a_record_without_a_prediction_is_entirely_wrong() -> None:
    metric = RecMetric()
    metric.add(["a"], ["a"])
    metric.add_wrong()
    assert (metric.count, metric.correct, metric.distance) == (2, 1, 1.0)


@given(st.lists(st.tuples(st.text("ab1", max_size=8), st.text("ab1", max_size=8)), min_size=1))
def test_batches_do_not_change_a_bit(pairs: list[tuple[str, str]]) -> None:
    predictions, targets = zip(*pairs, strict=True)
    whole, single = RecMetric(), RecMetric()
    whole.add(predictions, targets)
    for prediction, target in pairs:
        single.add([prediction], [target])
    assert whole == single
    expected = sum(distance(p, t) / max(len(p), len(t), 1) for p, t in pairs)
    assert math.isclose(whole.distance, expected, rel_tol=1e-12)
    assert whole.correct == sum(p == t for p, t in pairs)


def test_refuses_texts_without_partners() -> None:
    with pytest.raises(EvalError, match="2 predictions for 1 targets"):
        RecMetric().add(["a", "b"], ["a"])
