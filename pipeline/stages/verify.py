"""verify: the rewritten model against the export, and what GridSample makes in both."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.stage import Made, Stage, Watcher, below, command
from pipeline.stages.surgery import EXACTNESS, Optimize, Simplify, checking, load_feeds, weakest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from onnx_passes.numerics.oracle import Oracle
    from pipeline.stages.content import Records
    from pipeline.stages.job import Job


class Verify(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "verify"
    about: ClassVar[str] = "the rewritten model gives the numbers of the export"
    after: ClassVar[tuple[str, ...]] = ("fetch-check", "export", "simplify", "optimize")
    packages: ClassVar[tuple[str, ...]] = Optimize.packages
    code: ClassVar[tuple[str, ...]] = ("onnx_passes", "pipeline/stages/verify.py")

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return both models and the feeds."""
        return below(job, job.original, job.optimized, *([job.feeds] if job.data else []))

    def outputs(self, job: Job) -> Sequence[Path]:  # noqa: ARG002, RUF100  none
        """Return nothing: it finds, and writes no file."""
        return []

    def options(self, job: Job) -> dict[str, Any]:
        """Return the tolerance."""
        return {"tolerance": _tolerance(job), "shapes": job.recipe.shapes}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``diff``."""
        words = (*checking(job), "--tolerance", _tolerance(job))
        return [command("diff", job.original, job.optimized, *words)]

    def run(self, job: Job, watcher: Watcher) -> Made:  # noqa: ARG002, RUF100  a second of work
        """Compare the outputs, and the image that GridSample makes."""
        from onnx_passes.core.contract import CheckError
        from onnx_passes.core.model_io import load
        from onnx_passes.numerics.check import Claim, check_model
        from onnx_passes.numerics.oracle import Oracle
        from onnx_passes.report.document import finite, output_document

        original, optimized = load(job.original), load(job.optimized)
        oracle = Oracle(original, load_feeds(job), job.recipe.shapes).narrowed(optimized)
        claim = _tolerance(job)
        check = check_model(optimized, oracle, None, Claim(claim, claim))  # type: ignore[arg-type]  # one of EXACTNESS
        if check.verdict != "passed":
            msg = f"the rewritten model against the export: {check.verdict}: {check.reason}"
            raise CheckError(msg)
        outputs = [output_document(output) for output in check.outputs]
        rectified = _rectified(original, optimized, oracle)
        found = {"verdict": check.verdict, "feeds": oracle.describe(), "outputs": outputs}
        return Made(finite({**found, "rectified": rectified}))


def _tolerance(job: Job) -> str:
    """Return what the passes promise together: those that changed something, or may."""
    stages = ((Simplify.name, job.recipe.simplify), (Optimize.name, job.recipe.passes))
    told = [job.result(name).get("exactness") or weakest(items) for name, items in stages]
    return EXACTNESS[max(EXACTNESS.index(word) for word in told)]


def _rectified(original: ir.Model, optimized: ir.Model, oracle: Oracle) -> dict[str, Any] | None:
    """Compare what GridSample makes: with all passes, and with nothing else replaced.

    None where the export has not exactly one GridSample, or the rewritten model lacks its result.
    """
    import numpy as np

    from onnx_passes.core.manager import optimize
    from onnx_passes.numerics.compare import compare
    from onnx_passes.numerics.runner import run_model
    from onnx_passes.numerics.watch import expose

    names = [node.outputs[0].name or "" for node in original.graph if node.op_type == "GridSample"]
    made = {value.name for node in optimized.graph for value in node.outputs}
    if len(names) != 1 or names[0] not in made:
        return None
    (name,) = names
    alone = optimize(original, "decompose-grid-sample", check=False).model
    before, after, only = (
        run_model(expose(model, [name]), oracle.feeds[0])[name]
        for model in (original, optimized, alone)
    )
    moves = float(np.abs(before[0] - before[1]).max()) if len(before) > 1 else None
    every = {
        what: _told(compare(before, image)) for what, image in (("all", after), ("alone", only))
    }
    return {**every, "moves": moves, "tensor": name}


def _told(difference: Any) -> dict[str, Any]:  # noqa: ANN401  a Difference
    return {**dataclasses.asdict(difference), "sentence": difference.sentence()}
