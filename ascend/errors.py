"""The tree of errors of this package.

Errors::

    AscendError                   a model, a file, a flag or a name that cannot be used (2)
    ├── UnverifiedError           a model that no numeric check has passed (1)
    ├── ToolFailedError           atc, npu-smi, ais_bench or set_env.sh failed (3)
    └── MissingToolError          one of them, or a device, is not there (4)
"""

from __future__ import annotations

from typing import ClassVar


class AscendError(Exception):
    """The root of every error this package raises on purpose; ``exit_code`` is the CLI's."""

    exit_code: ClassVar[int] = 2


class UnverifiedError(AscendError):
    """A model that no numeric check has passed is not compiled unless that is asked for."""

    exit_code = 1


class ToolFailedError(AscendError):
    """An external tool ran and failed; the message holds its command, its reason and its log."""

    exit_code = 3


class MissingToolError(AscendError):
    """An external tool or a device is not there; the message says how to get it."""

    exit_code = 4
