"""What would run, and why: each stage against what it left the last time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from onnx_passes.core.versions import installed
from pipeline.stages.content import MISSING, code_digest, digest
from pipeline.stages.graph import STAGES, needed
from pipeline.stages.state import Basis, plain, read_state

if TYPE_CHECKING:
    from pipeline.stages.job import Job
    from pipeline.stages.stage import Stage
    from pipeline.stages.state import State

FORCED = "--force"
Kind = Literal["cached", "run", "perhaps", "left out", "not chosen"]


@dataclasses.dataclass(frozen=True)
class Status:
    """What becomes of a stage.

    Attributes:
        stage: The stage.
        kind: ``cached``: done before, with the same inputs; ``run``; ``perhaps``, in a plan: it
            runs if a stage before it makes something else; ``left out`` of this flow; ``not
            chosen``.
        reason: Why.
        state: What it left, if it is cached.
    """

    stage: Stage
    kind: Kind
    reason: str = ""
    state: State | None = None

    @property
    def forced(self) -> bool:
        """Whether it runs because the user wants it to, done or not."""
        return self.reason == FORCED


def plan(job: Job, chosen: frozenset[str], *, force: bool = False) -> list[Status]:
    """Return what would become of every stage; nothing runs and nothing is written."""
    found: list[Status] = []
    pending: set[str] = set()
    for stage in STAGES:
        status = _planned(stage, job, chosen, pending, force=force)
        if status.kind in {"run", "perhaps"}:
            pending.add(stage.name)
        if status.state is not None:
            job.states[stage.name] = status.state
        found.append(status)
    return found


def status_of(stage: Stage, job: Job, *, force: bool = False) -> Status:
    """Return what becomes of a stage if all before it are done."""
    if reason := stage.why_not(job):
        return Status(stage, "left out", reason)
    state, why = read_state(job.work, stage.name)
    if state is not None:
        why = basis_of(stage, job).changes(state.basis) or _tampered(job, state)
    if why or force:
        return Status(stage, "run", FORCED if force else why)
    return Status(stage, "cached", state=state)


def basis_of(stage: Stage, job: Job) -> Basis:
    """Return what the result of a stage depends on now."""
    return Basis(
        inputs={name: digest(what) for name, what in stage.inputs(job).items()},
        options=plain(stage.options(job)),
        versions=installed(stage.packages),
        code=code_digest((*stage.code, "pipeline/stages/stage.py", "pipeline/stages/job.py")),
    )


def _planned(
    stage: Stage, job: Job, chosen: frozenset[str], pending: set[str], *, force: bool
) -> Status:
    is_chosen = stage.name in chosen
    if not is_chosen and stage.name not in needed(chosen):
        return Status(stage, "not chosen")
    if reason := stage.why_not(job):
        return Status(stage, "left out", reason)
    if force and is_chosen:
        return Status(stage, "run", FORCED)
    if above := [name for name in stage.after if name in pending]:
        _, why = read_state(job.work, stage.name)
        changed = f"if {' or '.join(above)} makes something else"
        return Status(stage, "run", why) if why else Status(stage, "perhaps", changed)
    return status_of(stage, job)


def _tampered(job: Job, state: State) -> str:
    """Return which output is not as the stage left it, or an empty string."""
    for name, before in state.outputs.items():
        now = digest(job.work / name)
        if now != before:
            return f"its output {name} {'is gone' if now == MISSING else 'was changed'}"
    return ""
