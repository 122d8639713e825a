"""What do clean-ups cost, and what do they leave, next to those of the peers?

One child process for each model and tool: wall time of load, optimise and save (imports left out),
wall time of the whole process, its peak memory, the nodes of the main graph after, and the greatest
error of the outputs, over their peak, in onnxruntime with graph optimisation off. The models have
live random weights: the last line says how far another input moves the outputs. Our rows run
without numeric checks, as the peers have none. Peers that ``--python`` lacks are skipped.

    python benchmarks/optimize.py [--python PATH] [--only MODEL] [--tool TOOL] [--rounds 2]
                                  [--limit 60]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ascend.presets import PRESETS
from benchmarks import models
from benchmarks.measure import machine, run_command, save, versions_of

if TYPE_CHECKING:
    from collections.abc import Callable

_CLEAN = next(preset.passes for preset in PRESETS if preset.name == "clean")
_OURS = """
from onnx_passes import optimize
from onnx_passes.core.manager import run_passes
from onnx_passes.core.model_io import save
from onnx_passes.core.passlist import parse
import onnxruntime
items = parse({text!r})
def work(source, target):
    outcome = optimize(source, items, check=False)
    assert outcome.stopped_by is None, outcome.stopped_by.reason
    save(outcome.model, target)
"""
# What a peer is asked for: its default clean-up, by its documented call.
TOOLS = {
    "ours, @clean": _OURS.format(text=_CLEAN),
    "onnxsim": """
import onnx, onnxsim
def work(source, target):
    onnx.save(onnxsim.simplify(onnx.load(source))[0], target, **LARGE)
""",
    "onnxslim": """
import onnx, onnxslim
def work(source, target):
    onnx.save(onnxslim.slim(source), target, **LARGE)
""",
    "onnxscript": """
import onnx_ir, onnxscript.optimizer
def work(source, target):
    model = onnxscript.optimizer.optimize(onnx_ir.load(source))
    onnx_ir.save(model, target, external_data=LARGE.get("location"))
""",
    "onnxoptimizer": """
import onnx, onnxoptimizer
def work(source, target):
    onnx.save(onnxoptimizer.optimize(onnx.load(source)), target, **LARGE)
""",
    "onnxruntime, offline": """
import onnxruntime
def work(source, target):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = target
    if LARGE:
        key = "session.optimized_model_external_initializers_file_name"
        options.add_session_config_entry(key, "out.data")
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
""",
}
_STOPPED = 124  # what timeout(1) answers
_RUN = """
import json, sys, time
LARGE = {large}
{code}
started = time.perf_counter()
work(sys.argv[1], sys.argv[2])
seconds = time.perf_counter() - started
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([seconds, int(status["VmHWM"].split()[0]) * 1024 / 1e6]))
"""


def main() -> None:
    """Measure and print the tables."""
    options = _options()
    document: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for model in options.only or ["StarNet", "BERT", "Swin", "ResNet", "chain", "2.5 GB"]:
            source = _build(model, Path(name))
            document[model] = _rows(model, source, options)
            for path in source.parent.iterdir():
                path.unlink()
    packages = ("onnxsim", "onnxslim", "onnxscript", "onnxoptimizer", "onnxruntime", "onnx-ir")
    versions = {**machine(*packages), **versions_of(options.python, *packages)}
    if not options.only:
        save("optimize", {"models": document, "machine": versions})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="has the peers installed")
    parser.add_argument("--only", action="append", help="StarNet, BERT, Swin, ResNet, chain...")
    parser.add_argument("--tool", action="append", choices=[*TOOLS])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=int, default=60, help="seconds after which one is stopped")
    return parser.parse_args()


def _build(model: str, folder: Path) -> Path:
    path = folder / "model.onnx"
    if model == "2.5 GB":
        _save_large(path)
    elif model == "StarNet":
        from pipeline.export import export_starnet

        export_starnet(path)
    else:
        make: dict[str, Callable[[], onnx.ModelProto]] = {
            "BERT": models.bert,
            "Swin": models.swin,
            "ResNet": models.resnet,
            "chain": lambda: models.chain(20_000),
        }
        onnx.save(make[model](), path)
    return path


def _save_large(path: Path, layers: int = 10, size: int = 7936) -> None:
    """Write MatMul, Add 0, Relu, Identity in a row, 252 MB of external data a layer."""
    b, rng, x = models.Builder(0), np.random.default_rng(0), "x"
    with path.with_name("weights.data").open("wb") as data:
        for layer in range(layers):
            weight = TensorProto(name=f"w{layer}", data_type=TensorProto.FLOAT, dims=[size, size])
            weight.data_location = TensorProto.EXTERNAL
            entries = {"location": "weights.data", "offset": data.tell(), "length": 4 * size**2}
            for key, value in entries.items():
                weight.external_data.add(key=key, value=str(value))
            data.write(rng.random(size * size, np.float32).tobytes())
            b.initializers.append(weight)
            x = b.op("Identity", b.op("Relu", b.op("MatMul", x, weight.name)))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", size])
    path.write_bytes(b.model([given], x, ["N", size]).SerializeToString())


def _rows(model: str, source: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run each tool, rounds interleaved; keep the fastest round of each."""
    nodes = len(onnx.load(source, load_external_data=False).graph.node)
    print(f"\n{model}, {nodes} nodes", flush=True)
    rows: dict[str, Any] = {}
    for _ in range(options.rounds):
        for tool in options.tool or TOOLS:
            if rows.get(tool, {}).get("failed"):
                continue
            row = _measured(tool, source, options, large=model == "2.5 GB")
            if tool not in rows or row.get("seconds", 0) < rows[tool]["seconds"]:
                rows[tool] = row
    expected = _outputs(source, 0) if model != "2.5 GB" else []
    for tool, row in rows.items():
        target = source.parent / f"{tool}.onnx"
        if expected and "failed" not in row:
            row["error"] = _error(expected, _outputs(target, 0))
        print(_line(tool, row), flush=True)
    alive = _error(expected, _outputs(source, 1)) if expected else None
    print(f"another input moves the outputs by {alive}", flush=True)
    return {"nodes": nodes, "another_input": alive, "tools": rows}


def _measured(
    tool: str, source: Path, options: argparse.Namespace, *, large: bool
) -> dict[str, Any]:
    target = source.parent / f"{tool}.onnx"
    target.unlink(missing_ok=True)
    os.sync()  # else one tool waits for what another wrote
    external = f"dict(save_as_external_data=True, location={tool + '.data'!r})" if large else "{}"
    code = _RUN.format(large=external, code=TOOLS[tool])
    command = [options.python, "-c", code, str(source), str(target)]
    done = run_command(["timeout", str(options.limit), *command])
    for data in source.parent.glob("*.data"):
        if large and data.name != "weights.data":
            data.unlink()
    if done.returncode == _STOPPED:
        return {"failed": f"stopped after {options.limit} s"}
    if done.returncode or not target.exists():
        last = [line for line in done.output.splitlines() if line.strip()][-1:]
        return {"failed": (last or [f"exit code {done.returncode}"])[0][:120]}
    # Not the peak that wait4 tells: that one begins with the parent's memory.
    seconds, peak_mb = json.loads(done.output.splitlines()[-1])
    return {
        "seconds": round(seconds, 3),
        "process_s": round(done.seconds, 3),
        "peak_mb": round(peak_mb),
        "nodes": len(onnx.load(target, load_external_data=False).graph.node),
    }


def _outputs(path: Path, seed: int) -> list[np.ndarray[Any, Any]]:
    from onnx_passes.core.model_io import load
    from onnx_passes.numerics.feeds import generate
    from onnx_passes.numerics.runner import Runner

    model = load(path)
    feeds = generate(load(path.parent / "model.onnx"), seed=seed)
    return list(Runner(model).run(feeds).values())


def _error(expected: list[np.ndarray[Any, Any]], actual: list[np.ndarray[Any, Any]]) -> float:
    pairs = zip(expected, actual, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)


def _line(tool: str, row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"  {tool:24} {row['failed']}"
    return (
        f"  {tool:24} {row['seconds']:8.2f} s {row['process_s']:8.2f} s whole "
        f"{row['peak_mb']:6d} MB {row['nodes']:6d} nodes  error {row.get('error', 'not run')}"
    )


if __name__ == "__main__":
    main()
