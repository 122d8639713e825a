"""What is known of one CANN version; read from the files in ``data`` by ``files``."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

from ascend.errors import AscendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ascend.op_support.query import Certainty

_VERSION = re.compile(r"\d+(\.\d+)+(\.RC\d+)?(\.(alpha|beta)\d+)?", re.IGNORECASE | re.ASCII)
_MAX_VERSION = 40


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a datum is written down."""

    text: str
    certainty: Certainty
    cann: str


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of the AI Core: dtypes by position, or None if they are chosen at compile time."""

    name: str
    inputs: tuple[frozenset[str], ...] | None
    outputs: tuple[frozenset[str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Engines:
    """Where one ONNX operator runs."""

    source: Source
    mapping: str
    ai_core: tuple[Kernel, ...]
    ai_cpu: tuple[str, ...]
    rules: tuple[str, ...]
    note: str


@dataclasses.dataclass(frozen=True)
class Observation:
    """An operator that a version was seen to take in graphs of some opsets."""

    source: Source
    opsets: frozenset[int]
    fact: str


@dataclasses.dataclass(frozen=True)
class Release:
    """What one data file says; empty where it says nothing.

    Attributes:
        cann: The version.
        opsets: All opsets the version takes.
        listed: Its list of operators.
        registered: The opsets of single operators.
        observed: By operator.
        engines: By SoC and operator.
        sources: Of ``opsets``, ``listed`` and ``registered``, where they are there.
    """

    cann: str
    opsets: frozenset[int]
    listed: frozenset[str]
    registered: Mapping[str, frozenset[int]]
    observed: Mapping[str, Observation]
    engines: Mapping[str, Mapping[str, Engines]]
    sources: Mapping[str, Source]


def version_key(cann: str) -> tuple[tuple[int, int], ...]:
    """Return what orders versions: 5.0.4.6 < 6.0.RC1 < 6.0.1 < 8.1.RC1.alpha1 < 8.1.RC1.

    Raises:
        AscendError: For what is no version.
    """
    if len(cann) > _MAX_VERSION or not _VERSION.fullmatch(cann):
        msg = (
            f"CANN version {cann[:_MAX_VERSION]!r} is not one; it is written as 8.1.RC1 or 5.0.4.6"
        )
        raise AscendError(msg)
    return (*(_part(part) for part in cann.lower().split(".")), (0, 0))


def _part(part: str) -> tuple[int, int]:
    """Rank a part: alpha, beta, (nothing more), RC, number."""
    for rank, word in ((-3, "alpha"), (-2, "beta"), (1, "rc")):
        if part.startswith(word):
            return rank, int(part[len(word) :])
    return 2, int(part)
