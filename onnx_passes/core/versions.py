"""Versions of the packages that may change a graph or its numbers."""

from __future__ import annotations

import contextlib
import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Return the version of each of ``packages`` that is installed, in the order given."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
