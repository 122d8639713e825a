"""Names of chips."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.errors import AscendError
from ascend.soc import SOCS, normalise


@pytest.mark.parametrize(
    "text", ["310P3", "310p3", "Ascend310P3", "ascend310p3", "ASCEND310P3", " Ascend 310 P3\n"]
)
def test_spellings_of_the_310p3_are_one(text: str) -> None:
    assert normalise(text) == "Ascend310P3"


@pytest.mark.parametrize("soc", SOCS, ids=lambda soc: soc.name)
def test_every_known_name_is_its_own_and_has_a_source(soc: object) -> None:
    name, source = getattr(soc, "name", ""), getattr(soc, "source", "")
    assert normalise(name) == name
    assert normalise(name.removeprefix("Ascend").lower()) == name
    assert source.startswith("https://")


def test_names_are_known_once() -> None:
    assert len({soc.name.casefold() for soc in SOCS}) == len(SOCS)


@pytest.mark.parametrize(
    ("text", "near"), [("310P", "Ascend310P"), ("Ascend310P33", "Ascend310P3"), ("910B5", "910B")]
)
def test_an_unknown_name_is_refused_with_the_nearest(text: str, near: str) -> None:
    with pytest.raises(AscendError, match=rf"unknown chip '{text}'; did you mean '\w*{near}"):
        normalise(text)


def test_the_name_that_a3_cards_show_is_no_soc_version() -> None:
    with pytest.raises(AscendError, match="unknown chip 'Ascend910'"):
        normalise("Ascend910")


@given(st.text())
def test_any_text_is_known_or_refused(text: str) -> None:
    with contextlib.suppress(AscendError):
        assert normalise(text) in {soc.name for soc in SOCS}
