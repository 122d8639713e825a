"""Runs the stages that are not done, one after the other, and notes each that is.

The state of a stage is forgotten before it runs and written when its outputs are in place, so that
a run that was cut off anywhere goes on at the first stage that is not done.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import re
import shutil
import time
from typing import TYPE_CHECKING

from pipeline.errors import FlowError
from pipeline.stages.content import digest
from pipeline.stages.fetch_check import refuse_bad_records
from pipeline.stages.graph import STAGES, needed
from pipeline.stages.lock import locked
from pipeline.stages.planner import Status, basis_of, status_of
from pipeline.stages.stage import relative
from pipeline.stages.state import State, drop_state, plain, write_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.stages.job import Job
    from pipeline.stages.stage import Stage, Watcher

_logger = logging.getLogger(__name__)
# What a killed run leaves: folders and files that were being made, under names of mkdtemp's making.
_SCRATCH = re.compile(
    r"\.(onnx-passes-[a-z0-9_]{8}|(bin|data|original|bs[0-9]+|.+_bs[0-9]+)\.[a-z0-9_]{8}"
    r"|onnx-passes-feeds\.[0-9]+\.npz|.+\.[0-9]+\.part)"
)
_IN = ("", "results", "report", ".flow")


def run(job: Job, chosen: frozenset[str], watcher: Watcher, *, force: bool = False) -> list[Status]:
    """Run the chosen stages as far as they are not done.

    Args:
        job: What to run.
        chosen: Names of stages; those before them must be done.
        watcher: Is told what happens.
        force: Run the chosen ones although they are done.

    Returns:
        What became of every stage.

    Raises:
        FlowError: If another run holds the folder, a stage that is not chosen has to run first, or
            something cannot be written.
        StrictError: If records are bad and none may be; before anything long runs.
    """
    before = needed(chosen)
    found: list[Status] = []
    with locked(job.work):
        _clean(job)
        for stage in STAGES:
            if stage.name not in chosen | before:
                found.append(Status(stage, "not chosen"))
                continue
            status = _reading(stage, job, force=force and stage.name in chosen)
            if status.kind == "run":
                _refuse_unchosen(status, chosen)
                status = dataclasses.replace(status, state=_run(status, job, watcher))
            if status.state is not None:
                job.states[stage.name] = status.state
            refuse_bad_records(job)
            found.append(status)
    return found


def _reading(stage: Stage, job: Job, *, force: bool) -> Status:
    with _one_line(stage.name, job):
        return status_of(stage, job, force=force)


def _refuse_unchosen(status: Status, chosen: frozenset[str]) -> None:
    if status.stage.name not in chosen:
        msg = (
            f"stage {status.stage.name!r} has to run first ({status.reason}); leave --from and "
            "--only out, or start there"
        )
        raise FlowError(msg)


def _run(status: Status, job: Job, watcher: Watcher) -> State:
    """Run a stage and note that it is done."""
    stage = status.stage
    watcher.stage(stage.name, status.reason)
    _logger.info("%s: %s", stage.name, status.reason)
    with _one_line(stage.name, job):
        drop_state(job.work, stage.name, parts=status.forced)
        basis = basis_of(stage, job)
        started = time.perf_counter()
        made = stage.run(job, watcher)
        state = State(
            stage=stage.name,
            basis=basis,
            outputs={relative(job, path): digest(path) for path in made.outputs},
            result=plain(made.result),
            command=list(stage.commands(job)),
            seconds=time.perf_counter() - started,
            finished=datetime.datetime.now(datetime.timezone.utc).isoformat(),
        )
        write_state(job.work, state)
    return state


@contextlib.contextmanager
def _one_line(stage: str, job: Job) -> Iterator[None]:
    """Say what the system refused: a full disk, a folder that may not be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"stage {stage}: cannot use {error.filename or job.work}: {error.strerror or error}"
        raise FlowError(msg) from error


def _clean(job: Job) -> None:
    """Remove what a killed run was making; nobody else is in the folder now."""
    for name in _IN:
        folder = job.work / name
        for path in folder.iterdir() if folder.is_dir() else ():
            if _SCRATCH.fullmatch(path.name):
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
