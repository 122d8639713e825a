"""What does it gain to prepare records while the model runs?

The model runs on one thread; records are prepared in between by the same thread, or ahead by
another one, or by that and a process. StarNet, which takes far longer than the preparation of its
images, and a light model that takes about as long. Seconds of wall time, in turns; the gain is the
median over the rounds of what the first way takes, divided by the other.

    python benchmarks/overlap.py [--rounds 7]
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnx.parser

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import machine, save
from benchmarks.preprocess import write_jpegs
from eval.ahead import prepare_all
from eval.backends import OrtBackend
from eval.lmdb_data import LmdbTree
from eval.samples import prepare
from pipeline.export import export_starnet

RECORDS = {"StarNet": 600, "light": 12000}
BATCH = 32
LIGHT = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3, 32, 100] x) => (float[N, 25, 37] y) <int64[1] axis = {2}> {
  wide = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, kernel)
  row = AveragePool<kernel_shape = [32, 4], strides = [32, 4]>(wide)
  flat = Squeeze(row, axis)
  columns = Transpose<perm = [0, 2, 1]>(flat)
  scores = MatMul(columns, weights)
  y = Softmax<axis = 2>(scores)
}
"""
WAYS = {"in between": 0, "ahead, a thread": 1, "ahead, two lanes": 2}


def main() -> None:
    """Measure and print the table."""
    rounds = int(sys.argv[sys.argv.index("--rounds") + 1]) if "--rounds" in sys.argv else 7
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_jpegs(folder / "jpegs")
        models = {"StarNet": folder / "starnet.onnx", "light": folder / "light.onnx"}
        export_starnet(models["StarNet"])
        _write_light(models["light"])
        for model, path in models.items():
            backend = OrtBackend(path, BATCH, threads=1)
            taken: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way, lanes in WAYS.items():
                    taken[way].append(_seconds(backend, folder / "jpegs", RECORDS[model], lanes))
            figures[model] = _row(taken)
    print("model     way                              seconds   gain")
    for model, ways in figures.items():
        for way, (seconds, gain) in ways.items():
            print(f"{model:9} {way:30} {seconds:9.2f} {gain:6.2f}")
    where = machine("onnxruntime", "opencv-python-headless", "numpy")
    save("overlap", {"records": RECORDS, "batch": BATCH, "rows": figures, "machine": where})


def _row(taken: dict[str, list[float]]) -> dict[str, tuple[float, float]]:
    """Return the median of the seconds and of the gain of each way."""
    first = taken["in between"]
    return {
        way: (median(seconds), median(a / b for a, b in zip(first, seconds, strict=True)))
        for way, seconds in taken.items()
    }


def _seconds(backend: OrtBackend, data: Path, records: int, lanes: int) -> float:
    """Return how long the first ``records`` take."""
    with LmdbTree(data) as tree, contextlib.ExitStack() as stack:
        samples = (sample for sample, _ in zip(tree, range(records), strict=False))
        started = time.perf_counter()
        prepared = map(prepare, samples) if not lanes else prepare_all(samples, lanes)
        if lanes:
            stack.callback(prepared.close)  # type: ignore[union-attr]
        images = (image for _, image in prepared if image is not None)
        for _ in backend.run(images):
            pass
        return time.perf_counter() - started


def _write_light(path: Path) -> None:
    model = onnx.parser.parse_model(LIGHT)
    rng = np.random.default_rng(1)
    for name, shape in {"kernel": (8, 3, 3, 3), "weights": (8, 37)}.items():
        values = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, path)


if __name__ == "__main__":
    main()
