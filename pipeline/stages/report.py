"""report: all that was found, as one web page and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.stage import OURS, Made, Stage, Watcher, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.stages.content import Records
    from pipeline.stages.job import Job


class Report(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "report"
    about: ClassVar[str] = "one web page and JSON of all that was found"
    after: ClassVar[tuple[str, ...]] = (
        *("fetch-check", "export", "simplify", "optimize", "verify", "lint", "compile"),
        *("preprocess", "infer", "score", "bench"),
    )
    packages: ClassVar[tuple[str, ...]] = (OURS,)
    code: ClassVar[tuple[str, ...]] = ("pipeline/report", "onnx_passes/report")

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:  # noqa: ARG002, RUF100  see options
        """Return nothing: it reads what the other stages left."""
        return {}

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return both files."""
        return [job.work / "report" / name for name in ("report.html", "report.json")]

    def options(self, job: Job) -> dict[str, Any]:
        """Return when each stage ended: whatever ran again is told again."""
        return {name: state.finished for name, state in job.states.items() if name != self.name}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``flow report``."""
        return [command("flow", "report", job.work)]

    def run(self, job: Job, watcher: Watcher) -> Made:  # noqa: ARG002, RUF100  a moment
        """Write both files."""
        from pipeline.report.write import write_report

        return Made({}, write_report(job.work))
