"""The tree of errors of this package.

Errors::

    EvalError                     data, a manifest, results or a model that cannot be used (2)
    ├── NonFiniteError            a model's output holds NaN or infinity (1)
    ├── BadRecordsError           records are bad, and none may be (1)
    ├── WorkerError               a process that prepares records has ended (3)
    ├── MissingProviderError      onnxruntime cannot run a model where it is asked to (4)
    └── MissingExtraError         a library of the extra ``eval`` is not installed (4)
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar


class EvalError(Exception):
    """The root of every error this package raises on purpose; ``exit_code`` is the CLI's."""

    exit_code: ClassVar[int] = 2


class NonFiniteError(EvalError):
    """A model's output holds NaN or infinity, so no text can be read from it."""

    exit_code = 1


class BadRecordsError(EvalError):
    """Records have no usable picture or label, and the user accepts none."""

    exit_code = 1


class WorkerError(EvalError):
    """A process that prepares records cannot be started or has ended."""

    exit_code = 3


class MissingProviderError(EvalError):
    """This onnxruntime lacks the provider that is asked for, or it does not start."""

    exit_code = 4


class MissingExtraError(EvalError):
    """A library of the extra ``eval`` is not installed; the message says how to get it."""

    exit_code = 4


def import_extra(name: str) -> Any:  # noqa: ANN401  the libraries of the extra have no usable types
    """Import and return a module of the extra ``eval``.

    Raises:
        MissingExtraError: If it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"cannot import {name} ({error}); pip install 'ascend-onnx-passes[eval]'"
        raise MissingExtraError(msg) from error
