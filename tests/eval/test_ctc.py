from __future__ import annotations

import numpy as np
import pytest

from eval.ctc import CLASSES, STEPS, Reading, decode
from eval.errors import EvalError
from eval.labels import CHARACTERS


def path(text: str, peak: float = 0.5) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return [1, 25, 37] that peaks along ``text``, where a dash is the blank."""
    probabilities = np.full((1, STEPS, CLASSES), 0.01, np.float32)
    for step, character in enumerate(text.ljust(STEPS, "-")):
        probabilities[0, step, ("-" + CHARACTERS).index(character)] = peak
    return probabilities


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        pytest.param("0-9-a-z", "09az", id="the ends of the table"),
        pytest.param("hheelllloo", "helo", id="repeats are merged"),
        pytest.param("hel-lo", "hello", id="a blank keeps both of two equal letters"),
        pytest.param("--a--", "a", id="blanks are dropped"),
        pytest.param("", "", id="only blanks"),
        pytest.param("a" * 25, "a", id="one letter held for all steps"),
        pytest.param("ab" * 12 + "a", "ab" * 12 + "a", id="25 letters fit when none repeat"),
    ],
)
def test_text(steps: str, text: str) -> None:
    assert decode(path(steps))[0].text == text


def test_the_confidence_is_the_float32_mean_over_the_kept_steps() -> None:
    probabilities = path("aab-c")
    probabilities[0, [0, 1, 2, 4], [11, 11, 12, 13]] = 0.9, 0.3, 0.7, 0.6
    expected = float(np.mean(np.array([0.9, 0.7, 0.6], np.float32)))
    assert decode(probabilities) == [Reading("abc", expected)]


def test_nothing_read_has_confidence_zero() -> None:
    assert decode(path("")) == [Reading("", 0.0)]


def test_the_lower_class_wins_a_tie() -> None:
    probabilities = np.full((1, STEPS, CLASSES), 0.02, np.float32)
    assert decode(probabilities)[0].text == ""
    probabilities[0, 3, 11:13] = 0.5
    assert decode(probabilities)[0].text == "a"


def test_a_batch_reads_as_its_rows_do() -> None:
    """The reference is the loop of the specification, on random rows with many repeats."""
    generator = np.random.default_rng(3)
    probabilities = generator.random((64, STEPS, CLASSES), np.float32)
    probabilities[:, :, 4:] *= 0.6
    for row, reading in zip(probabilities, decode(probabilities), strict=True):
        best = [int(step.argmax()) for step in row]
        kept = [
            step
            for step, one in enumerate(best)
            if one != 0 and (step == 0 or one != best[step - 1])
        ]
        assert reading.text == "".join(CHARACTERS[best[step] - 1] for step in kept)
        assert reading.confidence == float(np.mean([row[step].max() for step in kept]))


def test_an_empty_batch_reads_nothing() -> None:
    assert decode(np.zeros((0, STEPS, CLASSES), np.float32)) == []


@pytest.mark.parametrize("shape", [(25, 37), (1, 25, 38)])
def test_refuses_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvalError, match=r"expected \[batch, steps, 37\]"):
        decode(np.zeros(shape, np.float32))
