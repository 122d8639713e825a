"""compile: one .om a batch size, with ATC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.stage import OURS, Made, Stage, Watcher, below, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ascend.atc.compiler import Compiled
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
        """Compile one batch size after the other; each file appears when ATC is done with it."""
        from ascend.atc.compiler import compile_model
        from ascend.toolkit import find_toolkit
        from onnx_passes.core.model_io import load
        from pipeline.cli.compile_request import Request, plans, refuse_unverified

        model, toolkit = load(job.optimized), find_toolkit(job.settings.toolkit)
        request = Request(job.optimized, job.soc, batches=job.batches)
        planned = plans(request, model, toolkit.version)
        refuse_unverified(model, job.optimized, toolkit.version, force=False)
        done: list[Compiled] = []
        for plan in planned:
            one = compile_model(
                plan.job, toolkit, timeout_s=job.settings.timeout_s, on_line=watcher.line
            )
            done.append(_refuse_failed(one))
            watcher.progress(len(done), len(planned))
        files = [one.file for one in done if one.file]
        told = zip(job.batches, done, files, strict=True)
        found = {str(batch): _document(one, file) for batch, one, file in told}
        names = {batch: one["file"] for batch, one in found.items()}
        about = {"toolkit": toolkit.version, "soc": job.soc, "files": names}
        return Made({**about, "compiled": found}, tuple(files))


def _refuse_failed(one: Compiled) -> Compiled:
    from ascend.atc.remedies import plain_remedy, remedy_for
    from ascend.errors import ToolFailedError

    if one.file is not None:
        return one
    first = one.report.errors[0] if one.report.errors else None
    remedy = remedy_for(first) if first else plain_remedy(one.output)
    advice = f"; {remedy.text}" if remedy else ""
    where = f"log, command and environment are in {one.job.failed}"
    msg = f"ATC on {one.job.flags.output}: {one.verdict}: {one.reason}{advice}; {where}"
    raise ToolFailedError(msg)


def _document(one: Compiled, file: Path) -> dict[str, Any]:
    return {
        "file": file.name,
        "bytes": one.size_bytes,
        "seconds": one.seconds,
        "arguments": one.job.flags.arguments(),
        "warnings": [f"{entry.code}: {entry.text}" for entry in one.report.warnings],
    }
