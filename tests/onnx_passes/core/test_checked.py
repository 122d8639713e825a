"""The mark of a checked model: who gets it, what makes it stale, what is inherited."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_passes.core.checked import (
    CHECKED_KEY,
    UNCHECKED_KEY,
    mark_checked,
    mark_original,
    mark_outcome,
    mark_unchecked,
    unmarked,
    why_unverified,
)
from onnx_passes.core.manager import optimize
from onnx_passes.core.model_io import load, save

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3] x) => (float[N, 3] y) { i = Identity(x) y = Relu(i) }
"""


def model() -> ir.Model:
    return ir.from_proto(onnx.parser.parse_model(TEXT))


def test_a_model_that_nothing_has_looked_at_is_unverified() -> None:
    assert why_unverified(model()) == "no numeric check has left its mark in it"


def test_the_mark_survives_a_save_and_says_what_was_compared(tmp_path: Path) -> None:
    made, source = model(), model()
    mark_checked(made, [source])
    save(made, tmp_path / "m.onnx")
    loaded = load(tmp_path / "m.onnx")
    assert why_unverified(loaded) == ""
    record = json.loads(loaded.metadata_props[CHECKED_KEY])
    assert record["content"] == record["compared_with"][0]
    assert (record["verdict"], record["version"]) == ("passed", "0.1.0")


def test_an_edit_after_the_check_is_found_out() -> None:
    made = model()
    mark_checked(made, [model()])
    made.graph[1].op_type = "Neg"
    assert why_unverified(made) == "it was changed after its numeric check"


def test_what_was_not_checked_is_inherited_whatever_follows() -> None:
    made = model()
    mark_unchecked(made, "scale-weight: numbers were\nnot compared")
    expected = "a change to it was not checked (scale-weight: numbers were not compared)"
    assert why_unverified(made) == expected
    later, meant = model(), model()
    mark_checked(later, [model(), made])
    mark_original(meant, [made])
    assert why_unverified(later) == why_unverified(meant) == expected


def test_a_new_original_has_no_mark() -> None:
    source = model()
    mark_checked(source, [model()])
    made = source.clone()
    mark_original(made, [source])
    assert not {CHECKED_KEY, UNCHECKED_KEY} & set(made.metadata_props)
    assert not unmarked(source).metadata_props
    assert CHECKED_KEY in source.metadata_props


class TestOutcome:
    def run(self, original: ir.Model, passes: str, *, check: bool = True) -> ir.Model:
        outcome = optimize(unmarked(original), passes, check=check)
        mark_outcome(outcome, original, compared=check)
        return outcome.model

    def test_a_run_that_passed_leaves_the_mark(self) -> None:
        made = self.run(model(), "drop-identity")
        assert why_unverified(made) == ""
        assert json.loads(made.metadata_props[CHECKED_KEY])["verdict"] == "passed"

    def test_a_run_that_changed_nothing_vouches_for_the_original(self) -> None:
        made = self.run(model(), "drop-unused")
        assert json.loads(made.metadata_props[CHECKED_KEY])["verdict"] == "unchanged"
        assert why_unverified(made) == ""

    def test_a_run_that_changed_nothing_leaves_an_earlier_mark_as_it_was(self) -> None:
        first = self.run(model(), "drop-identity")
        again = self.run(first, "drop-identity", check=False)
        assert again.metadata_props == first.metadata_props

    def test_a_run_without_a_check_leaves_no_mark_and_says_why(self) -> None:
        made = self.run(model(), "drop-identity", check=False)
        assert CHECKED_KEY not in made.metadata_props
        assert "drop-identity: not checked: numbers were not" in why_unverified(made)
        assert CHECKED_KEY not in self.run(made, "drop-unused").metadata_props
        assert CHECKED_KEY not in self.run(model(), "drop-unused", check=False).metadata_props

    def test_what_could_not_be_checked_leaves_no_mark(self) -> None:
        dead = ir.from_proto(onnx.parser.parse_model(TEXT.replace("Relu(i)", "Sub(i, i)")))
        assert "not checkable: output 'y' dead" in why_unverified(self.run(dead, "drop-identity"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("{", "cannot be read", id="no JSON"),
        pytest.param("[" * 100_000, "cannot be read", id="deep JSON"),
        pytest.param("[]", "cannot be read", id="another shape"),
        pytest.param('{"content": "0:1", "verdict": "passed"}', "another version", id="old form"),
        pytest.param('{"content": "1:1", "verdict": "failed"}', "'failed'", id="a verdict"),
        pytest.param('{"content": "1:1", "verdict": "passed"}', "changed after", id="a digest"),
    ],
)
def test_a_mark_that_counts_for_nothing(text: str, reason: str) -> None:
    made = model()
    made.metadata_props[CHECKED_KEY] = text
    assert reason in why_unverified(made)


@given(st.text() | st.dictionaries(st.sampled_from(["content", "verdict"]), st.text()))
def test_no_text_passes_for_a_mark(text: object) -> None:
    made = model()
    made.metadata_props[CHECKED_KEY] = text if isinstance(text, str) else json.dumps(text)
    assert why_unverified(made)
