from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.labels import CHARACTERS, normalise, why_not


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param("Team 42", "team42", id="capitals are lowered, a space is dropped"),
        pytest.param("it's-5%!", "its5", id="punctuation is dropped"),
        pytest.param("café", "caf", id="an accented letter is dropped"),
        pytest.param("cafe\u0301", "cafe", id="a combining accent leaves its letter"),
        pytest.param("\uff21\uff11b", "b", id="full-width forms are dropped"),
        pytest.param("\u212a9", "k9", id="the Kelvin sign becomes k"),
        pytest.param("\u0130x", "ix", id="a dotted capital I becomes i"),
        pytest.param("stra\u00dfe", "strae", id="a sharp s is dropped, not spelled ss"),
        pytest.param("\u0661\u00b2", "", id="foreign digits are dropped"),
    ],
)
def test_normalise(raw: str, expected: str) -> None:
    assert normalise(raw) == expected


@given(st.text())
def test_a_normalised_label_stays_as_it_is(raw: str) -> None:
    once = normalise(raw)
    assert set(once) <= set(CHARACTERS)
    assert normalise(once) == once


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param("a", None, id="one character is fine"),
        pytest.param("a" * 25, None, id="25 characters are fine"),
        pytest.param("a" * 26, "label over 25 characters", id="26 are too many"),
        pytest.param("a" * 24 + "..", "label over 25 characters", id="dropped ones count too"),
        pytest.param("a\U0001f600" * 12, None, id="a code point outside the BMP counts once"),
        pytest.param("", "empty label", id="nothing"),
        pytest.param("?!", "label empty after filtering", id="nothing that can be read"),
        pytest.param("." * 26, "label over 25 characters", id="length comes before filtering"),
    ],
)
def test_why_not(raw: str, expected: str | None) -> None:
    assert why_not(raw) == expected


def test_the_table_has_the_order_of_the_classes() -> None:
    assert len(CHARACTERS) == 36
    assert (CHARACTERS[0], CHARACTERS[9], CHARACTERS[10], CHARACTERS[35]) == ("0", "9", "a", "z")
