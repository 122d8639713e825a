"""How long does it take to compare every tensor of two large models, and how much memory?

A Swin-sized model (about 4,700 nodes) against a copy with one weight scaled by 1.01 in the middle.
Goal: at most 6 s and 1.6 GB. Compared with polygraphy, marking all tensors, where it is installed.

    python benchmarks/diff_tensors.py [--peers]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import Measured, machine, run_code, run_command, save
from benchmarks.models import swin

GOAL_S, GOAL_MB = 6.0, 1600.0
OURS = """
import sys
from onnx_passes.core.model_io import load
from onnx_passes.numerics.feeds import generate
from onnx_passes.numerics.tensors import compare_tensors, first_wrong
a, b = load(sys.argv[1]), load(sys.argv[2])
found = list(compare_tensors(a, b, generate(a), noise=sys.argv[3] == "noise"))
print(len(found), "tensors, first wrong:", first_wrong(found, b).name)
"""


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as name:
        a, b = Path(name) / "a.onnx", Path(name) / "b.onnx"
        model = swin()
        nodes = len(model.graph.node)
        onnx.save(model, a)
        planted = _scale_one_weight(model)
        onnx.save(model, b)
        rows = {
            "ours": run_code(OURS, str(a), str(b), "plain"),
            "ours, with measured rounding noise": run_code(OURS, str(a), str(b), "noise"),
        }
        if "--peers" in sys.argv:
            rows["polygraphy, mark all"] = _polygraphy(a, b)
    print(f"{nodes} nodes, weight {planted} scaled by 1.01")
    for label, row in rows.items():
        print(f"{label:36} {row.seconds:7.1f} s {row.peak_mb:7.0f} MB  {_last(row)}")
    first = rows["ours"]
    verdict = "met" if first.seconds <= GOAL_S and first.peak_mb <= GOAL_MB else "missed"
    print(f"goal {GOAL_S:g} s, {GOAL_MB:g} MB: {verdict}")
    figures = {label: [row.seconds, row.peak_mb, _last(row)] for label, row in rows.items()}
    where = machine("onnxruntime", "onnx-ir", "numpy", "polygraphy")
    save("diff_tensors", {"nodes": nodes, "rows": figures, "goal": verdict, "machine": where})


def _scale_one_weight(model: onnx.ModelProto) -> str:
    """Scale the middle one of the large weights in place; return its name."""
    large = [t for t in model.graph.initializer if len(t.dims) > 1]
    tensor = large[len(large) // 2]
    scaled = numpy_helper.to_array(tensor) * np.float32(1.01)
    tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    return str(tensor.name)


def _polygraphy(a: Path, b: Path) -> Measured:
    outputs = a.with_name("a.json")
    base = [sys.executable, "-m", "polygraphy", "run", "--onnxrt", "--onnx-outputs", "mark", "all"]
    first = run_command([*base, str(a), "--save-outputs", str(outputs)])
    second = run_command([*base, str(b), "--load-outputs", str(outputs)])
    both = first.seconds + second.seconds
    return Measured(both, max(first.peak_mb, second.peak_mb), second.output, second.returncode)


def _last(row: Measured) -> str:
    lines = [line for line in row.output.splitlines() if line.strip()]
    return lines[-1][:100] if lines else ""


if __name__ == "__main__":
    main()
