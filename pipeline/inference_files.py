"""What of an inference model of Paddle 3 is read before Paddle reads it: bounds, input, operators.

The files come from anywhere. The program is JSON; it tells the shape of the pictures it takes, and
whether it holds operators that reach outside of it.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A hundred times StarNet's program (0.3 MB); ten times the parameters of the largest sibling.
MAX_PROGRAM_BYTES = 32 << 20
MAX_PARAMETER_BYTES = 1 << 30
IMAGES = 8
MAX_ELEMENTS = 1 << 24  # of the pictures of one run
OPEN_WIDTH = 100 / 32  # of the height, where the model leaves the width open
# What reading a document of any form raises.
_BROKEN = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
_MAX_SHOWN = 200
_OUTSIDE = re.compile(r"(load|save)(_|$)|print|py_func|pylayer|run_program|engine")


class Pictures(NamedTuple):
    """What a model takes: pictures of this size, so many in a run."""

    batch: int
    channels: int
    height: int
    width: int

    @property
    def trial(self) -> int:
        """Pictures to try the model on: at least as many as ``IMAGES``, in whole runs."""
        return self.batch * math.ceil(IMAGES / self.batch)


def find(path: Path) -> Path:
    """Return the prefix of an inference model: ``<prefix>.json``, ``<prefix>.pdiparams``.

    Args:
        path: The folder that holds ``inference.json``, the prefix, or one of the two files.

    Raises:
        PipelineError: If there is none, it is of Paddle 2, or a file is too large.
    """
    known = path.suffix in {".json", ".pdiparams", ".pdmodel"}
    stem = path.with_suffix("") if known else path
    if path.is_dir() and not Path(f"{stem}.json").is_file():
        stem = path / "inference"
    program, parameters = Path(f"{stem}.json"), Path(f"{stem}.pdiparams")
    if not program.is_file() and Path(f"{stem}.pdmodel").is_file():
        msg = (
            f"{stem}.pdmodel is of Paddle 2; expected {program.name}, which Paddle 3 writes: "
            "export the checkpoint again with Paddle 3.0 to 3.3 (--paddleocr does, with a "
            "--python that has it)"
        )
        raise PipelineError(msg)
    for file, most in ((program, MAX_PROGRAM_BYTES), (parameters, MAX_PARAMETER_BYTES)):
        if not file.is_file():
            msg = (
                f"{path} is no inference model: {file} does not exist; expected a folder with "
                "inference.json and inference.pdiparams, or their common prefix"
            )
            raise PipelineError(msg)
        if (size := file.stat().st_size) > most:
            msg = f"{file} holds {size} bytes; expected at most {most}"
            raise PipelineError(msg)
    return stem


def read_pictures(program: Path) -> Pictures:
    """Return what a program takes, which says nothing about what it does.

    Raises:
        PipelineError: If the program is none, is not to be run, or does not take pictures.
    """
    try:
        document = json.loads(program.read_bytes())
        operations = list(_operations(document["program"]))
        names = {operation["#"] for operation in operations}
        shapes = [_shape(operation) for operation in operations if operation["#"] == "1.data"]
    except _BROKEN as error:
        msg = f"{program} is no program of Paddle 3 ({type(error).__name__}); export it again"
        raise PipelineError(msg) from error
    if outside := sorted(name for name in names if _OUTSIDE.search(str(name))):
        msg = f"{program} holds the operator {outside[0]!r}, which reaches outside; it is not run"
        raise PipelineError(msg)
    if len(shapes) != 1 or (found := _pictures(shapes[0])) is None:
        msg = (
            f"{program} takes {str(shapes)[:_MAX_SHOWN]}; expected one input [N, C, H, W] of "
            f"pictures: 1 or 3 channels, a fixed height, at most {MAX_ELEMENTS} numbers in a run"
        )
        raise PipelineError(msg)
    return found


def _pictures(shape: Any) -> Pictures | None:  # noqa: ANN401  from a file
    if (
        not isinstance(shape, list)
        or len(shape) != len(Pictures._fields)
        or not all(isinstance(side, int) for side in shape)
    ):
        return None
    batch, channels, height, width = shape
    batch = IMAGES if batch < 0 else batch
    width = round(height * OPEN_WIDTH) if width < 0 else width
    found = Pictures(batch, channels, height, width)
    usable = channels in {1, 3} and min(found) > 0 and math.prod(found) <= MAX_ELEMENTS
    return found if usable else None


def _operations(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the operations inside ``operation``, bodies of loops and branches included."""
    for region in operation.get("regions", ()):
        for block in region["blocks"]:
            for inner in block["ops"]:
                yield inner
                yield from _operations(inner)


def _shape(operation: dict[str, Any]) -> Any:  # noqa: ANN401  from a file
    """Return the shape of what an operation ``data`` brings."""
    return operation["O"][0]["TT"]["D"][1]
