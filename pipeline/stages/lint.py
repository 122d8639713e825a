"""lint: what ATC will say of the rewritten model. It is noted, and ATC has the last word."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.stage import OURS, Made, Stage, Watcher, below, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from pipeline.stages.content import Records
    from pipeline.stages.job import Job

_logger = logging.getLogger(__name__)
Sizes = dict[str, tuple[int, ...]]


class Lint(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "lint"
    about: ClassVar[str] = "what ATC will refuse or run on the AI CPU"
    after: ClassVar[tuple[str, ...]] = ("fetch-check", "optimize")
    packages: ClassVar[tuple[str, ...]] = (OURS, "onnx", "onnx-ir")
    code: ClassVar[tuple[str, ...]] = ("ascend", "onnx_passes", "pipeline/stages/lint.py")

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the rewritten model."""
        return below(job, job.optimized)

    def outputs(self, job: Job) -> Sequence[Path]:  # noqa: ARG002, RUF100  none
        """Return nothing: it finds, and writes no file."""
        return []

    def options(self, job: Job) -> dict[str, Any]:
        """Return the chip, the version and the largest batch."""
        return {"soc": job.soc, "cann": job.cann, "batch": max(job.batches)}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``lint``."""
        words = [job.optimized, "--soc", job.soc, "--cann", job.cann]
        if job.optimized.is_file():
            from onnx_passes.core.model_io import load

            for name, sizes in _sizes(load(job.optimized), max(job.batches)).items():
                words += ["--shape", f"{name}={','.join(map(str, sizes))}"]
        return [command("lint", *words)]

    def run(self, job: Job, watcher: Watcher) -> Made:  # noqa: ARG002, RUF100  a second of work
        """Look every node up."""
        from ascend.lint.fix import fix_passes
        from ascend.lint.linter import Target, lint
        from ascend.soc import normalise
        from onnx_passes.core.model_io import load

        model = load(job.optimized)
        sizes = _sizes(model, max(job.batches))
        target = Target(job.cann, normalise(job.soc))
        findings = lint(_shaped(model, sizes), target)
        levels = [finding.level for finding in findings]
        counts = {level: levels.count(level) for level in ("error", "warning", "info")}
        told = [
            {
                "code": finding.code,
                "level": finding.level,
                "subject": finding.subject.text,
                "why": finding.why,
            }
            for finding in findings
            if finding.level != "info"
        ]
        about = {"soc": target.soc, "cann": job.cann, "shapes": sizes}
        return Made({**about, "counts": counts, "findings": told, "fix": fix_passes(findings)})


def _sizes(model: ir.Model, batch: int) -> Sizes:
    """Return the sizes of the inputs of which only the batch is open."""
    from onnx_passes.numerics.feeds import graph_inputs

    found = {}
    for value in graph_inputs(model):
        first, *rest = value.shape or [None]
        if value.shape and not isinstance(first, int) and all(isinstance(n, int) for n in rest):
            found[value.name or ""] = (batch, *(int(n) for n in rest if isinstance(n, int)))
    return found


def _shaped(model: ir.Model, sizes: Sizes) -> ir.Model:
    """Return the model with the shapes that follow from sizes, as far as inference gets."""
    import json

    from onnx_passes.core.contract import PassError
    from onnx_passes.core.manager import optimize

    entries = ";".join(f"{name}={','.join(map(str, dims))}" for name, dims in sizes.items())
    passes = f"pin-shape{{shapes={json.dumps(entries)}}}" if sizes else "infer-shapes"
    try:
        outcome = optimize(model, passes, check=False)
    except PassError as error:  # a model that inference cannot stand is linted as it is
        _logger.warning("shapes were not inferred: %s", error)
        return model
    return outcome.model
