"""Write ``report.json`` and ``report.html`` of a run into a folder, each whole or not at all."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_passes.core.contract import UsageError
from onnx_passes.core.model_io import staging_folder, to_model
from onnx_passes.core.versions import installed
from onnx_passes.report.document import comparison_document, to_document
from onnx_passes.report.page import to_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from onnx_passes.core.model_io import ModelLike
    from onnx_passes.core.outcome import Outcome
    from onnx_passes.numerics.feeds import Shapes
    from onnx_passes.report.comparison import Comparison

# Another number when a key goes or changes its meaning; a new key leaves it as it is.
SCHEMA_VERSION = 1
JSON_NAME, HTML_NAME = "report.json", "report.html"
# What may change the numbers or the graph.
_PACKAGES = (
    *("ascend-onnx-passes", "onnx", "onnx-ir", "onnxruntime", "numpy"),
    *("onnxsim", "onnx-graphsurgeon"),
)


def write_report(
    folder: str | os.PathLike[str],
    outcome: Outcome,
    original: ModelLike,
    *,
    feeds: Mapping[str, Any] | None = None,
    shapes: Shapes | None = None,
    check: bool = True,
    model_name: str = "",
    command: str = "",
) -> None:
    """Write the report of a run; a report that is there already is replaced.

    Args:
        folder: Created if needed.
        outcome: The run, whether it passed or not.
        original: The model the run started from.
        feeds: What the run was given.
        shapes: What the run was given.
        check: What the run was given; False compares no numbers here either.
        model_name: How to call the model; default: its path, or the name of its graph.
        command: The command line to show.

    Raises:
        UsageError: If the folder cannot be written.
        ModelError: If ``original`` is a path that cannot be loaded.
    """
    folder = Path(folder)
    refuse_bad_folder(folder)
    model = to_model(original)
    comparison = _compare(model, outcome, feeds, shapes, check=check)
    about = _about(model_name or _name(original, model), command)
    document = {**about, **to_document(outcome), "comparison": comparison_document(comparison)}
    _write(
        folder,
        {
            # ASCII only: a name may hold half a surrogate pair, which no encoding takes.
            JSON_NAME: json.dumps(document, indent=1),
            HTML_NAME: to_page(outcome, comparison, about),
        },
    )


def refuse_bad_folder(folder: Path) -> None:
    """Refuse, before any work is done, a folder that reports cannot be written to.

    Raises:
        UsageError: If the path, or one above it, is a file.
    """
    for path in (folder, *folder.parents):
        if path.exists():
            if path.is_dir():
                return
            msg = f"cannot write a report to {folder}: {path} is a file; give a folder"
            raise UsageError(msg)


def _name(original: ModelLike, model: ir.Model) -> str:
    if isinstance(original, (str, os.PathLike)):
        return Path(original).name
    return model.graph.name or "model"


def _compare(
    model: ir.Model,
    outcome: Outcome,
    feeds: Mapping[str, Any] | None,
    shapes: Shapes | None,
    *,
    check: bool,
) -> Comparison:
    from onnx_passes.report.comparison import Comparison, compare_models

    if not check:
        return Comparison("Numbers were not compared, as asked.")
    if outcome.rejected is None and not any(step.kept for step in outcome.steps):
        return Comparison("No change was kept: the model is the original.")
    return compare_models(model, outcome.rejected or outcome.model, feeds, shapes)


def _about(model: str, command: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "model": model,
        "command": command,
        "packages": installed(_PACKAGES),
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "processors": os.cpu_count() or 0,
            "python": f"{platform.python_version()} {platform.python_implementation()}",
        },
    }


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write all files beside their targets first, then put them in place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with staging_folder(folder) as staging:
            for name, text in texts.items():
                (staging / name).write_text(text, encoding="utf-8")
            for name in texts:
                (staging / name).replace(folder / name)
    except OSError as error:
        msg = f"cannot write a report to {folder}: {error.strerror or error}"
        raise UsageError(msg) from error
