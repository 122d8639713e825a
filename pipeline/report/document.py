"""All that a flow found, as one JSON document, from what its stages left in the work folder.

Figures of a stage count only if they were made of what the stages before it left last: a stage that
a later run has overtaken is listed as out of date, and nothing of it is shown::

    schema              onnx-passes-flow/1
    created             when, UTC
    recipe, published   its name and title; what others published of it
    backend, hardware   what the models ran on; machine: where the flow ran
    provider            where onnxruntime ran the rewritten model; null with ais_bench
    from_device         whether the rewritten model ran on an Ascend device
    data, digests       the records by data set; SHA-256 of what the run started from
    models              the paths of the original and of the rewritten model
    versions.*          by package
    stages[]            name, about, status, reason, seconds, finished, commands, outputs
    export              the numbers of the export against Paddle's, what was folded or repaired
    passes              as of 'run --json', of both pass lists together; steps[].stage says which
    verify              the rewritten model against the export; rectified: what GridSample makes
    lint, compile       what they found
    accuracy.runs.*     figures of the original and by batch size; from_device says from where
    accuracy.agreement.*  how much is read alike, McNemar's p, the change with its interval, and
                        the page of the pictures (sheet)
    bench               as of 'bench --json'

A part is null if its stage is not done.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from pipeline.errors import FlowError
from pipeline.stages.graph import STAGES
from pipeline.stages.state import State, read_state

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.stages.stage import Stage

SCHEMA = "onnx-passes-flow/1"
ITSELF = "report"  # the stage that writes this document: it cannot say that it is done
_GRAVEST_FIRST = ("crashed", "failed", "not checkable", "not checked", "passed", "unchanged")


def to_document(work: Path) -> dict[str, Any]:
    """Return the document.

    Raises:
        FlowError: If no flow has begun in ``work``.
    """
    read = {stage.name: read_state(work, stage.name) for stage in STAGES}
    states = {name: state for name, (state, _) in read.items() if state is not None}
    if "fetch-check" not in states:
        msg = (
            f"{work} holds no flow ({read['fetch-check'][1]}); make one with: onnx-passes flow run"
        )
        raise FlowError(msg)
    about = states["fetch-check"].result
    stale = _overtaken(states)
    good = {
        name: state.result
        for name, state in states.items()
        if name not in stale and name not in about["left_out"]
    }
    pairs = (pair for state in states.values() for pair in state.basis.versions.items())
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **{key: about[key] for key in ("recipe", "published", "backend", "hardware", "machine")},
        **{key: about[key] for key in ("provider", "from_device", "data", "digests", "batches")},
        "models": {what: str(work / path) for what, path in about["models"].items()},
        "versions": dict(sorted(pairs)),
        "stages": [
            _stage(stage, read[stage.name], about["left_out"], stale)
            for stage in STAGES
            if stage.name != ITSELF
        ],
        "passes": _passes(good),
        **{name: good.get(name) for name in ("export", "verify", "lint", "compile")},
        "accuracy": _accuracy(good),
        "bench": good.get("bench"),
    }


def _overtaken(states: dict[str, State]) -> dict[str, str]:
    """Return the stages whose input is another one by now, with that input."""
    made = {name: told for state in states.values() for name, told in state.outputs.items()}
    found: dict[str, str] = {}
    for stage in STAGES:
        if stage.name not in states:
            continue
        inputs = states[stage.name].basis.inputs
        other = [name for name, told in inputs.items() if made.get(name, told) != told]
        before = [name for name in stage.after if name in found]
        if other or before:
            found[stage.name] = ", ".join(other) or f"what {before[0]} made"
    return found


def _stage(
    stage: Stage,
    read: tuple[State | None, str],
    left_out: dict[str, str],
    stale: dict[str, str],
) -> dict[str, Any]:
    state, why = read
    if stage.name in left_out:
        told = {"status": "left out", "reason": left_out[stage.name]}
        state = None
    elif state is None:
        told = {"status": "not done", "reason": why}
    elif stage.name in stale:
        told = {"status": "out of date", "reason": f"{stale[stage.name]} is another one by now"}
    else:
        told = {"status": "done", "reason": ""}
    return {
        "name": stage.name,
        "about": stage.about,
        **told,
        "seconds": state.seconds if state else None,
        "finished": state.finished if state else None,
        "commands": state.command if state else [],
        "outputs": state.outputs if state else {},
    }


def _passes(good: dict[str, Any]) -> dict[str, Any] | None:
    """Return both pass lists as one, with the numbers of their steps counted on."""
    runs = {name: good[name] for name in ("simplify", "optimize") if name in good}
    if not runs:
        return None
    steps = [{**step, "stage": name} for name, run in runs.items() for step in run["steps"]]
    first, last = next(iter(runs.values())), list(runs.values())[-1]
    verdicts = [run["verdict"] for run in runs.values()]
    return {
        **last,
        "verdict": min(verdicts, key=_GRAVEST_FIRST.index),
        "ok": all(run["ok"] for run in runs.values()),
        "feeds": first["feeds"] or last["feeds"],
        "oracle": first["oracle"] or last["oracle"],
        "before": first["before"],
        "steps": [{**step, "number": number} for number, step in enumerate(steps, 1)],
    }


def _accuracy(good: dict[str, Any]) -> dict[str, Any] | None:
    if "score" not in good or "infer" not in good:
        return None
    runs = {}
    for run, figures in good["score"]["runs"].items():
        record = good["infer"][run]
        runs[run] = {
            **figures,
            "model": record["model"],
            "batch": record["batch"],
            "hardware": record["hardware"],
            "from_device": record["on_device"],
        }
    return {"runs": runs, "agreement": good["score"]["agreement"]}
