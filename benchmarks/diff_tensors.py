"""How long does it take to compare every tensor of two large models, and how much memory?

A Swin-sized model (about 4,700 nodes) against a copy with one weight scaled by 1.01 in the middle.
Goal: at most 6 s and 1.6 GB. Compared with polygraphy, marking all tensors, where it is installed.

    python benchmarks/diff_tensors.py [--peers]
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import Measured, machine, run_command, save
from benchmarks.models import swin

GOAL_S, GOAL_MB = 6.0, 1600.0


def main() -> None:
    """Measure and print the table."""
    if "--build" in sys.argv:
        build(Path(sys.argv[-1]))
        return
    with tempfile.TemporaryDirectory() as name:
        a, b = Path(name) / "a.onnx", Path(name) / "b.onnx"
        # In a process of its own: the peak of a child begins with the memory of its parent.
        built = run_command([sys.executable, __file__, "--build", name])
        nodes, planted = built.output.split()[-2:]
        rows = {
            "ours": _ours(a, b),
            "ours, without measuring what rounding does": _ours(a, b, "--tolerance", "exact"),
        }
        if "--peers" in sys.argv:
            rows["polygraphy, mark all"] = _polygraphy(a, b)
    print(f"{nodes} nodes, weight {planted} scaled by 1.01")
    for label, row in rows.items():
        print(f"{label:44} {row.seconds:7.1f} s {row.peak_mb:7.0f} MB  {_last(row)}")
    first = rows["ours"]
    verdict = "met" if first.seconds <= GOAL_S and first.peak_mb <= GOAL_MB else "missed"
    print(f"goal {GOAL_S:g} s, {GOAL_MB:g} MB: {verdict}")
    figures = {label: [row.seconds, row.peak_mb, _last(row)] for label, row in rows.items()}
    where = machine("onnxruntime", "onnx-ir", "numpy", "polygraphy")
    save("diff_tensors", {"nodes": int(nodes), "rows": figures, "goal": verdict, "machine": where})


def build(folder: Path) -> None:
    """Write both models; print the number of nodes and the name of the weight."""
    model = swin()
    onnx.save(model, folder / "a.onnx")
    planted = _scale_one_weight(model)
    onnx.save(model, folder / "b.onnx")
    print(len(model.graph.node), planted)


def _scale_one_weight(model: onnx.ModelProto) -> str:
    """Scale the middle one of the large weights in place; return its name."""
    large = [t for t in model.graph.initializer if len(t.dims) > 1]
    tensor = large[len(large) // 2]
    scaled = numpy_helper.to_array(tensor) * np.float32(1.01)
    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    return str(tensor.name)


def _ours(a: Path, b: Path, *options: str) -> Measured:
    """Run the command; it exits with 1, as it finds the planted weight."""
    code = "from pipeline.cli import main; main()"
    command = [sys.executable, "-c", code, "diff", str(a), str(b), "--tensors", "shared", "--json"]
    done = run_command([*command, *options])
    found = json.loads(done.output)
    says = f"{found['compared']} tensors, first wrong: {found['first']}"
    return dataclasses.replace(done, output=says)


def _polygraphy(a: Path, b: Path) -> Measured:
    outputs = a.with_name("a.json")
    script = str(Path(sys.executable).with_name("polygraphy"))  # it cannot be run with -m
    mark = ["--onnxrt", "--onnx-outputs", "mark", "all"]
    first = run_command([script, "run", str(a), *mark, "--save-outputs", str(outputs)])
    second = run_command([script, "run", str(b), *mark, "--load-outputs", str(outputs)])
    both = first.seconds + second.seconds
    return Measured(both, max(first.peak_mb, second.peak_mb), second.output, second.returncode)


def _last(row: Measured) -> str:
    lines = [line for line in row.output.splitlines() if line.strip()]
    return lines[-1].split(" | Command")[0] if lines else ""


if __name__ == "__main__":
    main()
