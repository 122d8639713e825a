"""score: the accuracy of what was read, and what the rewritten model reads otherwise.

Where it reads something else there is a page of the pictures, ``results/changed_bs<N>.html``.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.stages.content import Records
from pipeline.stages.infer import results
from pipeline.stages.job import REFERENCE
from pipeline.stages.stage import OURS, Made, Stage, Watcher, below, command, relative
from pipeline.stages.state import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from eval.evaluation import Evaluation
    from eval.paired import Comparison
    from pipeline.stages.job import Job


class Score(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "score"
    about: ClassVar[str] = "accuracy of each, and their agreement"
    after: ClassVar[tuple[str, ...]] = ("preprocess", "infer")
    packages: ClassVar[tuple[str, ...]] = (OURS, "numpy", "rapidfuzz", "opencv-python-headless")
    code: ClassVar[tuple[str, ...]] = ("eval", "pipeline/stages/score.py")

    def why_not(self, job: Job) -> str:
        """Left out without data."""
        return job.why_no_data

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return the results and what they are results of."""
        files = below(job, job.manifest, *(results(job, run) for run in job.runs()))
        return {**files, **({"records": Records(job.data)} if job.data else {})}

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return one file a model and batch size: figures and every text. Pages may join them."""
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
                "sheet": _sheet(job, run, compare(reference, evaluation)),
            }
            for run, evaluation in found.items()
            if run != REFERENCE
        }
        figures = {run: _figures(evaluation) for run, evaluation in found.items()}
        sheets = (job.work / one["sheet"] for one in agreement.values() if one["sheet"])
        made = (*self.outputs(job), *sheets)
        return Made({"runs": figures, "agreement": agreement}, made)


def scores(work: Path, run: str) -> Path:
    """Return the file with all figures and texts of a run."""
    return work / "results" / f"{run}.json"  # where infer made a folder: a shell makes none


def _sheet(job: Job, run: str, comparison: Comparison) -> str:
    """Write the pictures of what is read otherwise; return the page below the work folder."""
    from eval.contact_sheet import contact_sheet
    from eval.data import open_data

    page = job.work / "results" / f"changed_{run}.html"
    page.unlink(missing_ok=True)
    if not comparison.changes or job.data is None:
        return ""
    with open_data(job.data) as samples:
        names = (REFERENCE, f"optimised, batch {run.removeprefix('bs')}")
        write_whole(page, contact_sheet(comparison, samples, names))
    return relative(job, page)


def _command(job: Job, run: str) -> str:
    words = ["--results", results(job, run), "--manifest", job.manifest, "--json"]
    return command("eval", "score", *words)


def _agreement(before: Evaluation, after: Evaluation) -> float:
    """Return the share of records that both read alike, in [0, 1]."""
    pairs = list(zip(before.texts, after.texts, strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def _paired(comparison: Comparison) -> dict[str, Any]:
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
