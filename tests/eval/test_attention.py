"""Reading an attention head: no blank, no merging, the end token ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval.attention import CLASSES, decode
from eval.backends import evaluate
from eval.ctc import STEPS, Reading
from eval.errors import EvalError
from eval.labels import CHARACTERS
from eval.manifest import Manifest, Record
from eval.score import score

if TYPE_CHECKING:
    from pathlib import Path

    from eval.images import Float32
    from tests.eval.conftest import Draw, WriteModel, WriteSet

TABLE = "^" + CHARACTERS + "$"


def path(text: str, peak: float = 0.9) -> Float32:
    """Return [1, 25, 38] that peaks along ``text``; ^ is the start and $ the end token."""
    probabilities = np.full((1, STEPS, CLASSES), 0.001, np.float32)
    for step, character in enumerate(text):
        probabilities[0, step, TABLE.index(character)] = peak
    return probabilities


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ("cafe9$", "cafe9"),
        ("letter$zzz", "letter"),
        ("^^a^b$", "ab"),
        ("$abc", ""),
        ("a" * STEPS, "a" * STEPS),
    ],
)
def test_reads_up_to_the_end_token_and_keeps_repeats(steps: str, text: str) -> None:
    (reading,) = decode(path(steps))
    assert reading.text == text
    assert reading.confidence == (pytest.approx(0.9) if text else 0.0)


def test_the_confidence_is_that_of_what_was_read() -> None:
    probabilities = path("ab$")
    probabilities[0, 1, TABLE.index("b")] = 0.5
    assert decode(probabilities)[0].confidence == pytest.approx(0.7)


def test_a_batch_reads_as_its_rows_do() -> None:
    probabilities = np.random.default_rng(3).random((64, STEPS, CLASSES), np.float32)
    alone = [decode(row[None])[0] for row in probabilities]
    assert decode(probabilities) == alone
    assert len({len(reading.text) for reading in alone}) > 3


def test_an_empty_batch_reads_nothing() -> None:
    assert decode(np.zeros((0, STEPS, CLASSES), np.float32)) == []


@pytest.mark.parametrize("shape", [(25, 38), (1, 25, 37)])
def test_refuses_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(EvalError, match=r"expected \[batch, steps, 38\]"):
        decode(np.zeros(shape, np.float32))


def test_a_model_with_38_classes_is_read_as_attention(
    tmp_path: Path, write_set: WriteSet, write_model: WriteModel, draw: Draw
) -> None:
    write_set(tmp_path / "data" / "SVT", [(draw("a1"), b"a1"), (draw("xy"), b"xz")])
    found = evaluate(write_model("N", classes=38), tmp_path / "data", 2)
    assert found.texts == ("a1", "xy")
    assert found.overall.correct == 1


def test_result_files_of_3800_bytes_are_read_as_attention(tmp_path: Path) -> None:
    path("aab$").astype("<f4").tofile(tmp_path / "img_0_0.bin")
    manifest = Manifest((Record(0, "SVT", 1, "aab", None),))
    found = score(tmp_path, manifest)
    assert found.outcomes[0].text == Reading("aab", 0.9).text
    assert found.overall.correct == 1
