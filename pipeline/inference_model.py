"""Export a saved inference model of Paddle 3: ``inference.json`` and ``inference.pdiparams``.

Paddle reads and runs the files, which come from anywhere, in a child process with a time limit and
a bound on its memory, after ``inference_files`` had a look at them. What comes back is compared
with what the untouched model computed there.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pipeline import export, inference_child, paddle2onnx_child
from pipeline.agreement import Agreement, judge
from pipeline.children import Ended, run_child
from pipeline.drawn_words import draw_words
from pipeline.errors import ExportError, PipelineError
from pipeline.inference_files import find, read_pictures

if TYPE_CHECKING:
    import onnx_ir as ir

Fold = Literal["all", "inverse"]

# Room for the libraries, plus copies of the parameters: loaded, saved, converted, folded.
BASE_MEMORY_BYTES = 8 << 30
PARAMETER_COPIES = 10
_START = "import runpy, sys; runpy.run_path(sys.argv[1])['main'](sys.argv[2])"
_MAX_SHOWN = 200


@dataclasses.dataclass(frozen=True)
class Folded:
    """A constant that took the place of what computed it: the last operator, dtype, shape."""

    operator: str
    dtype: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported inference model.

    Attributes:
        model: Its ONNX form, opset 16.
        folded: Constants that replaced computations.
        operations: Operations of the Paddle program before and after.
        agreement: The ONNX model against Paddle's own run.
    """

    model: ir.Model
    folded: tuple[Folded, ...]
    operations: tuple[int, int]
    agreement: Agreement


def export_inference(
    path: Path, *, fold: Fold = "all", timeout_s: float = export.TIMEOUT_S
) -> Exported:
    """Convert an inference model and compare the result with Paddle's run of the original.

    Args:
        path: The folder of ``inference.json``, or the prefix of the files.
        fold: ``all``: every tensor that depends on no feed and no parameter becomes a constant.
            ``inverse``: only matrix inverses do, which is the least that the converter needs.
        timeout_s: How long Paddle may take in all.

    Raises:
        PipelineError: If the files cannot be used.
        ExportError: If Paddle or paddle2onnx fails.
        CheckError: If the numbers differ, or cannot be checked.
    """
    stem = find(path)
    pictures = read_pictures(Path(f"{stem}.json"))
    feed = draw_words(pictures.trial, *pictures[1:])
    with tempfile.TemporaryDirectory(prefix="onnx-passes-inference-") as name:
        folder = Path(name)
        np.save(folder / "feeds.npy", feed)
        _run(stem, folder, {"fold": fold, "batch": pictures.batch}, timeout_s)
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        model = export.finished(folder / "converted.onnx")
        with np.load(folder / "reference.npz", allow_pickle=False) as arrays:
            reference = [arrays[f"arr_{index}"] for index in range(len(arrays.files))]
    folded = (
        Folded(item["operator"], item["dtype"], tuple(item["shape"])) for item in facts["folded"]
    )
    agreement = judge(model, feed, reference, pictures.batch)
    return Exported(model, tuple(folded), tuple(facts["operations"]), agreement)


def _run(stem: Path, folder: Path, asked: dict[str, Any], timeout_s: float) -> None:
    """Let the child do its job in ``folder``."""
    job = {
        "stem": str(stem.resolve()),
        **asked,
        "memory_bytes": BASE_MEMORY_BYTES
        + PARAMETER_COPIES * Path(f"{stem}.pdiparams").stat().st_size,
        "converter": paddle2onnx_child.__file__,
        "target": "converted.onnx",
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [sys.executable, "-c", _START, inference_child.__file__, str(folder / "job.json")]
    quiet = {"GLOG_minloglevel": "2"}  # Paddle's notes to its own developers
    log = folder / "log.txt"
    ended = run_child(command, folder, log, timeout_s=timeout_s, environment=quiet)
    if ended.code or not (folder / "converted.onnx").is_file():
        _fail(ended, folder, stem)


def _fail(ended: Ended, folder: Path, stem: Path) -> None:
    """Raise the error of the stage that the child had reached."""
    stage = (folder / "stage.txt").read_text() if (folder / "stage.txt").is_file() else "start"
    if stage == "convert":
        raise ExportError(export.failure(*ended))
    lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
    end = f"signal {-ended.code}" if ended.code < 0 else f"exit {ended.code}"
    why = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
    msg = f"Paddle cannot {stage} {stem} ({end}): {why[:_MAX_SHOWN]}"
    if stage == "load":
        raise PipelineError(msg)
    raise ExportError(msg)
