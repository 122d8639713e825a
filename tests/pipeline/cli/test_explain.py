from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer


@pytest.mark.parametrize("name", ["drop-identity", "fold-constants"])
def test_prints_the_page_of_a_pass_as_it_is_written(call: Callable[..., Answer], name: str) -> None:
    from onnx_passes import get

    answer = call("explain", name)
    assert (answer.code, answer.err) == (0, "")
    module = inspect.getmodule(get(name))
    assert module is not None
    assert inspect.cleandoc(module.__doc__ or "") in answer.out
    assert "Exactness: exact" in answer.out


def test_prints_options_with_types_and_defaults(call: Callable[..., Answer], plugin: Path) -> None:
    answer = call("explain", "scale-weight", "--plugin", plugin)
    assert "The page of the planted passes." in answer.out
    assert "Options:\n    factor: float = 1.01\n" in answer.out
    assert "Options: none" in call("explain", "kill-output", "--plugin", plugin).out


def test_json_is_the_entry_and_the_page(call: Callable[..., Answer]) -> None:
    document = call("explain", "drop-identity", "--json").document
    assert document["name"] == "drop-identity"
    assert "Numerics" in document["page"]


def test_an_unknown_pass_offers_the_nearest(refused: Callable[..., str]) -> None:
    line = refused("explain", "drop-identitty")
    assert "unknown pass 'drop-identitty'; did you mean 'drop-identity'?" in line
