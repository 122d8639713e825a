"""preprocess: a file for every record, as the inference tools read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.stages.content import Records
from pipeline.stages.stage import OURS, Made, Stage, Watcher, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.stages.job import Job


class Preprocess(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "preprocess"
    about: ClassVar[str] = "img_<n>.bin for every record"
    after: ClassVar[tuple[str, ...]] = ("fetch-check",)
    packages: ClassVar[tuple[str, ...]] = (OURS, "opencv-python-headless", "numpy", "lmdb")
    code: ClassVar[tuple[str, ...]] = ("eval", "pipeline/stages/preprocess.py")

    def why_not(self, job: Job) -> str:
        """Left out without data."""
        return job.why_no_data

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the records."""
        return {"records": Records(job.data)} if job.data else {}

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return the folder of inputs."""
        return [job.inputs]

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``eval preprocess``."""
        workers = job.settings.workers
        words = ["--workers", workers] if workers else []
        return [command("eval", "preprocess", "--data", job.data, "--out", job.inputs, *words)]

    def run(self, job: Job, watcher: Watcher) -> Made:
        """Write the inputs and their manifest."""
        from eval.preprocess import preprocess

        assert job.data is not None  # or it is left out
        workers = job.settings.workers
        manifest = preprocess(job.data, job.inputs, watcher.progress, workers=workers)
        bad = [record for record in manifest.records if record.reason is not None]
        reasons = sorted({record.reason for record in bad if record.reason})
        found = {"records": len(manifest.records), "bad": len(bad), "reasons": reasons}
        return Made(found, (job.inputs,))
