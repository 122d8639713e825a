"""Run one pass in a child process: a crash, a hang or a full memory is an answer, not the end.

The child gets the parent's module search path, so that it finds the same code whatever the working
directory holds.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_passes.core.contract import Note, Pass, PassResult, ToolError
from onnx_passes.core.fingerprint import Fingerprinter
from onnx_passes.core.model_io import initializer_bytes, load, save

if TYPE_CHECKING:
    import onnx_ir as ir

DEFAULT_TIMEOUT_S = 600.0
# Room for the libraries themselves, plus copies of the model that a native tool makes.
_BASE_MEMORY_BYTES = 8 << 30
_MODEL_COPIES = 6
_BOOT = (
    "import json, sys; job = json.load(open(sys.argv[1])); sys.path[:] = job['sys_path']; "
    "from onnx_passes.core.isolate import child; child(job)"
)


def run_isolated(
    item: Pass, model: ir.Model, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> tuple[ir.Model, PassResult]:
    """Run ``item`` on ``model`` in a child process and return what came back.

    Raises:
        ToolError: If the child crashed, hung, ran out of memory or raised.
    """
    with tempfile.TemporaryDirectory(prefix="onnx-passes-") as name:
        folder = Path(name)
        save(model, folder / "in.onnx")
        job = _job(item, model, folder)
        (folder / "job.json").write_text(json.dumps(job))
        command = [sys.executable, "-c", _BOOT, str(folder / "job.json")]
        _wait(command, item.name, timeout_s, folder / "log.txt")
        if not (folder / "notes.json").exists():
            msg = f"pass {item.name!r} ended its process without a result"
            raise ToolError(msg)
        notes = json.loads((folder / "notes.json").read_text())
        if notes["changed"]:
            model = _into_memory(load(folder / "out.onnx"))
        return model, _result(notes)


def child(job: dict[str, Any]) -> None:
    """Do the job in the child process: load, run the pass, save model and notes."""
    import resource

    from onnx_passes.core.passlist import parse

    resource.setrlimit(resource.RLIMIT_AS, (job["memory_bytes"], job["memory_bytes"]))
    _import(job["module"], job["file"])
    model = load(job["input"])
    (item,) = parse(job["text"])
    if not isinstance(item, Pass):
        msg = f"{job['text']!r} is not one pass"
        raise TypeError(msg)
    fingerprint = Fingerprinter()
    before = fingerprint(model)
    result = item.run(model)
    if not isinstance(result, PassResult):
        msg = f"run returned {type(result).__name__}, expected PassResult"
        raise TypeError(msg)
    changed = fingerprint(model) != before
    if changed:
        save(model, job["output"])
    notes = {"changed": changed, **dataclasses.asdict(result)}
    Path(job["notes"]).write_text(json.dumps(notes))


def _job(item: Pass, model: ir.Model, folder: Path) -> dict[str, Any]:
    from onnx_passes.core.passlist import pass_text

    return {
        "sys_path": sys.path,
        "module": type(item).__module__,
        "file": inspect.getfile(type(item)),
        "text": pass_text(item),
        "input": str(folder / "in.onnx"),
        "output": str(folder / "out.onnx"),
        "notes": str(folder / "notes.json"),
        "memory_bytes": _BASE_MEMORY_BYTES + _MODEL_COPIES * initializer_bytes(model),
    }


def _wait(command: list[str], name: str, timeout_s: float, log: Path) -> None:
    try:
        code = _exit_code(command, timeout_s, log)
    except subprocess.TimeoutExpired:
        msg = f"pass {name!r} did not end within {timeout_s:g} s and was stopped"
        raise ToolError(msg) from None
    if code < 0:
        msg = f"pass {name!r} was killed by {signal.Signals(-code).name}"
        raise ToolError(msg)
    if code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        msg = f"pass {name!r} raised {lines[-1] if lines else f'exit code {code}'}"
        raise ToolError(msg)


def _exit_code(command: list[str], timeout_s: float, log: Path) -> int:
    """Run a command in a session of its own: what it started ends with it when it is stopped.

    Its errors go to a file: a pipe stays open as long as any of its children lives.
    """
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        ) as process,
    ):
        try:
            return process.wait(timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def _import(module: str, file: str) -> None:
    from onnx_passes.core.registry import load_plugin

    try:
        importlib.import_module(module)
    except ImportError:
        load_plugin(Path(file))


def _into_memory(model: ir.Model) -> ir.Model:
    """Return the model with its external tensors loaded: their files are about to go."""
    from onnx_ir import external_data

    return external_data.load_to_model(model)


def _result(notes: dict[str, Any]) -> PassResult:
    return PassResult(
        rewritten=[Note(**note) for note in notes["rewritten"]],
        skipped=[Note(**note) for note in notes["skipped"]],
    )
