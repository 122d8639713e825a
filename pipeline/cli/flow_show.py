"""How a flow looks: the plan, and what was found."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from pipeline.cli.console import out
from pipeline.cli.flow_figures import show_figures
from pipeline.report.passes import export_lines

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.flow import Job, Status
    from pipeline.stages.planner import Kind

_STYLES = {
    "cached": "green",
    "run": "bold",
    "perhaps": "yellow",
    "left out": "dim",
    "not chosen": "dim",
}
_NO_DEVICE = (
    "\nNo Ascend device was used. On a 310P3 the optimised model would be compiled by ATC (float16 "
    "by default, which changes the numbers), run by ais_bench on bin/img_<n>.bin, and its outputs "
    "read by 'onnx-passes eval score'; the accuracy above is onnxruntime's, the throughput this "
    "machine's."
)


def plan_document(job: Job, statuses: list[Status]) -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "recipe": job.recipe.name,
        "work": str(job.work),
        "backend": job.settings.backend,
        "stages": [
            {
                "name": status.stage.name,
                "about": status.stage.about,
                "status": status.kind,
                "reason": status.reason,
                "after": list(status.stage.after),
                "inputs": {name: str(getattr(w, "path", w)) for name, w in _inputs(job, status)},
                "outputs": [str(path) for path in _outputs(job, status)],
                "commands": _commands(job, status),
            }
            for status in statuses
        ],
    }


_WORDS: dict[Kind, str] = {
    "run": "to run",
    "perhaps": "perhaps",
    "cached": "done",
    "left out": "left out",
    "not chosen": "not chosen",
}


def show_plan(job: Job, statuses: list[Status]) -> None:
    """Print what would run and why, what it reads and writes, and the commands that do the same."""
    out.print(f"{job.recipe.title or job.recipe.name}, in {job.work}", markup=False)
    for number, status in enumerate(statuses, 1):
        style = _STYLES[status.kind]
        why = f": {status.reason}" if status.reason else ""
        out.print(
            f"\n{number:2} [bold]{status.stage.name}[/]  [{style}]{status.kind}[/]{escape(why)}",
            soft_wrap=True,
        )
        _dim(status.stage.about)
        if status.kind in {"left out", "not chosen"}:
            continue
        made = ", ".join(str(path) for path in _outputs(job, status)) or "no file"
        read = ", ".join(name for name, _ in _inputs(job, status)) or "what all others left"
        _dim(f"{read} -> {made}")
        for line in _commands(job, status):
            out.print(f"     {line}", markup=False, soft_wrap=True)
    counts = Counter(status.kind for status in statuses)
    told = ", ".join(f"{counts[kind]} {word}" for kind, word in _WORDS.items() if counts[kind])
    out.print(f"\n{told}", markup=False)


def document_of(work: Path, statuses: list[Status]) -> dict[str, Any]:
    """Return what ``flow run --json`` prints: the report's document, and every text."""
    from pipeline.report.document import ITSELF, to_document
    from pipeline.report.write import HTML_NAME

    document = to_document(work)
    written = any(
        status.stage.name == ITSELF and status.kind != "not chosen" for status in statuses
    )
    on_device = document["from_device"]
    rectified = (document["verify"] or {}).get("rectified") or {}
    runs = list((document["accuracy"] or {}).get("runs", {}))
    first = runs[1] if len(runs) > 1 else ""
    agreement = (document["accuracy"] or {}).get("agreement", {}).get(first, {})
    machine = document["machine"]
    done = {stage["name"]: stage["seconds"] for stage in document["stages"]}
    return {
        **document,
        "device": document["hardware"] if on_device else None,
        "machine": f"{machine['architecture']}, Python {machine['python']}",
        "rectified": rectified.get("all"),
        "rectified_alone": rectified.get("alone"),
        "rectified_moves": rectified.get("moves"),
        "original": _texts(work, runs[0]) if runs else None,
        "optimized": _texts(work, first) if first else None,
        "images_per_s": [row["fps"] for row in (document["bench"] or {}).get("rows", [])],
        "text_agreement": agreement.get("text_agreement"),
        "seconds": {name: seconds for name, seconds in done.items() if seconds is not None},
        "report": str(work / "report" / HTML_NAME) if written else None,
        "ran": [status.stage.name for status in statuses if status.kind == "run"],
    }


def show(document: dict[str, Any]) -> None:
    """Print what was found."""
    for line in export_lines(document["export"]):
        out.print(f"export: {line}", markup=False)
    if document["passes"]:
        _show_passes(document["passes"])
    if document["verify"]:
        _show_verify(document["verify"])
    if document["lint"]:
        counts = document["lint"]["counts"].items()
        told = ", ".join(f"{level} {count}" for level, count in counts)
        out.print(f"lint for CANN {document['lint']['cann']}: {told}\n", markup=False)
    show_figures(document)
    models = document["models"]
    out.print(
        f"models: {models['original']} and {models['optimized']}", markup=False, soft_wrap=True
    )
    _show_stages(document)
    if document["report"]:
        out.print(f"report: {document['report']}", markup=False, soft_wrap=True)
    if document["device"] is None:
        out.print(_NO_DEVICE, markup=False)
    else:
        out.print(f"\nran on: {document['device']}", markup=False, soft_wrap=True)


def _show_passes(passes: dict[str, Any]) -> None:
    from pipeline.report.passes import worst

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("pass", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for column in ("nodes", "MB", "this pass", "since start", "pass + check, s"):
        table.add_column(column, justify="right", no_wrap=True)
    stage = ""
    for step in passes["steps"]:
        if step["stage"] != stage:
            stage = step["stage"]
            size = f"{step['bytes_before'] / 1e6:.2f}"
            table.add_row(f"({stage})", "", str(step["nodes_before"]), size, style="dim")
        if step["verdict"] != "unchanged":
            table.add_row(
                escape(step["pass"]),
                step["verdict"],
                str(step["nodes_after"]),
                f"{step['bytes_after'] / 1e6:.2f}",
                worst(step["outputs"], "previous"),
                worst(step["outputs"], "original"),
                f"{step['seconds']:.2f} + {step['check_seconds']:.2f}",
            )
    out.print(table)
    idle = Counter(step["name"] for step in passes["steps"] if step["verdict"] == "unchanged")
    names = (f"{name} ({count} times)" if count > 1 else name for name, count in idle.items())
    if idle:
        out.print(f"changed nothing: {', '.join(names)}", markup=False)
    out.print(f"checked on: {passes['feeds']}; oracle: {passes['oracle']}", markup=False)


def _show_verify(verify: dict[str, Any]) -> None:
    from pipeline.report.passes import worst

    for output in verify["outputs"]:
        gap = worst([output], "original")
        told = gap if gap == "bit-equal" else f"greatest difference {gap}"
        out.print(
            f"optimised against the export, {output['output']}: {told} "
            f"(allowed {output['tolerance']:.3g}); argmax alike "
            f"{output['original']['argmax_agreement']:.2%}",
            markup=False,
        )
    rectified = verify["rectified"]
    if rectified:
        for key, what in (("all", "all passes"), ("alone", "decompose-grid-sample alone")):
            sentence = rectified[key]["sentence"]
            out.print(f"rectified image, {what}: {sentence}", markup=False)
        if rectified["moves"] is not None:
            out.print(f"(from one image to another it moves by {rectified['moves']:.3g})")


def _show_stages(document: dict[str, Any]) -> None:
    ran = set(document["ran"])
    told = [
        f"{name} {seconds:.1f} s" if name in ran else f"{name} (done before)"
        for name, seconds in document["seconds"].items()
    ]
    out.print(f"stages: {', '.join(told)}", markup=False)
    for stage in document["stages"]:
        if stage["status"] != "done":
            out.print(f"{stage['name']}: {stage['status']}, {stage['reason']}", markup=False)


def _texts(work: Path, run: str) -> Any:  # noqa: ANN401  any JSON
    from pipeline.stages.score import scores

    return json.loads(scores(work, run).read_text(encoding="utf-8"))


def _inputs(job: Job, status: Status) -> list[tuple[str, Any]]:
    return list(status.stage.inputs(job).items())


def _outputs(job: Job, status: Status) -> list[Path]:
    return list(status.stage.outputs(job))


def _commands(job: Job, status: Status) -> list[str]:
    return list(status.stage.commands(job)) if status.kind != "left out" else []


def _dim(text: str) -> None:
    out.print(f"     {text}", markup=False, style="dim", soft_wrap=True)
