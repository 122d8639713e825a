"""Run optimisers on one model, each in a process of its own, and check what each makes of it.

Time and memory are the tool's: load, optimise, save, with its imports done before the clock
starts. The checks are ours and run here, on the file that the tool left.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from onnx_passes.core.contract import Exactness, Pass, PassResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from onnx_passes.core.manager import Settings

_BOOT = (
    "import json, sys; job = json.load(open(sys.argv[1])); sys.path[:] = job['sys_path']; "
    "from pipeline.compare_tools import child; child(job)"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """What one tool did to the model.

    Attributes:
        tool: Its pass list.
        version: Its package and version; empty for passes of this package.
        verdict: As of ``onnx-passes run``, or ``crashed``, or ``not installed``.
        reason: One sentence where the verdict is not ``passed``.
        seconds: Wall time of load, optimise and save; None if it gave no model.
        peak_bytes: Peak resident memory of its process.
        nodes: Number of nodes after.
        max_abs: Greatest difference of any output; None if nothing was compared.
    """

    tool: str
    version: str = ""
    verdict: str = "crashed"
    reason: str = ""
    seconds: float | None = None
    peak_bytes: int | None = None
    nodes: int | None = None
    max_abs: float | None = None


@dataclasses.dataclass(frozen=True)
class Stored(Pass):
    """Take a model from a file: what a tool made elsewhere, as a pass that can be checked."""

    name: ClassVar[str] = "stored"
    exactness: ClassVar[Exactness] = "close"
    path: str = ""

    def run(self, model: ir.Model) -> PassResult:
        """Put the stored graph in place."""
        from onnx_passes.core.model_io import load

        after = load(self.path)
        model.graph, model.ir_version = after.graph, after.ir_version
        model.functions.clear()
        model.functions.update(after.functions)
        return PassResult()


def tools() -> list[type[Pass]]:
    """Return the bridges that optimise a model without being told what to do."""
    from onnx_passes.bridges.script import Script
    from onnx_passes.bridges.tool import Bridge
    from onnx_passes.core.registry import passes

    found = [cls for cls in passes() if issubclass(cls, Bridge) and not issubclass(cls, Script)]
    return [cls for cls in found if getattr(cls, "optimises", True)]


def compare(
    model: Path,
    presets: dict[str, str],
    settings: Settings,
    on_start: Callable[[str], None] = lambda _: None,
    timeout_s: float = 600.0,
) -> list[Row]:
    """Run every tool, and the pass lists in ``presets`` by name.

    Raises:
        ModelError: If the model cannot be read.
    """
    from onnx_passes.core.model_io import load
    from onnx_passes.core.outcome import measure

    original = load(model)
    rows = [Row("(original)", verdict="", nodes=measure(original).nodes)]
    for cls in tools():
        missing = str(cls.missing())  # type: ignore[attr-defined]
        if missing:
            rows.append(Row(cls.name, verdict="not installed", reason=missing))
            continue
        on_start(cls.name)
        version = str(cls.version())  # type: ignore[attr-defined]
        rows.append(_row(cls.name, cls.name, version, (model, original, settings, timeout_s)))
    for name, text in presets.items():
        on_start(name)
        rows.append(_row(name, text, "", (model, original, settings, timeout_s)))
    return rows


def _row(tool: str, text: str, version: str, on: tuple[Path, ir.Model, Settings, float]) -> Row:
    model, original, settings, timeout_s = on
    with tempfile.TemporaryDirectory(prefix="onnx-passes-") as name:
        folder = Path(name)
        job = {"sys_path": sys.path, "model": str(model.resolve()), "passes": text, "folder": name}
        (folder / "job.json").write_text(json.dumps(job))
        reason = _run([sys.executable, "-c", _BOOT, str(folder / "job.json")], timeout_s)
        if reason:
            return Row(tool, version, reason=reason)
        done = json.loads((folder / "done.json").read_text())
        return _judged(Row(tool, version, **done), folder / "out.onnx", original, settings)


def _judged(row: Row, path: Path, original: ir.Model, settings: Settings) -> Row:
    from onnx_passes.core.manager import run_passes

    keep = dataclasses.replace(settings, on_fail="undo")
    (step,) = run_passes(original, (Stored(str(path)),), keep).steps
    return dataclasses.replace(
        row, verdict=step.verdict, reason=step.reason, max_abs=step.max_abs, nodes=step.after.nodes
    )


def _run(command: Sequence[str], timeout_s: float) -> str:
    """Return why the child gave nothing, or an empty string."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {timeout_s:g} s"
    if done.returncode < 0:
        return f"was killed by signal {-done.returncode}"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return (lines or ["no message"])[-1] if done.returncode else ""


def child(job: dict[str, Any]) -> None:
    """In the child: load, run the passes without checks, save, and write down what it took."""
    import importlib

    from onnx_passes.core.manager import Settings, run_passes
    from onnx_passes.core.model_io import load, save
    from onnx_passes.core.passlist import parse

    items = parse(job["passes"])
    alone = len(items) == 1 and isinstance(items[0], Pass)
    if alone:
        importlib.import_module(items[0].module)  # type: ignore[union-attr]
    folder = Path(job["folder"])
    started = time.perf_counter()
    model = load(job["model"])
    if alone:  # this process is the child that the manager would start
        items[0].run(model)  # type: ignore[union-attr]
    else:
        model = run_passes(model, items, Settings(check=False)).model
    save(model, folder / "out.onnx")
    seconds = time.perf_counter() - started
    done = {"seconds": seconds, "peak_bytes": _peak_bytes()}
    (folder / "done.json").write_text(json.dumps(done))


def _peak_bytes() -> int:
    """Return the peak of this process or of one it started, whichever is greater.

    What getrusage says of this process includes the one that started it.
    """
    import resource

    status = Path("/proc/self/status")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        own = int(lines["VmHWM"].split()[0])
    return 1024 * max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
