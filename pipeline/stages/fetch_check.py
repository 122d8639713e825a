"""fetch-check: is all there that the run starts from? Render words where no data are given."""

from __future__ import annotations

import importlib.util
import os
import platform
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.errors import FlowError, MissingExtraError, StrictError
from pipeline.stages.content import Records, digest
from pipeline.stages.data_sample import feeds_of
from pipeline.stages.origin import files, refuse_other_head
from pipeline.stages.rendering import RENDER_SEED, render
from pipeline.stages.stage import OURS, Made, Stage, Watcher, command, relative

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.stages.job import Job

PACKAGES = (OURS, "onnx", "onnx-ir", "onnxruntime", "onnxsim", "numpy")
_EXPORT = ("paddle", "paddle2onnx")


class FetchCheck(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "fetch-check"
    about: ClassVar[str] = "what the run starts from is there; render words without --data"
    packages: ClassVar[tuple[str, ...]] = (*PACKAGES, "opencv-python-headless", "Pillow", "lmdb")
    code: ClassVar[tuple[str, ...]] = (
        "eval",
        "pipeline/stages/fetch_check.py",
        "pipeline/stages/data_sample.py",
        "pipeline/stages/rendering.py",
    )

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return what the user gave, or what ships."""
        found: dict[str, Path | Records] = {**started_from(job)}
        if job.settings.data is not None:
            found["records"] = Records(job.settings.data)
        return found

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return the rendered words and the images that the passes are checked on."""
        rendered = [job.data] if job.data and job.settings.data is None else []
        return [*rendered, *([job.feeds] if job.data else [])]

    def options(self, job: Job) -> dict[str, Any]:
        """Return what is to be rendered, and what the report says of the recipe."""
        return {
            "recipe": [job.recipe.name, job.recipe.title],
            "published": job.recipe.published,
            "words": None if job.settings.data else {**job.recipe.words, "seed": RENDER_SEED},
            "backend": job.settings.backend,
            "batches": job.batches,
            "hardware": job.hardware,
            "toolkit": job.toolkit.version if job.toolkit else None,
            "left out": _left_out(job),
        }

    def commands(self, job: Job) -> Sequence[str]:
        """Return the stage itself; on a device, what looks at the tools."""
        doctor = [command("doctor")] if job.on_device else []
        return [*doctor, *only(job, self.name)]

    def run(self, job: Job, watcher: Watcher) -> Made:
        """Look at everything before anything long starts."""
        for what, path in started_from(job).items():
            if not path.exists():
                msg = f"{what} {path}: there is no such file; give one that exists"
                raise FlowError(msg)
        _refuse_missing_tools(job)
        if job.given:
            refuse_other_head(job.recipe, job.given, f"model {job.settings.model}")
        about = {
            "recipe": {"name": job.recipe.name, "title": job.recipe.title},
            "published": job.recipe.published,
            "backend": job.settings.backend,
            "hardware": job.hardware,
            "provider": None if job.on_device else job.provider.full_name,
            "from_device": job.on_device or job.provider.on_device,
            "batches": job.batches,
            "models": {"original": relative(job, job.original), "optimized": job.optimized.name},
            "left_out": _left_out(job),
            "machine": _machine(),
            "digests": {name: digest(path) for name, path in self.inputs(job).items()},
        }
        if job.data is None:
            return Made({**about, "data": None})
        if job.settings.data is None:
            render(job.work, job.data, job.recipe.words)
        data = {"path": str(job.data), "rendered": job.settings.data is None}
        data |= feeds_of(job, watcher)
        return Made({**about, "data": data}, tuple(self.outputs(job)))


def started_from(job: Job) -> dict[str, Path]:
    """Return the files of the model that the flow starts from, by what they are."""
    if job.source is None and job.settings.model:
        return {"model": job.settings.model}
    return files(job.source) if job.source else {}


def refuse_bad_records(job: Job) -> None:
    """End the run where records are bad and the user is strict; the stage itself is done.

    Raises:
        StrictError: Then.
    """
    data = job.result(FetchCheck.name).get("data")
    if job.settings.strict and data and data["bad"]:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in data["bad"].items())
        count, total = sum(data["bad"].values()), sum(data["records"].values())
        msg = (
            f"{count} of {total} records are bad ({reasons}), the first is {data['first_bad']}; "
            "'eval preprocess' lists them, without --strict they count as wrong"
        )
        raise StrictError(msg)


def only(job: Job, stage: str) -> list[str]:
    """Return the command that runs one stage of this flow."""
    settings = job.settings
    given = {
        "--work": settings.work,
        "--model": settings.model,
        "--data": settings.data,
        "--checkpoint": settings.weights,
        "--inference": settings.inference,
        "--paddleocr": settings.paddleocr,
        "--config": settings.config,
        "--paddle-python": settings.paddle_python,
    }
    words = [word for name, value in given.items() if value for word in (name, value)]
    return [command("flow", "run", job.recipe.text, *words, "--only", stage)]


def _left_out(job: Job) -> dict[str, str]:
    from pipeline.stages.graph import STAGES

    reasons = {stage.name: stage.why_not(job) for stage in STAGES}
    return {name: reason for name, reason in reasons.items() if reason}


def _refuse_missing_tools(job: Job) -> None:
    for module in _EXPORT if job.source and not job.source.onnx else ():
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module=module, extra="paddle")
    if job.on_device:
        from ascend.ais_bench.runner import find_ais_bench
        from ascend.toolkit import find_toolkit

        find_ais_bench(job.settings.python, find_toolkit(job.settings.toolkit))


def _machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processors": os.cpu_count() or 0,
        "python": platform.python_version(),
    }
