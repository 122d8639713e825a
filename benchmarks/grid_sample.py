"""What a GridSample costs once it is gone: ours, the native kernel and the public alternatives.

Usage::

    python benchmarks/grid_sample.py [--only a1,b] [--pairs 20] [--sweep]

Each candidate runs in turn with the native kernel, in one process and one thread; the ratio is the
median over the pairs of the processor time of the two. (Processor time of one thread is wall time
on an idle machine, and leaves out what other programs take.) Peak memory comes from a process of
its own that loads the model and runs it once: the greatest resident set less that before. From the
second run on ONNX Runtime's memory pattern adds a block for all intermediates of static models;
``enable_mem_pattern=False`` avoids it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.grid_sample_peers import (  # noqa: E402  after path
    four_gathers,
    onnxsim,
    torch_decomposition,
)
from benchmarks.measure import RESULTS, machine, run_command  # noqa: E402
from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample  # noqa: E402

Array = np.ndarray[Any, Any]
WARM_UP = 3


@dataclasses.dataclass(frozen=True)
class Workload:
    """One GridSample: shapes, attributes, and the ratio to reach."""

    x: tuple[int, ...]
    grid: tuple[int, ...]
    mode: str = "bilinear"
    padding: str = "zeros"
    align: int = 0
    goal: float | None = None

    def model(self) -> onnx.ModelProto:
        """Return the native model."""
        node = helper.make_node(
            "GridSample",
            ["x", "grid"],
            ["y"],
            mode=self.mode,
            padding_mode=self.padding,
            align_corners=self.align,
        )
        x = helper.make_tensor_value_info("x", 1, self.x)
        grid = helper.make_tensor_value_info("grid", 1, self.grid)
        y = helper.make_tensor_value_info("y", 1, [*self.x[:2], *self.grid[1:-1]])
        graph = helper.make_graph([node], "sampled", [x, grid], [y])
        opset = helper.make_opsetid("", 16)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8)

    def feeds(self) -> dict[str, Array]:
        """Return normal pixels and uniform coordinates, a tenth of them outside."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal(self.x, dtype=np.float32)
        return {"x": x, "grid": rng.uniform(-1.1, 1.1, self.grid).astype(np.float32)}


STARNET = ((8, 3, 32, 100), (8, 32, 100, 2))
MAP = ((1, 64, 120, 160), (1, 120, 160, 2))
WORKLOADS = {
    "a1": Workload((1, 3, 32, 100), (1, 32, 100, 2), align=1, goal=0.55),
    "a8": Workload(*STARNET, align=1, goal=0.52),
    "a64": Workload((64, 3, 32, 100), (64, 32, 100, 2), align=1, goal=0.90),
    "b": Workload(*MAP, goal=2.2),
    "c": Workload((6, 256, 16, 44), (6, 40000, 1, 2), goal=1.9),
    "d": Workload((1, 32, 16, 64, 64), (1, 16, 64, 64, 3), goal=0.40),
    "a8 nearest": Workload(*STARNET, mode="nearest", align=1),
    "a8 cubic": Workload(*STARNET, mode="bicubic", align=1),
    "a8 border": Workload(*STARNET, padding="border", align=1),
    "a8 reflection": Workload(*STARNET, padding="reflection", align=1),
    "b nearest": Workload(*MAP, mode="nearest"),
    "b cubic": Workload(*MAP, mode="bicubic"),
    "b border": Workload(*MAP, padding="border"),
    "b reflection": Workload(*MAP, padding="reflection"),
}
OURS = {
    "auto": DecomposeGridSample(),
    "auto, zeros=value": DecomposeGridSample(zeros="value"),
    "elements": DecomposeGridSample(form="elements"),
    "rows": DecomposeGridSample(form="rows"),
    "packed": DecomposeGridSample(form="packed"),
    "packed in runs": DecomposeGridSample(form="packed", chunk=1024),
    "tent": DecomposeGridSample(form="tent"),
}
TENT_AT_MOST = 8 * 3200 * 3200  # weights; beyond, a dense form only takes time and memory here


def ours(model: onnx.ModelProto, item: DecomposeGridSample) -> onnx.ModelProto | str:
    """Return the decomposed model, or why there is none."""
    loaded = ir.from_proto(model)
    result = item.run(loaded)
    return result.skipped[0].text if result.skipped else ir.to_proto(loaded)


def candidates(work: Workload) -> dict[str, onnx.ModelProto | str]:
    """Return every way to write the node."""
    native = work.model()
    found = {name: ours(native, item) for name, item in OURS.items()}
    if math.prod(work.grid[:-1]) * math.prod(work.x[2:]) > TENT_AT_MOST:
        found["tent"] = "not measured at this size"
    peers = {"onnxsim": onnxsim, "four gathers": four_gathers, "torch": torch_decomposition}
    return {**found, **{name: peer(native) for name, peer in peers.items()}}


def session(model: onnx.ModelProto | str) -> onnxruntime.InferenceSession:
    """Load a model, or the file of one, for one thread, with ONNX Runtime's optimisation on."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def timed(run: onnxruntime.InferenceSession, feeds: dict[str, Array]) -> float:
    """Return the processor time of one run."""
    started = time.process_time()
    run.run(None, feeds)
    return time.process_time() - started


def measure(work: Workload, pairs: int, folder: Path) -> list[dict[str, Any]]:
    """Return one row for each candidate, the native kernel first."""
    feeds, native = work.feeds(), session(work.model())
    expected = native.run(None, feeds)[0]
    own = statistics.median(timed(native, feeds) for _ in range(pairs))
    base = peak_mb(work.model(), feeds, folder)
    rows: list[dict[str, Any]] = [
        {"form": "native", "ratio": 1.0, "ms": 1e3 * own, "nodes": 1, "peak_mb": base, "error": 0.0}
    ]
    for name, model in candidates(work).items():
        if isinstance(model, str):
            rows.append({"form": name, "absent": model})
            continue
        run = session(model)
        for _ in range(WARM_UP):
            actual = run.run(None, feeds)[0]
        ratios = [1 / (timed(native, feeds) / timed(run, feeds)) for _ in range(pairs)]
        rows.append(
            {
                "form": name,
                "ratio": statistics.median(ratios),
                "nodes": len(model.graph.node),
                "peak_mb": peak_mb(model, feeds, folder),
                "error": float(np.abs(actual - expected).max()),
                "same_bits": bool((actual.view(np.uint32) == expected.view(np.uint32)).all()),
            }
        )
    return rows


def peak_mb(model: onnx.ModelProto, feeds: dict[str, Array], folder: Path) -> float:
    """Return what a process of its own needs to load and run the model, in 10^6 bytes."""
    path, arrays = folder / "model.onnx", folder / "feeds.npz"
    onnx.save(model, path)
    np.savez(arrays, x=feeds["x"], grid=feeds["grid"])
    done = run_command([sys.executable, __file__, "--peak", str(path), str(arrays)])
    return float(done.output.split()[-1])


def report_peak(path: str, arrays: str) -> None:
    """Print the growth of the resident set, in 10^6 bytes."""
    with np.load(arrays) as file:
        feeds = dict(file)
    before = resident_kb("VmRSS")
    session(path).run(None, feeds)
    print((resident_kb("VmHWM") - before) * 1024 / 1e6)


def resident_kb(key: str) -> int:
    """Return a size from the status of this process; getrusage would count its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{key}:")[1].split()[0])


def table(name: str, work: Workload, rows: list[dict[str, Any]]) -> list[str]:
    """Return the Markdown of one workload."""
    goal = f", to reach {work.goal:.2f}" if work.goal else ""
    title = f"{work.mode}, {work.padding}, align_corners {work.align}{goal}"
    lines = [f"### {name}: x {list(work.x)}, grid {list(work.grid)}, {title}", ""]
    lines += ["| form | ratio | nodes | peak MB | greatest error | same bits |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in rows:
        if "absent" in row:
            lines.append(f"| {row['form']} | - | | | {row['absent']} | |")
            continue
        bits = {True: "yes", False: "no"}.get(row.get("same_bits", True))
        first = f"| {row['form']} | {row['ratio']:.2f} | {row['nodes']} | {row['peak_mb']:.0f} "
        lines.append(f"{first}| {row['error']:.1e} | {bits} |")
    return [*lines, ""]


def sweep(pairs: int) -> dict[str, list[tuple[int, float]]]:
    """Return the ratio of each form against the number of channels, for the picture."""
    found: dict[str, list[tuple[int, float]]] = {}
    for channels in (1, 2, 4, 8, 16, 32, 64, 128):
        work = Workload((1, channels, 64, 64), (1, 64, 64, 2), align=1)
        feeds, native = work.feeds(), session(work.model())
        for form in ("elements", "rows", "packed"):
            model = ours(work.model(), DecomposeGridSample(form=form))
            run = session(model)
            for _ in range(WARM_UP):
                run.run(None, feeds)
            ratios = [1 / (timed(native, feeds) / timed(run, feeds)) for _ in range(pairs)]
            found.setdefault(form, []).append((channels, statistics.median(ratios)))
    return found


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, comma-separated")
    parser.add_argument("--pairs", type=int, default=21)
    parser.add_argument("--sweep", action="store_true", help="only ratio against channels")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        report_peak(*arguments.peak)
        return
    path = RESULTS / "grid_sample.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known["machine"] = machine("onnxruntime", "onnx", "onnx-ir", "onnxsim", "numpy", "torch")
    if arguments.sweep:
        known["sweep"] = sweep(arguments.pairs)
    else:
        with tempfile.TemporaryDirectory() as folder:
            for name in arguments.only.split(","):
                rows = measure(WORKLOADS[name], arguments.pairs, Path(folder))
                known.setdefault("workloads", {})[name] = rows
                print("\n".join(table(name, WORKLOADS[name], rows)), flush=True)
                path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    path.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    write_tables(known)


def write_tables(known: dict[str, Any]) -> None:
    """Write all tables with machine and versions."""
    usage = (__doc__ or "").split("::", maxsplit=1)[1].split("\n\n", maxsplit=2)[2].strip()
    lines = [
        "# GridSample",
        "",
        usage,
        "",
        ", ".join(f"{k} {v}" for k, v in known["machine"].items()),
    ]
    lines += ["", f"Pairs: at least 20 for each ratio; warm-up {WARM_UP} runs.", ""]
    for name, rows in known.get("workloads", {}).items():
        lines += table(name, WORKLOADS[name], rows)
    (RESULTS / "grid_sample.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
