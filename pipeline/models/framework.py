"""Paddle, imported once: without its notes to its own developers, and with a clear error if absent.

The models of this package take ``paddle`` from here.
"""

from __future__ import annotations

import os
import warnings

from pipeline.errors import MissingExtraError

__all__ = ["paddle"]

_LOG_LEVEL = "GLOG_minloglevel"  # Paddle's C++ code reads it once, at import
_ERRORS_ONLY = "2"

_told = os.environ.get(_LOG_LEVEL)
os.environ[_LOG_LEVEL] = _ERRORS_ONLY if _told is None else _told
with warnings.catch_warnings():
    # Paddle looks for a compiler cache at import; nothing is compiled here.
    warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
    try:
        import paddle
    except ModuleNotFoundError as error:
        if error.name != "paddle":
            raise
        raise MissingExtraError(module="paddle", extra="paddle") from error
    finally:
        if _told is None:
            del os.environ[_LOG_LEVEL]
