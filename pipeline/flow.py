"""The whole guide as one recipe: in stages, each done once and not again until its inputs change.

From Python::

    job = open_job("starnet", Settings(work=Path("work/starnet")))
    for status in plan(job, choose(None, None, None)):
        print(status.stage.name, status.kind, status.reason)
    run(job, choose(None, None, None), Watcher())
    write_report(job.work)

The stages are in ``pipeline/stages``, one idea a file; ``docs/flow.md`` describes them.
"""

from __future__ import annotations

from pipeline.cli.presets import expand_entries
from pipeline.report.document import to_document
from pipeline.report.write import write_report
from pipeline.stages.graph import NAMES, STAGES, choose
from pipeline.stages.job import Job, Settings
from pipeline.stages.networks import SHIPPED_WEIGHTS
from pipeline.stages.planner import Status, plan
from pipeline.stages.recipe import find_recipe
from pipeline.stages.runner import run
from pipeline.stages.stage import Watcher

__all__ = [
    "NAMES",
    "STAGES",
    "TRAINED_WEIGHTS",
    "Job",
    "Settings",
    "Status",
    "Watcher",
    "choose",
    "open_job",
    "plan",
    "run",
    "to_document",
    "write_report",
]

# Trained on rendered words; the official weights are not ours to ship.
TRAINED_WEIGHTS = SHIPPED_WEIGHTS


def open_job(recipe: str, settings: Settings) -> Job:
    """Return the job of a recipe, by its name, an alias or a path; presets in it are put in place.

    Raises:
        FlowError: If there is no such recipe, something in it is wrong, or the settings do not fit.
        UsageError: If it names a preset that does not exist.
    """
    return Job(find_recipe(recipe, expand_entries), settings)
