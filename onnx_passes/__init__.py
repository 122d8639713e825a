"""Surgery on ONNX graphs that can be trusted: passes, each checked numerically.

::

    from onnx_passes import optimize

    outcome = optimize("model.onnx", "onnxsim,decompose-grid-sample")
    assert outcome.ok, [step.reason for step in outcome.blamed]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# The sub-package is imported first: importing it later would replace the function ``passes`` in
# this namespace by the module.
import onnx_passes.passes  # noqa: F401
from onnx_passes.core.contract import Note, Pass, PassError, PassResult
from onnx_passes.core.registry import get, passes, register

if TYPE_CHECKING:
    from onnx_passes.core.manager import optimize

__all__ = ["Note", "Pass", "PassError", "PassResult", "get", "optimize", "passes", "register"]


def __getattr__(name: str) -> object:
    """Import ``optimize`` when it is first used: it brings numpy, onnx and onnxruntime along."""
    if name == "optimize":
        from onnx_passes.core.manager import optimize

        return optimize
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
