"""Passes that misbehave on purpose, and a registry that forgets them after each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from onnx_passes.core import registry
from onnx_passes.core.contract import Pass, PassResult

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from onnx_passes.core.contract import Exactness

    Edit = Callable[[ir.Model], object]
    Planter = Callable[..., Pass]


@pytest.fixture(autouse=True)
def registry_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget, after the test, the passes that it registers."""
    registry.passes()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


@pytest.fixture(scope="session")
def plant() -> Planter:
    """Return a maker of passes: ``plant(edit)`` is a pass that runs ``edit`` on the model."""
    return _plant


def _plant(edit: Edit, name: str = "planted", exactness: Exactness = "exact") -> Pass:
    def run(_: Pass, model: ir.Model) -> object:
        answer = edit(model)
        return answer if isinstance(answer, PassResult) else PassResult()

    return type("Planted", (Pass,), {"name": name, "exactness": exactness, "run": run})()  # type: ignore[no-any-return]
