"""simplify and optimize: two pass lists, every pass checked on images of the data.

Simplify starts from the export, optimize from what simplify left; each is checked against what it
starts from, and the stage verify holds the result against the export.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.stage import OURS, Made, Stage, Watcher, below, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from onnx_passes.core.outcome import Outcome
    from onnx_passes.core.passlist import Item
    from pipeline.stages.content import Records
    from pipeline.stages.job import Job

EXACTNESS = ("exact", "close", "inexact")  # from strict to weak


class _Surgery(Stage):
    """A pass list on a model."""

    packages: ClassVar[tuple[str, ...]] = (
        *(OURS, "onnx", "onnx-ir", "onnxruntime", "numpy"),
        *("onnxsim", "onnx-graphsurgeon"),
    )
    code: ClassVar[tuple[str, ...]] = ("onnx_passes", "pipeline/stages/surgery.py")

    @abc.abstractmethod
    def paths(self, job: Job) -> tuple[Path, Path]:
        """Return the model to start from and the one to write."""

    @abc.abstractmethod
    def items(self, job: Job) -> tuple[Item, ...]:
        """Return the passes."""

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the model and the feeds."""
        return below(job, self.paths(job)[0], *([job.feeds] if job.data else []))

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return the rewritten model."""
        return [self.paths(job)[1]]

    def options(self, job: Job) -> dict[str, Any]:
        """Return the passes and the sizes of generated feeds."""
        from onnx_passes.core.passlist import to_text

        return {"passes": to_text(self.items(job)), "shapes": job.recipe.shapes}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``run``."""
        source, target = self.paths(job)
        passes = self.options(job)["passes"]
        return [command("run", source, "-o", target, "--passes", passes, *checking(job))]

    def run(self, job: Job, watcher: Watcher) -> Made:
        """Rewrite, check, and leave the mark that ``compile`` asks for."""
        from onnx_passes.core.checked import mark_outcome, unmarked
        from onnx_passes.core.manager import Settings, run_passes
        from onnx_passes.core.model_io import load, save
        from onnx_passes.report.document import to_document

        source, target = self.paths(job)
        original = load(source)
        settings = Settings(feeds=load_feeds(job), shapes=job.recipe.shapes, on_start=watcher.line)
        outcome = run_passes(unmarked(original), self.items(job), settings)
        _refuse_failure(outcome)
        mark_outcome(outcome, original, compared=True)
        save(outcome.model, target)
        return Made({**to_document(outcome), "exactness": _weakest(outcome)}, (target,))


class Simplify(_Surgery):
    """The generic clean-up that other passes build on."""

    name: ClassVar[str] = "simplify"
    about: ClassVar[str] = "the recipe's clean-up, checked"
    after: ClassVar[tuple[str, ...]] = ("fetch-check", "export")

    def why_not(self, job: Job) -> str:
        """Left out where the recipe names no passes for it."""
        return "" if job.recipe.simplify else "the recipe has no 'simplify'"

    def paths(self, job: Job) -> tuple[Path, Path]:
        """See the base class."""
        return job.original, job.simplified

    def items(self, job: Job) -> tuple[Item, ...]:
        """See the base class."""
        return job.recipe.simplify


class Optimize(_Surgery):
    """What makes the model one for the device."""

    name: ClassVar[str] = "optimize"
    about: ClassVar[str] = "the recipe's passes for the device, checked"
    after: ClassVar[tuple[str, ...]] = ("fetch-check", "export", "simplify")

    def paths(self, job: Job) -> tuple[Path, Path]:
        """See the base class."""
        return job.simplified, job.optimized

    def items(self, job: Job) -> tuple[Item, ...]:
        """See the base class."""
        return job.recipe.passes


def checking(job: Job) -> list[str]:
    """Return the words of a command line that give the feeds of this job."""
    if job.data is not None:
        return ["--feeds", str(job.feeds)]
    sizes = job.recipe.shapes.items()
    return [word for name, dims in sizes for word in ("--shape", f"{name}={_csv(dims)}")]


def load_feeds(job: Job) -> dict[str, Any] | None:
    """Return the images of this job; None where feeds are generated."""
    from onnx_passes.core.model_io import load
    from onnx_passes.numerics.feed_files import load as load_file

    return load_file(job.feeds, load(job.original)) if job.data else None


def weakest(items: Sequence[Item]) -> str:
    """Return what passes promise together, should all of them change something."""
    from onnx_passes.core.contract import Pass

    told = (item.exactness if isinstance(item, Pass) else weakest(item.items) for item in items)
    return EXACTNESS[max((EXACTNESS.index(word) for word in told), default=0)]


def _csv(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


def _refuse_failure(outcome: Outcome) -> None:
    """Refuse a model whose numbers were not all compared and found good."""
    from onnx_passes.core.contract import CheckError

    if outcome.ok:
        return
    blamed = next((step for step in outcome.steps if step.verdict == outcome.verdict), None)
    what = f"pass {blamed.text!r} {blamed.verdict}: {blamed.reason}" if blamed else outcome.verdict
    msg = f"{what}; 'onnx-passes bisect' finds the place"
    raise CheckError(msg)


def _weakest(outcome: Outcome) -> str:
    """Return what the kept changes promise together."""
    kept = [EXACTNESS.index(step.exactness) for step in outcome.steps if step.kept]
    return EXACTNESS[max(kept, default=0)]
