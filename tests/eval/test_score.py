from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval.errors import EvalError, NonFiniteError
from eval.labels import CHARACTERS
from eval.manifest import Manifest, Record
from eval.score import score

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = Manifest(
    (
        Record(0, "A", 1, "ab", None),
        Record(1, "A", 2, None, "missing label"),
        Record(2, "B", 1, "xy", None),
    )
)


def write_result(folder: Path, index: int, text: str) -> Path:
    probabilities = np.zeros((1, 25, 37), "<f4")
    probabilities[:, :, 0] = 0.5
    for step, character in enumerate(text):
        probabilities[0, step, 1 + CHARACTERS.index(character)] = 0.75
    path = folder / f"img_{index}_0.bin"
    path.write_bytes(probabilities.tobytes())
    return path


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_result(tmp_path, 0, "ab")
    write_result(tmp_path, 2, "xz")
    return tmp_path


def test_results_are_matched_by_index(results: Path) -> None:
    evaluation = score(results, MANIFEST)
    assert evaluation.texts == ("ab", None, "xz")
    assert evaluation.acc == 1 / (3 + 1e-5)
    assert evaluation.norm_edit_dis == 1 - (1 + 1 / 2) / (3 + 1e-5)
    assert evaluation.outcomes[0].confidence == 0.75
    assert evaluation.throughput is None


def test_bad_records_can_be_excluded(results: Path) -> None:
    evaluation = score(results, MANIFEST, "exclude")
    assert evaluation.acc == 1 / (2 + 1e-5)
    assert evaluation.datasets["A"].acc == 1 / (1 + 1e-5)


def test_the_result_of_a_bad_record_is_not_read(results: Path) -> None:
    (results / "img_1_0.bin").write_bytes(b"from a tool that had an input for it")
    assert score(results, MANIFEST).texts[1] is None


def test_progress_counts_every_good_record(results: Path) -> None:
    seen: list[tuple[int, int]] = []
    score(results, MANIFEST, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_refuses_a_missing_result(results: Path) -> None:
    (results / "img_2_0.bin").unlink()
    with pytest.raises(
        EvalError, match=r"cannot read result .*img_2_0\.bin: No such file"
    ) as caught:
        score(results, MANIFEST)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("size", [0, 3699, 3701, 3900])
def test_refuses_a_result_of_another_size(results: Path, size: int) -> None:
    (results / "img_0_0.bin").write_bytes(bytes(size))
    found = rf"img_0_0\.bin has {size} bytes; expected 3700 \(float32 \[1, 25, 37\]\) or 3800 "
    with pytest.raises(EvalError, match=found) as caught:
        score(results, MANIFEST)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_refuses_numbers_that_are_not_finite(results: Path, value: float) -> None:
    path = results / "img_2_0.bin"
    probabilities = np.frombuffer(path.read_bytes(), "<f4").copy()
    probabilities[-1] = value
    path.write_bytes(probabilities.tobytes())
    with pytest.raises(NonFiniteError, match=r"img_2_0\.bin holds NaN or infinity") as caught:
        score(results, MANIFEST)
    assert caught.value.exit_code == 1


def test_refuses_an_unknown_policy_before_reading(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="'skip'"):
        score(tmp_path / "nowhere", MANIFEST, "skip")  # type: ignore[arg-type]
