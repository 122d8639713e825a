"""The errors of the pipeline, each with the exit code that the command line returns.

Errors::

    PipelineError                 anything the pipeline refuses with a reason (exit code 2)
    ├── WeightsError              a weights file that cannot be read or does not fit (2)
    ├── FlowError                 the flow cannot start or go on with what it was given (2)
    │   └── StrictError           records are bad, and none may be (1)
    ├── ExportError               Paddle or paddle2onnx failed to write the model (3)
    └── MissingExtraError         an optional dependency is not installed (4)
"""

from __future__ import annotations

from typing import ClassVar


class PipelineError(Exception):
    """The root of every error this package raises on purpose; ``exit_code`` is the CLI's."""

    exit_code: ClassVar[int] = 2


class WeightsError(PipelineError):
    """A weights file cannot be read, or its tensors do not fit the model."""


class FlowError(PipelineError):
    """The flow cannot start or go on with what it was given."""


class StrictError(FlowError):
    """Records of the data are bad, and the user accepts none."""

    exit_code = 1


class ExportError(PipelineError):
    """The model could not be written as ONNX."""

    exit_code = 3


class MissingExtraError(PipelineError):
    """An optional dependency is missing; the message says how to install it."""

    exit_code = 4

    def __init__(self, *, module: str, extra: str) -> None:
        """Say that ``module`` is missing and that ``extra`` brings it."""
        super().__init__(
            f"module {module!r} is not installed; run: pip install 'ascend-onnx-passes[{extra}]'"
        )
