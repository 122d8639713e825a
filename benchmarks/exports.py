"""What do the presets make of networks as PyTorch exports them?

Each network of torch_networks.py, by both exporters of PyTorch: nodes (with those of sub-graphs)
before, after onnxsim and after @clean; then both device presets, every pass checked against the
original in onnxruntime, and what lint still finds for the CANN they are meant for.

    python benchmarks/exports.py [--python PATH] [--only NAME] [--keep FOLDER]

``--python`` has torch and torchvision.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ascend.lint.linter import Target, lint
from ascend.presets import PRESETS
from benchmarks.measure import ROOT, machine, run_code, save, versions_of
from onnx_passes import optimize

if TYPE_CHECKING:
    from onnx_passes.core.outcome import Outcome

_CANN = {"ascend310p": "8.1.RC1", "ascend310p-cann5": "5.0.4.6"}


def main() -> None:
    """Measure and print the table."""
    options = _options()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        if not list(folder.glob("*.onnx")):
            script = str(ROOT / "benchmarks" / "torch_networks.py")
            command = [options.python, script, str(folder), *(options.only or [])]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(*(line for line in done.stdout.splitlines() if "not exported" in line), sep="\n")
        rows = [_row(path) for path in sorted(folder.glob("*.onnx"))]
    versions = {
        **machine("onnx", "onnxruntime", "onnxsim"),
        **versions_of(options.python, "torch", "torchvision"),
    }
    print(versions)
    if not options.only:
        save("exports", {"models": rows, "machine": versions})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="has torch and torchvision")
    parser.add_argument("--only", action="append", help="a network of torch_networks.py")
    parser.add_argument("--keep", type=Path, help="write the exports there, or take those there")
    return parser.parse_args()


def _row(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"model": path.stem, "nodes": _nodes(onnx.load(path).graph)}
    row["onnxsim"] = _simplified(path)
    for preset in PRESETS:
        started = time.perf_counter()
        outcome = optimize(path, preset.passes, on_fail="undo")
        row[preset.name] = {
            "nodes": sum(1 for _ in outcome.model.graph.all_nodes()),
            "seconds": round(time.perf_counter() - started, 2),
            "verdicts": _verdicts(outcome),
            "left": _left(outcome, preset.name),
        }
    print(_line(row), flush=True)
    return row


def _nodes(graph: onnx.GraphProto) -> int:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return len(graph.node) + sum(_nodes(each) for each in inner)


def _simplified(path: Path) -> int | None:
    """Return the nodes that onnxsim leaves, or None where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "simplified.onnx"
        code = "import sys, onnx, onnxsim\nonnx.save(onnxsim.simplify(sys.argv[1])[0], sys.argv[2])"
        run_code(code, str(path), str(target))  # in a child: it prints a line for each trouble
        return _nodes(onnx.load(target).graph) if target.exists() else None


def _verdicts(outcome: Outcome) -> dict[str, int]:
    """Return how many steps changed the model, by verdict."""
    found = [step.verdict for step in outcome.steps if step.verdict != "unchanged"]
    return {verdict: found.count(verdict) for verdict in dict.fromkeys(found)}


def _left(outcome: Outcome, preset: str) -> list[str]:
    """Return the errors that lint finds for the CANN that a preset is meant for."""
    if preset not in _CANN:
        return []
    findings = lint(outcome.model, Target(_CANN[preset], "Ascend310P3"))
    errors = [each for each in findings if each.level == "error"]
    return [f"{each.code} {each.subject.text} on CANN {_CANN[preset]}" for each in errors]


def _line(row: dict[str, Any]) -> str:
    results = [row[preset.name] for preset in PRESETS]
    notes = [f"{verdict} {n}" for each in results for verdict, n in each["verdicts"].items()
             if verdict != "passed"]  # fmt: skip
    notes += [left for each in results for left in each["left"]]
    return (
        f"{row['model']:24} {row['nodes']:5} onnxsim {row['onnxsim'] or '-':5}  "
        + "  ".join(
            f"@{p.name} {row[p.name]['nodes']:5} ({row[p.name]['seconds']:.1f} s)" for p in PRESETS
        )
        + f"  {'; '.join(notes)}"
    )


if __name__ == "__main__":
    main()
