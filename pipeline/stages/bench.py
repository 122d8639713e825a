"""bench: the time of a run by batch size, on the device or on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.infer import device_words, on_what, provider_words
from pipeline.stages.stage import OURS, Made, Stage, Watcher, below, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.published import Published
    from pipeline.stages.content import Records
    from pipeline.stages.job import Job

REPEAT, WARMUP = 3, 1
CPU_LOOP = 3  # runs in a measurement; a device takes as many as `bench` does


class Bench(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "bench"
    about: ClassVar[str] = "the time of a run, by batch size"
    after: ClassVar[tuple[str, ...]] = ("export", "optimize", "compile")
    packages: ClassVar[tuple[str, ...]] = (OURS, "onnxruntime", "numpy")
    code: ClassVar[tuple[str, ...]] = (
        "ascend/ais_bench",
        "eval/providers.py",
        "pipeline/bench.py",
        "pipeline/bench_plan.py",
        "pipeline/published.py",
        "pipeline/data/published.json",
        "pipeline/stages/bench.py",
    )

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the models: both on the CPU, the compiled ones on a device."""
        if job.on_device:
            return below(job, *(job.compiled(batch) for batch in job.batches))
        return below(job, job.original, job.optimized)

    def outputs(self, job: Job) -> Sequence[Path]:  # noqa: ARG002, RUF100  none
        """Return nothing: it finds, and writes no file."""
        return []

    def options(self, job: Job) -> dict[str, Any]:
        """Return the batch sizes and what they run on."""
        published = job.recipe.published.get("throughput")
        return {"batches": job.batches, "published": published, **on_what(job)}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``bench``."""
        batches = ["--batch", ",".join(map(str, job.batches))]
        throughput = job.recipe.published.get("throughput")
        published = ["--published", throughput] if throughput else []
        if not job.on_device:
            models = (job.original, job.optimized)
            words = ["--loop", CPU_LOOP, *provider_words(job)]
            return [command("bench", *models, *batches, *published, *words)]
        om = job.optimized.with_suffix(".om")
        return [command("bench", om, *batches, *published, *device_words(job))]

    def run(self, job: Job, watcher: Watcher) -> Made:
        """Measure every model at every batch size, in turns."""
        from pipeline.bench import document, sweep
        from pipeline.bench_plan import Settings, plan

        settings = Settings(
            job.batches,
            loop=None if job.on_device else CPU_LOOP,
            warmup=WARMUP,
            device=job.settings.device,
            timeout_s=job.settings.timeout_s,
            provider=job.settings.provider,
        )
        om = job.optimized.with_suffix(".om")
        models = [om] if job.on_device else [job.original, job.optimized]
        rows = sweep(plan(models, settings, job.tools), REPEAT, watcher.progress)
        return Made(document(rows, REPEAT, WARMUP, _published(job)))


def _published(job: Job) -> Published | None:
    from pipeline.published import published

    name = job.recipe.published.get("throughput")
    return published(name) if name else None
