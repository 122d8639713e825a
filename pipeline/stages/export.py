"""export: the network of the recipe with its weights, as ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.stages.fetch_check import only
from pipeline.stages.stage import OURS, Made, Stage, Watcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.stages.content import Records
    from pipeline.stages.job import Job


class Export(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "export"
    about: ClassVar[str] = "the network with its weights, from Paddle to ONNX"
    after: ClassVar[tuple[str, ...]] = ("fetch-check",)
    packages: ClassVar[tuple[str, ...]] = (OURS, "paddlepaddle", "paddle2onnx", "onnx", "onnx-ir")
    code: ClassVar[tuple[str, ...]] = (
        "pipeline/models",
        "pipeline/export.py",
        "pipeline/paddle2onnx_child.py",
        "pipeline/stages/networks.py",
    )

    def why_not(self, job: Job) -> str:
        """Left out where a model is given."""
        return "" if job.network else "a model is given (--model)"

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the weights."""
        return {"weights": job.weights} if job.weights else {}

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return the model."""
        return [job.original]

    def options(self, job: Job) -> dict[str, str]:
        """Return the network."""
        return {"network": job.recipe.network}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the stage itself: nothing else exports."""
        return only(job, self.name)

    def run(self, job: Job, watcher: Watcher) -> Made:  # noqa: ARG002, RUF100  Paddle tells nothing
        """Export."""
        if job.network and job.weights:
            job.network.export(job.original, job.weights)
        return Made({"bytes": job.original.stat().st_size}, (job.original,))
