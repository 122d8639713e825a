"""The contract of a stage: what it needs, what it makes, and the command that does the same."""

from __future__ import annotations

import abc
import dataclasses
import shlex
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.stages.content import Records
    from pipeline.stages.job import Job

OURS = "ascend-onnx-passes"


class Watcher:
    """What the flow reports to while it runs; the terminal's version shows bars."""

    def stage(self, name: str, reason: str) -> None:
        """A stage starts, because of ``reason``."""

    def progress(self, done: int, total: int) -> None:
        """A part of the current stage is finished."""

    def line(self, text: str) -> None:
        """A tool that the current stage runs has printed a line."""


@dataclasses.dataclass(frozen=True)
class Made:
    """What a stage leaves.

    Attributes:
        result: What it found, as JSON values.
        outputs: The files and folders it wrote, all below the work folder.
    """

    result: dict[str, Any]
    outputs: tuple[Path, ...] = ()


class Stage(abc.ABC):
    """One stage of the flow.

    Attributes:
        name: How ``--from``, ``--to`` and ``--only`` call it.
        about: What it does, in one line.
        after: The stages whose results it uses.
        packages: Distributions whose versions may change what it makes.
        code: Our own modules and packages that may, from the top folder.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    code: ClassVar[tuple[str, ...]] = ()

    def why_not(self, job: Job) -> str:  # noqa: ARG002, RUF100  for those that may be left out
        """Return why it is left out of this run, or an empty string."""
        return ""

    @abc.abstractmethod
    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return what it reads, by name: for what is in the work folder its path there."""

    @abc.abstractmethod
    def outputs(self, job: Job) -> Sequence[Path]:
        """Return what it is going to write."""

    def options(self, job: Job) -> dict[str, Any]:  # noqa: ARG002, RUF100  for those without
        """Return what else its result depends on, as JSON values."""
        return {}

    @abc.abstractmethod
    def commands(self, job: Job) -> Sequence[str]:
        """Return the command lines that do the same, for a shell."""

    @abc.abstractmethod
    def run(self, job: Job, watcher: Watcher) -> Made:
        """Do it; every output appears whole or not at all."""


def command(*words: object) -> str:
    """Return a command line of ours; None leaves a word out."""
    return shlex.join(["onnx-passes", *(str(word) for word in words if word is not None)])


def below(job: Job, *paths: Path) -> dict[str, Path]:
    """Return paths in the work folder by their names there, a given model by what it is."""
    return {
        relative(job, path) if path.is_relative_to(job.work) else "the given model": path
        for path in paths
    }


def relative(job: Job, path: Path) -> str:
    """Return a path as it is called in the work folder, so that the folder may be moved."""
    return path.relative_to(job.work).as_posix() if path.is_relative_to(job.work) else str(path)
