"""Let a checkout of PaddleOCR export its own model, in a process of its own.

The checkout is the user's, and so is what runs: its ``tools/export_model.py``, in the Python that
its requirements are installed in. It writes into a folder of ours.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.children import run_child
from pipeline.errors import ExportError, PipelineError
from pipeline.export import SHOWN_LINES

if TYPE_CHECKING:
    from collections.abc import Callable

TOOL = Path("tools", "export_model.py")
TIMEOUT_S = 600.0  # twice the conversion: it also builds the network
WEIGHTS_SUFFIX = ".pdparams"
UNKNOWN = "of unknown version"
# Where releases say their version, and where a checkout says its branch or commit.
_VERSION = re.compile(
    r"""^\s*(?:VERSION|version|__version__)\s*=\s*["']([\w.+-]{1,40})["']""", re.M
)
_VERSION_FILES = ("paddleocr.py", "setup.py", "pyproject.toml", "paddleocr/_version.py")
_HEAD = re.compile(r"(?:ref: refs/heads/)?([\w./-]{1,80})")
_MAX_READ = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checkout:
    """What to export with which checkout.

    Attributes:
        folder: The checkout.
        config: The network's configuration, from here or from the checkout.
        checkpoint: The weights, with or without ``.pdparams``.
        python: The interpreter to run it with; None for ours.
    """

    folder: Path
    config: Path
    checkpoint: Path
    python: str | None = None

    def command(self, target: Path) -> list[str]:
        """Return the command that writes the inference model into the folder ``target``.

        Raises:
            PipelineError: If the folder is no checkout, or a file is missing.
        """
        if not (self.folder / TOOL).is_file():
            msg = f"{self.folder} is no checkout of PaddleOCR: it has no {TOOL}"
            raise PipelineError(msg)
        config, prefix = self.configuration(), str(self.weights()).removesuffix(WEIGHTS_SUFFIX)
        values = (f"Global.pretrained_model={prefix}", f"Global.save_inference_dir={target}")
        python = self.python or sys.executable
        return [python, str(TOOL), "-c", str(config.resolve()), "-o", *values]

    def configuration(self) -> Path:
        """Return the file of the configuration.

        Raises:
            PipelineError: If it is neither here nor in the checkout.
        """
        for place in (self.config, self.folder / self.config):
            if place.is_file():
                return place
        msg = f"configuration {self.config} is neither here nor in {self.folder}"
        raise PipelineError(msg)

    def weights(self) -> Path:
        """Return the file of the weights.

        Raises:
            PipelineError: If there is none.
        """
        path = Path(str(self.checkpoint.resolve()).removesuffix(WEIGHTS_SUFFIX) + WEIGHTS_SUFFIX)
        if not path.is_file():
            msg = f"checkpoint {path} does not exist"
            raise PipelineError(msg)
        return path

    def version(self) -> str:
        """Return what the checkout says it is: a release, a branch or a commit."""
        for name in _VERSION_FILES:
            if found := _VERSION.search(_text(self.folder / name)):
                return found[1]
        found = _HEAD.match(_text(self.folder / ".git" / "HEAD"))
        return found[1] if found else UNKNOWN


def export_checkout(
    checkout: Checkout,
    target: Path,
    say: Callable[[str], None],
    *,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Run the checkout's export and return the folder of the inference model, in ``target``.

    Args:
        checkout: What to run.
        target: An empty folder.
        say: Gets the version and the command.
        timeout_s: How long it may take.

    Raises:
        PipelineError: If something is missing before it starts.
        ExportError: If it fails; the message ends with the last lines it said.
    """
    model = target.resolve() / "model"
    command = checkout.command(model)
    say(f"PaddleOCR {checkout.version()}: {shlex.join(command)}")
    ended = run_child(command, checkout.folder, target / "log.txt", timeout_s=timeout_s)
    lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
    last = " | ".join(lines[-SHOWN_LINES:])
    if ended.code:
        end = f"signal {-ended.code}" if ended.code < 0 else f"exit {ended.code}"
        msg = f"{TOOL} failed ({end}): {last}"
        raise ExportError(msg)
    written = sorted(path.parent for path in model.rglob("inference.pd*"))
    if not written:
        msg = f"{TOOL} ended well but wrote no inference model into {model}: {last}"
        raise ExportError(msg)
    return written[0]


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(_MAX_READ)
    except OSError:
        return ""
