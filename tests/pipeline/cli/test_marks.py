"""Which mark each command leaves in the model that it writes: see onnx_passes.core.checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest

from onnx_passes.core.checked import CHECKED_KEY, why_unverified
from onnx_passes.core.model_io import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer

SECOND = """
<ir_version: 8, opset_import: ["": 16]>
h (float[M, 2] x) => (float[M, 2] z) { z = Softmax(x) }
"""
COMMANDS = {
    "run": ("--passes", "drop-identity"),
    "extract": ("--outputs", "a"),
    "edit": ("--rename", "x=images"),
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.onnx"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    path = tmp_path / "second.onnx"
    onnx.save(onnx.parser.parse_model(SECOND), path)
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_checked_leaves_the_mark_and_one_that_did_not_says_so(
    call: Callable[..., Answer], model: Path, out: Path, command: str
) -> None:
    assert call(command, model, "-o", out, *COMMANDS[command]).code == 0
    assert why_unverified(load(out)) == ""
    assert call(command, model, "-o", out, *COMMANDS[command], "--no-check").code == 0
    assert "a change to it was not checked" in why_unverified(load(out))
    assert CHECKED_KEY not in load(out).metadata_props


def test_concat_too(call: Callable[..., Answer], model: Path, second: Path, out: Path) -> None:
    join = ("concat", model, second, "-o", out, "--connect", "y=x", "--prefix-b", "b_")
    assert call(*join).code == 0
    assert why_unverified(load(out)) == ""
    assert call(*join, "--no-check").code == 0
    assert "not checked" in why_unverified(load(out))


def test_an_edit_that_was_meant_to_change_makes_an_original_of_its_own(
    call: Callable[..., Answer], model: Path, out: Path
) -> None:
    change = ("--insert-after", "x", "Mul{B=0.5}", "--expect", "changed")
    assert call("edit", model, "-o", out, *change).code == 0
    assert why_unverified(load(out)) == "no numeric check has left its mark in it"
    assert call("run", out, "-o", out, "--passes", "drop-identity").code == 0
    assert why_unverified(load(out)) == ""


def test_a_check_does_not_wash_off_an_unchecked_change_before_it(
    call: Callable[..., Answer], model: Path, plugin: Path, out: Path
) -> None:
    bad = ("--passes", "scale-weight", "--plugin", plugin, "--no-check")
    assert call("run", model, "-o", out, *bad).code == 0
    assert call("run", out, "-o", out, "--passes", "drop-identity").code == 0
    assert "scale-weight" in why_unverified(load(out))


def test_a_failed_change_that_is_kept_is_named(
    call: Callable[..., Answer], model: Path, plugin: Path, out: Path
) -> None:
    bad = ("--passes", "scale-weight,drop-identity", "--plugin", plugin, "--on-fail", "keep")
    assert call("run", model, "-o", out, *bad).code == 1
    assert "scale-weight: failed: output 'y'" in why_unverified(load(out))


def test_a_failed_change_that_is_undone_does_not_count(
    call: Callable[..., Answer], model: Path, plugin: Path, out: Path
) -> None:
    bad = ("--passes", "scale-weight,drop-identity", "--plugin", plugin, "--on-fail", "undo")
    assert call("run", model, "-o", out, *bad).code == 0
    assert why_unverified(load(out)) == ""
