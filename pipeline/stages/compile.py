"""compile: one .om a batch size, with ATC; a size that is compiled already is not again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.content import code_digest, digest
from pipeline.stages.parts import Parts
from pipeline.stages.stage import OURS, Made, Stage, Watcher, below, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ascend.atc.compiler import Compiled
    from ascend.atc.compiler import Job as AtcJob
    from ascend.toolkit import Toolkit
    from pipeline.stages.content import Records
    from pipeline.stages.job import Job


class Compile(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "compile"
    about: ClassVar[str] = "ATC makes one .om a batch size"
    after: ClassVar[tuple[str, ...]] = ("fetch-check", "optimize", "verify")
    packages: ClassVar[tuple[str, ...]] = (OURS, "onnx-ir")
    code: ClassVar[tuple[str, ...]] = (
        "ascend",
        "pipeline/cli/compile_request.py",
        "pipeline/stages/compile.py",
    )

    def why_not(self, job: Job) -> str:
        """Left out without a device."""
        return "" if job.on_device else "onnxruntime runs the .onnx itself (--backend ascend)"

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the rewritten model."""
        return below(job, job.optimized)

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return the compiled models, by the names that are most likely."""
        return [job.compiled(batch) for batch in job.batches]

    def options(self, job: Job) -> dict[str, Any]:
        """Return the chip, the batch sizes and the version of ATC."""
        version = job.toolkit.version if job.toolkit else None
        return {"soc": job.soc, "batches": job.batches, "toolkit": version}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``compile``."""
        batches = ",".join(map(str, job.batches))
        toolkit = ["--toolkit", job.settings.toolkit] if job.settings.toolkit else []
        words = ["--soc", job.soc, "--batch", batches, *toolkit]
        return [command("compile", job.optimized, *words)]

    def run(self, job: Job, watcher: Watcher) -> Made:
        """Compile one batch size after the other; those of an earlier run are kept."""
        from ascend.toolkit import find_toolkit
        from onnx_passes.core.model_io import load
        from pipeline.cli.compile_request import Request, plans, refuse_unverified

        model, toolkit = load(job.optimized), find_toolkit(job.settings.toolkit)
        request = Request(job.optimized, job.soc, batches=job.batches)
        planned = plans(request, model, toolkit.version)
        refuse_unverified(model, job.optimized, toolkit.version, force=False)
        parts = Parts(job.work, self.name, self._basis(job))
        found: dict[str, dict[str, Any]] = {}
        for plan in planned:
            one = parts.get(plan.label)
            if one is None:
                one = _compiled(plan.job, toolkit, job, watcher)
                parts.add(plan.label, job.work / one["file"], one)
            found[plan.label] = one
            watcher.progress(len(found), len(planned))
        names = {batch: one["file"] for batch, one in found.items()}
        about = {"toolkit": toolkit.version, "soc": job.soc, "files": names}
        outputs = tuple(job.work / name for name in names.values())
        return Made({**about, "compiled": found}, outputs)

    def _basis(self, job: Job) -> list[Any]:
        """Return what every batch size depends on."""
        from onnx_passes.core.versions import installed

        told = {key: value for key, value in self.options(job).items() if key != "batches"}
        model = digest(job.optimized)
        return [model, told, installed(self.packages), code_digest(self.code)]


def _compiled(planned: AtcJob, toolkit: Toolkit, job: Job, watcher: Watcher) -> dict[str, Any]:
    """Compile one batch size; the file appears when ATC is done with it."""
    from ascend.atc.compiler import compile_model

    timeout_s = job.settings.timeout_s
    one = compile_model(planned, toolkit, timeout_s=timeout_s, on_line=watcher.line)
    _refuse_failed(one)
    return {
        "file": one.file.name if one.file else "",
        "bytes": one.size_bytes,
        "seconds": one.seconds,
        "arguments": one.job.flags.arguments(),
        "warnings": [f"{entry.code}: {entry.text}" for entry in one.report.warnings],
    }


def _refuse_failed(one: Compiled) -> None:
    from ascend.atc.remedies import plain_remedy, remedy_for
    from ascend.errors import ToolFailedError

    if one.file is not None:
        return
    first = one.report.errors[0] if one.report.errors else None
    remedy = remedy_for(first) if first else plain_remedy(one.output)
    advice = f"; {remedy.text}" if remedy else ""
    where = f"log, command and environment are in {one.job.failed}"
    msg = f"ATC on {one.job.flags.output}: {one.verdict}: {one.reason}{advice}; {where}"
    raise ToolFailedError(msg)
