"""score: the accuracy of what was read, and what the rewritten model reads otherwise."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.infer import results
from pipeline.stages.job import REFERENCE
from pipeline.stages.stage import OURS, Made, Stage, Watcher, below, command
from pipeline.stages.state import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from eval.evaluation import Evaluation
    from pipeline.stages.content import Records
    from pipeline.stages.job import Job


class Score(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "score"
    about: ClassVar[str] = "accuracy of each, and their agreement"
    after: ClassVar[tuple[str, ...]] = ("preprocess", "infer")
    packages: ClassVar[tuple[str, ...]] = (OURS, "numpy", "rapidfuzz")
    code: ClassVar[tuple[str, ...]] = ("eval", "pipeline/stages/score.py")

    def why_not(self, job: Job) -> str:
        """Left out without data."""
        return job.why_no_data

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the results and what they are results of."""
        return below(job, job.manifest, *(results(job, run) for run in job.runs()))

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return one file a model and batch size: figures and every text."""
        return [scores(job.work, run) for run in job.runs()]

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``eval score``, once for each file."""
        return [
            f"{_command(job, run)} > {shlex.quote(str(scores(job.work, run)))}"
            for run in job.runs()
        ]

    def run(self, job: Job, watcher: Watcher) -> Made:
        """Decode, compare with the labels and with the original."""
        from eval.manifest import read_manifest
        from eval.paired import compare
        from eval.score import score

        manifest = read_manifest(job.manifest)
        found: dict[str, Evaluation] = {}
        for run in job.runs():
            found[run] = score(results(job, run), manifest, on_progress=watcher.progress)
            document = json.dumps(found[run].to_json(), indent=2, ensure_ascii=False)
            write_whole(scores(job.work, run), document + "\n")
        reference = found[REFERENCE]
        agreement = {
            run: {
                "text_agreement": _agreement(reference, evaluation),
                **_paired(compare(reference, evaluation)),
            }
            for run, evaluation in found.items()
            if run != REFERENCE
        }
        figures = {run: _figures(evaluation) for run, evaluation in found.items()}
        return Made({"runs": figures, "agreement": agreement}, tuple(self.outputs(job)))


def scores(work: Path, run: str) -> Path:
    """Return the file with all figures and texts of a run."""
    return work / "results" / f"{run}.json"  # where infer made a folder: a shell makes none


def _command(job: Job, run: str) -> str:
    words = ["--results", results(job, run), "--manifest", job.manifest, "--json"]
    return command("eval", "score", *words)


def _agreement(before: Evaluation, after: Evaluation) -> float:
    """Return the share of records that both read alike, in [0, 1]."""
    pairs = list(zip(before.texts, after.texts, strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def _paired(comparison: Any) -> dict[str, Any]:  # noqa: ANN401  a Comparison
    return {
        "changes": len(comparison.changes),
        "difference": comparison.difference,
        "interval_95": [comparison.low, comparison.high],
        "mcnemar_p": comparison.p_value,
    }


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    """Return everything but the texts."""
    sets = {name: dataclasses.asdict(one) for name, one in evaluation.datasets.items()}
    together = {name: dataclasses.asdict(one) for name, one in evaluation.benchmarks.items()}
    return {
        "overall": dataclasses.asdict(evaluation.overall),
        "datasets": sets,
        "benchmarks": together,
        "completeness": evaluation.completeness,
    }
