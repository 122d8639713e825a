"""Time and peak memory of Python code in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


@dataclasses.dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        seconds: Wall time of the process, start-up included.
        peak_mb: Greatest resident set, in 10^6 bytes.
        output: What it printed.
        returncode: Its exit code.
    """

    seconds: float
    peak_mb: float
    output: str
    returncode: int


def run_code(code: str, *arguments: str) -> Measured:
    """Run Python source in a fresh interpreter with this checkout on its path."""
    return run_command([sys.executable, "-c", code, *arguments])


def run_command(command: list[str]) -> Measured:
    """Run a command; its own peak memory, not that of earlier ones."""
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as child:
        output = child.stdout.read() if child.stdout else ""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    return Measured(seconds, usage.ru_maxrss * 1024 / 1e6, output, child.returncode)


def machine(*packages: str) -> dict[str, str]:
    """Return what the figures were measured on."""
    found = {"cpu": _cpu(), "cores": str(os.cpu_count()), "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def versions_of(python: str, *packages: str) -> dict[str, str]:
    """Return the versions of packages that another Python has."""
    code = (
        "import json, sys; from importlib.metadata import version, PackageNotFoundError as E\n"
        "def v(n):\n try: return version(n)\n except E: return 'not installed'\n"
        "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
    )
    done = run_command([python, "-c", code, *packages])
    return dict(json.loads(done.output.splitlines()[-1]))


def save(name: str, document: object) -> None:
    """Write ``benchmarks/results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
