"""infer: what each model makes of every record; the original always on the CPU.

A model and batch size that is done is not run again when the stage was interrupted in a later one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.content import code_digest, digest
from pipeline.stages.job import REFERENCE
from pipeline.stages.parts import Parts
from pipeline.stages.stage import OURS, Made, Stage, Watcher, below, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.stages.content import Records
    from pipeline.stages.job import Job


class Infer(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "infer"
    about: ClassVar[str] = "img_<n>_0.bin for every record, of each model"
    after: ClassVar[tuple[str, ...]] = ("export", "optimize", "compile", "preprocess")
    packages: ClassVar[tuple[str, ...]] = (OURS, "onnxruntime", "numpy")
    code: ClassVar[tuple[str, ...]] = (
        "ascend/ais_bench",
        "eval/providers.py",
        "pipeline/infer.py",
        "pipeline/ort_model.py",
        "pipeline/stages/infer.py",
    )

    def why_not(self, job: Job) -> str:
        """Left out without data."""
        return job.why_no_data

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the models and the preprocessed records."""
        return below(job, job.original, *_models(job), job.inputs)

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return one folder a model and batch size."""
        return [results(job, run) for run in job.runs()]

    def options(self, job: Job) -> dict[str, Any]:
        """Return the batch sizes and what they run on."""
        batches = [job.reference_batch, *job.batches]
        return {"batches": batches, "cpu": job.cpu, **on_what(job)}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``infer``, once for each folder."""
        found = [_command(job, job.original, REFERENCE, job.reference_batch)]
        for batch in job.batches:
            found.append(_command(job, job.model_at(batch), f"bs{batch}", batch))
        return found

    def run(self, job: Job, watcher: Watcher) -> Made:
        """Run every model on every record, as far as that is not done."""
        (job.work / "results").mkdir(exist_ok=True)
        parts = Parts(job.work, self.name, self._basis(job))
        found: dict[str, dict[str, Any]] = {}
        for run, (model, batch) in _runs(job).items():
            name = f"{run} {batch} {digest(model)}"
            record = parts.get(name)
            if record is None:
                record = _infer(job, run, watcher)
                parts.add(name, results(job, run), record)
            found[run] = record
        return Made(found, tuple(self.outputs(job)))

    def _basis(self, job: Job) -> list[Any]:
        """Return what every run depends on besides its model."""
        from onnx_passes.core.versions import installed

        told = [job.cpu, on_what(job), installed(self.packages), code_digest(self.code)]
        return [digest(job.inputs), *told]


def _runs(job: Job) -> dict[str, tuple[Path, int]]:
    """Return model and batch size of each run."""
    ours = {f"bs{batch}": (job.model_at(batch), batch) for batch in job.batches}
    return {REFERENCE: (job.original, job.reference_batch), **ours}


def _infer(job: Job, run: str, watcher: Watcher) -> dict[str, Any]:
    from ascend.ais_bench.runner import Job as DeviceJob
    from pipeline.infer import infer_on_device, infer_with_onnxruntime

    model, batch = _runs(job)[run]
    target = results(job, run)
    if job.on_device and run != REFERENCE:
        settings = job.settings
        device = DeviceJob(model, settings.device, batch, timeout_s=settings.timeout_s)
        return infer_on_device(device, [job.inputs], target, job.tools, watcher.line)
    provider = None if run == REFERENCE else job.provider
    return infer_with_onnxruntime(
        model, [job.inputs], target, batch=batch, provider=provider, on_progress=watcher.progress
    )


def on_what(job: Job) -> dict[str, Any]:
    """Return what figures of a device depend on besides the model."""
    if not job.on_device:
        return {"hardware": job.hardware}
    version = job.toolkit.version if job.toolkit else None
    return {"hardware": job.hardware, "toolkit": version, "python": job.settings.python}


def results(job: Job, run: str) -> Path:
    """Return the folder of what a model makes."""
    return job.work / "results" / run


def _models(job: Job) -> list[Path]:
    return list(dict.fromkeys(job.model_at(batch) for batch in job.batches))


def _command(job: Job, model: Path, run: str, batch: int) -> str:
    words: list[Any] = ["--inputs", job.inputs, "--out", results(job, run), "--batch", batch]
    if model.suffix == ".om":
        words += device_words(job)
    elif run != REFERENCE:
        words += provider_words(job)
    return command("infer", model, *words)


def provider_words(job: Job) -> list[Any]:
    """Return the words of a command line that say where onnxruntime runs a model."""
    settings = job.settings
    if settings.provider == "cpu":
        return []
    return ["--provider", settings.provider, "--device", settings.device]


def device_words(job: Job) -> list[Any]:
    """Return the words of a command line that say where ais_bench and the device are."""
    settings = job.settings
    toolkit = ["--toolkit", settings.toolkit] if settings.toolkit else []
    return [*toolkit, "--python", settings.python, "--device", settings.device]
