"""What does float16 do to StarNet without marks, with marks, and with the nodes that are found?

StarNet is exported, simplified and its GridSample decomposed; then the emulation of float16 runs
with one set of float32 nodes after another. Printed, against the same model in float32: the
greatest error of the sampling grid (in [-1, 1]), of the rectified image (pixels in [-1, 1]) and of
the probabilities, and how many decoded texts changed, on drawn strokes and on rendered words.

    python benchmarks/half.py [WEIGHTS.npz]

Without weights, made-up ones are taken: they react to the image and read nonsense.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.measure import RESULTS, machine
from eval.ctc import decode
from eval.images import to_input
from eval.render import random_word, render_word
from onnx_passes import optimize
from onnx_passes.numerics.compare import greatest_difference
from onnx_passes.numerics.half import emulate_half, is_marked
from onnx_passes.numerics.precision import Settings, search
from onnx_passes.numerics.runner import Runner
from onnx_passes.numerics.watch import expose
from pipeline.export import export_starnet
from pipeline.models.stroke_images import stroke_images

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt
    import onnx_ir as ir

    Float32 = npt.NDArray[np.float32]

SEED = 5
IMAGES = 64
SEARCH_IMAGES = 4
PIXEL_BUDGETS = (0.05, 0.005)
HEAD = "| what stays float32 | nodes | grid | rectified | probabilities | texts changed |"


class Bench:
    """The decomposed model with its grid and its rectified image as further outputs."""

    def __init__(self, weights: Path | None) -> None:
        """Export, simplify, decompose."""
        with tempfile.TemporaryDirectory() as folder:
            path = export_starnet(Path(folder, "starnet.onnx"), weights)
            simplified = optimize(path, "onnxsim", check=False).model
        (sample,) = (node for node in simplified.graph if node.op_type == "GridSample")
        self.image = sample.outputs[0].name or ""
        self.grid = next(v.name for v in sample.inputs[1:] if v is not None) or ""
        outcome = optimize(simplified, "decompose-grid-sample")
        self.text = outcome.model.graph.outputs[0].name or ""
        self.model = expose(outcome.model, [self.grid, self.image])
        self.marked = [node.name or "" for node in self.model.graph if is_marked(node)]
        after = optimize(outcome.model, "onnxsim", check=False).model
        self.survivors = sum(is_marked(node) for node in after.graph)

    def row(self, what: str, images: Float32, keep: Collection[str], *, marks: bool) -> str:
        """Return one row of the table."""
        half = emulate_half(self.model, keep, marks=marks)
        expected, actual = (Runner(model).run({"x": images}) for model in (self.model, half))
        errors = (
            greatest_difference(expected[name], actual[name])
            for name in (self.grid, self.image, self.text)
        )
        changed = sum(
            a.text != b.text
            for a, b in zip(decode(expected[self.text]), decode(actual[self.text]), strict=True)
        )
        count = len(set(keep) | (set(self.marked) if marks else set()))
        cells = (what, count, *(f"{error:.4f}" for error in errors), f"{changed} of {len(images)}")
        return f"| {' | '.join(map(str, cells))} |"

    def found(self, budget: float, output: str, *, marks: bool) -> tuple[list[str], float]:
        """Return the nodes that keep an output within a budget, and the seconds it took."""
        started = time.perf_counter()
        feeds = [{"x": stroke_images(SEARCH_IMAGES, SEED + 1)}]
        settings = Settings(marks=marks, outputs=[output])
        plan = search(self.model, feeds, budget, settings=settings)
        return list(plan.nodes), time.perf_counter() - started


def main() -> None:
    """Measure, print and write ``results/half.md``."""
    logging.disable(logging.INFO)
    weights = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    bench = Bench(weights)
    lines = [f"Weights: {weights.name if weights else 'made up, they read nonsense'}.", ""]
    lines += [f"Marked by decompose-grid-sample: {len(bench.marked)} nodes;"]
    lines += [f"still marked when onnxsim runs once more: {bench.survivors}.", ""]
    plans = {budget: bench.found(budget, bench.image, marks=True) for budget in PIXEL_BUDGETS}
    unmarked, seconds = bench.found(PIXEL_BUDGETS[1], bench.image, marks=False)
    lines += [f"The budgets hold on the {SEARCH_IMAGES} drawn strokes that were searched on.", ""]
    for budget, (nodes, took) in plans.items():
        lines.append(f"Found for {budget} on the rectified image, with the marks, in {took:.0f} s:")
        lines += [f"{', '.join(nodes)}.", ""]
    lines.append(f"Found for {PIXEL_BUDGETS[1]} without the marks, in {seconds:.0f} s:")
    lines += [f"{', '.join(unmarked)}.", ""]
    for name, images in (("strokes", stroke_images(IMAGES, SEED)), ("rendered words", _words())):
        lines += [f"{IMAGES} {name}:", "", HEAD, "|---|---|---|---|---|---|"]
        lines += [*_rows(bench, images, plans, unmarked), ""]
    where = machine("onnxruntime", "onnx-ir", "onnxsim", "numpy")
    lines.append(", ".join(f"{key} {value}" for key, value in where.items()))
    text = "\n".join(["# float16 on StarNet, emulated", "", *lines]) + "\n"
    sys.stdout.write(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "half.md").write_text(text)


def _rows(
    bench: Bench,
    images: Float32,
    plans: dict[float, tuple[list[str], float]],
    unmarked: list[str],
) -> list[str]:
    strict = plans[PIXEL_BUDGETS[1]][0]
    stored = [name for name in strict if name not in _grid_makers(bench.model, bench.grid)]
    rows = [
        bench.row("nothing", images, (), marks=False),
        bench.row("the marked nodes", images, (), marks=True),
        bench.row("what computes the grid, not the marked nodes", images, strict, marks=False),
        bench.row("the same and the marked; the grid is stored", images, stored, marks=True),
    ]
    for budget, (nodes, _) in plans.items():
        rows.append(bench.row(f"marked and found for {budget}", images, nodes, marks=True))
    last = f"found for {PIXEL_BUDGETS[1]} without marks"
    return [*rows, bench.row(last, images, unmarked, marks=False)]


def _grid_makers(model: ir.Model, grid: str) -> set[str]:
    """Return the node that makes the grid, whose float32 result is then stored as float16."""
    return {node.name or "" for node in model.graph if grid in {v.name for v in node.outputs}}


def _words() -> Float32:
    rng = np.random.default_rng(SEED)
    return np.stack([to_input(render_word(random_word(rng), rng)) for _ in range(IMAGES)])


if __name__ == "__main__":
    main()
