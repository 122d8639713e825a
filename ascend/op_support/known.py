"""What the data files say of one CANN version, also where there is no file of that version.

Operators and opsets are added, seldom taken away. So an older file that has one counts as yes, a
newer file that lacks it as no, and anything else is not known. An answer that is not from the file
of the version itself is ``unverified``. Engines are never taken from a newer version.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from ascend.op_support.data import version_key
from ascend.op_support.files import DATA, releases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ascend.op_support.data import Engines, Release, Source
    from ascend.op_support.query import Why


class Claim(NamedTuple):
    """Whether something holds (None: not known), why, and where that is from."""

    holds: bool | None
    why: Why
    reason: str
    source: Source


class Known:
    """The knowledge of one version and one chip.

    Args:
        cann: As 8.1.RC1.
        soc: As Ascend310P3.
        folder: Where the data files are.

    Raises:
        AscendError: If ``cann`` is no version or a data file cannot be used.
    """

    def __init__(self, cann: str, soc: str, folder: Path = DATA) -> None:
        """Sort the data files into older and newer ones, the nearest first."""
        self.cann = cann
        key = version_key(cann)
        files = releases(folder)
        self._older = [each for each in files if version_key(each.cann) <= key][::-1]
        self._newer = [each for each in files if version_key(each.cann) > key]
        self._exact = next((r for r in self._older if version_key(r.cann) == key), None)
        self.table = _first(self._older, lambda release: soc in release.engines)
        self._engines: Mapping[str, Engines] = self.table.engines[soc] if self.table else {}

    @property
    def neighbours(self) -> list[str]:
        """Return the nearest versions with data, or nothing if the version itself has data."""
        if self._exact is not None:
            return []
        return [release.cann for release in (*self._older[:1], *self._newer[:1])]

    @property
    def has_registrations(self) -> bool:
        """Return whether opsets are known for single operators, and not only as one range."""
        return any(release.registered for release in self._older)

    def opset(self, opset: int) -> Claim | None:
        """Return whether models of that opset are taken at all; None without any data."""
        older = _first(self._older, lambda release: bool(release.opsets))
        newer = _first(self._newer, lambda release: bool(release.opsets))
        if older and (opset in older.opsets or older is self._exact):
            return self._range(older, opset, holds=opset in older.opsets)
        if newer and opset not in newer.opsets:
            return self._range(newer, opset, holds=False)
        nearest = older or newer
        return self._range(nearest, opset, holds=None) if nearest else None

    def operator(self, name: str, opset: int) -> Claim | None:
        """Return whether the parser takes an operator in a model of that opset."""
        if registered := _first(self._older, lambda release: name in release.registered):
            opsets, source = registered.registered[name], registered.sources["registered"]
            reason = f"registered for opset {ranges(opsets)}, the model has {opset}"
            holds = opset in opsets or (False if registered is self._exact else None)
            return Claim(holds, "opset", reason, self._marked(source))
        claim = self._listed(name)
        if claim and claim.holds:
            return self._newer_doubt(name, opset) or self._range_doubt(opset) or claim
        seen = _first(self._older, lambda release: name in release.observed)
        if seen is None:
            return claim
        observed = seen.observed[name]
        source = self._marked(observed.source)
        if opset in observed.opsets:
            return Claim(True, "kernel", observed.fact, source)
        reason = f"{observed.fact}; nothing is known of opset {opset}"
        return Claim(None, "opset", reason, source)

    def accepted_opsets(self, name: str) -> frozenset[int]:
        """Return the opsets under which an operator is taken; empty where that is not known."""
        if registered := _first(self._older, lambda release: name in release.registered):
            return registered.registered[name]
        listed = self._listed(name)
        documented = _first(self._older, lambda release: bool(release.opsets))
        return documented.opsets if listed and listed.holds and documented else frozenset()

    def engines(self, name: str) -> Engines | None:
        """Return where an operator runs, or None where the table has it not."""
        found = self._engines.get(name)
        if found is None:
            return None
        source = self._marked(found.source)
        if found.mapping.startswith("assumed"):
            source = dataclasses.replace(source, certainty="unverified")
        return dataclasses.replace(found, source=source)

    def _newer_doubt(self, name: str, opset: int) -> Claim | None:
        """Return that a newer version registers an operator, but not for that opset."""
        newer = _first(self._newer, lambda release: name in release.registered)
        if newer is None or opset in newer.registered[name]:
            return None
        reason = f"CANN {newer.cann} registers it for opset {ranges(newer.registered[name])} only"
        reason += f", the model has {opset}; what CANN {self.cann} takes is not known"
        return Claim(None, "opset", reason, self._marked(newer.sources["registered"]))

    def _range_doubt(self, opset: int) -> Claim | None:
        claim = self.opset(opset)
        return None if claim is None or claim.holds else claim

    def _range(self, release: Release, opset: int, *, holds: bool | None) -> Claim:
        source = release.sources["opsets"]
        reason = f"CANN {source.cann} takes opset {ranges(release.opsets)}, the model has {opset}"
        if holds is None:
            reason += f"; what CANN {self.cann} takes is not known"
        return Claim(holds, "opset range", reason, self._marked(source))

    def _listed(self, name: str) -> Claim | None:
        """Return whether an operator is in the lists; None without any."""
        older = _first(self._older, lambda release: bool(release.listed))
        if older and (name in older.listed or older is self._exact):
            holds = name in older.listed
            reason = f"{'in' if holds else 'not in'} the list of operators of CANN {older.cann}"
            return Claim(holds, "not listed", reason, self._marked(older.sources["listed"]))
        # The file of the version itself counts as newer: its registrations are no full list.
        newer = _first([*self._own(), *self._newer], lambda release: bool(_names(release)))
        lacking = [each for each in (older, newer) if each and name not in _names(each)]
        if not lacking:
            return None
        reason = "not among the operators of CANN " + " and ".join(r.cann for r in lacking)
        source = lacking[-1].sources["listed" if lacking[-1].listed else "registered"]
        unverified = dataclasses.replace(source, certainty="unverified")
        if newer in lacking:
            return Claim(False, "not listed", reason, unverified)
        reason += f"; whether CANN {self.cann} has it is not known"
        return Claim(None, "not listed", reason, unverified)

    def _own(self) -> Iterable[Release]:
        return () if self._exact is None else (self._exact,)

    def _marked(self, source: Source) -> Source:
        """Return the source, unverified if it speaks of another version."""
        if self._exact is not None and source.cann == self._exact.cann:
            return source
        return dataclasses.replace(source, certainty="unverified")


def ranges(opsets: Iterable[int]) -> str:
    """Return opsets as text: 11, 16-18."""
    parts: list[list[int]] = []
    for opset in sorted(opsets):
        if parts and opset == parts[-1][-1] + 1:
            parts[-1][1:] = [opset]
        else:
            parts.append([opset])
    return ", ".join("-".join(map(str, part)) for part in parts)


def _names(release: Release) -> set[str]:
    return {*release.listed, *release.registered}


def _first(files: Iterable[Release], has: Callable[[Release], bool]) -> Release | None:
    return next((release for release in files if has(release)), None)
