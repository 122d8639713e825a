"""Does any step change what StarNet reads?

The shipped network on the frozen words of benchmarks/train_starnet/frozen.py: in Paddle, as
exported ONNX, simplified, with GridSample in each form, and with float16 storage emulated, with and
without the nodes marked float32. Printed: accuracy, edit distance, and the number of texts that
differ from Paddle's.

    python -m benchmarks.train_starnet.frozen frozen
    python benchmarks/starnet_accuracy.py frozen/seen
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measure import RESULTS, machine, save
from eval.backends import evaluate
from eval.ctc import decode
from eval.evaluation import Evaluation, conclude
from eval.lmdb_data import LmdbTree
from eval.manifest import Manifest
from eval.samples import prepare
from onnx_passes import optimize
from onnx_passes.core.model_io import save as save_model
from onnx_passes.numerics.half import emulate_half
from pipeline.export import export_starnet
from pipeline.flow import TRAINED_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 64
FORMS = ("elements", "rows", "packed", "tent")


def main() -> None:
    """Evaluate every variant, print and save the table."""
    data = Path(sys.argv[1])
    paddle = in_paddle(data)
    rows = {"Paddle": row(paddle, paddle)}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in variants(Path(folder)):
            rows[name] = row(evaluate(path, data, BATCH), paddle)
            print(line(name, rows[name]), flush=True)
    lines = [
        "# What StarNet reads, step by step",
        "",
        f"{paddle.overall.records} frozen words, {', '.join(sorted(paddle.datasets))}; "
        "weights: pipeline/data/starnet_words.npz.",
        "",
        "| network | acc | norm_edit_dis | texts that differ from Paddle's |",
        "|---|---|---|---|",
        *(line(name, figures) for name, figures in rows.items()),
        "",
    ]
    (RESULTS / "starnet_accuracy.md").write_text("\n".join(lines))
    where = machine("paddlepaddle", "onnxruntime", "onnxsim")
    save("starnet_accuracy", {"rows": rows, "records": paddle.overall.records, "machine": where})


def variants(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield a name and a file for each version of the exported model."""
    original = export_starnet(folder / "original.onnx", TRAINED_WEIGHTS)
    yield "exported ONNX", original
    for form in FORMS:
        passes = f"decompose-grid-sample{{form={form}}}"
        yield passes, _written(folder, optimize(original, passes, check=False).model)
    simplified = "onnxsim,decompose-grid-sample"
    merged = "onnxsim,merge-matmuls,decompose-grid-sample"
    for passes in (simplified, merged):
        model = optimize(original, passes, check=False).model
        yield passes, _written(folder, model)
        for name, marks in (("no marks", False), ("marked nodes float32", True)):
            half = emulate_half(model, marks=marks)
            yield f"{passes}, float16, {name}", _written(folder, half)


def _written(folder: Path, model: object) -> Path:
    path = folder / "variant.onnx"
    save_model(model, path)  # type: ignore[arg-type]
    return path


def in_paddle(data: Path) -> Evaluation:
    """Evaluate the Paddle network itself."""
    from pipeline.models.framework import paddle
    from pipeline.models.weights import build_starnet

    network = build_starnet(TRAINED_WEIGHTS)
    records, images = [], []
    with LmdbTree(data) as tree:
        for sample in tree:
            record, image = prepare(sample)
            records.append(record)
            if image is not None:
                images.append(image)
    readings = []
    with paddle.no_grad():
        for start in range(0, len(images), BATCH):
            batch = paddle.to_tensor(np.stack(images[start : start + BATCH]))
            readings += decode(network(batch).numpy())
    return conclude(Manifest(tuple(records)), readings, "count", None)


def row(evaluation: Evaluation, reference: Evaluation) -> dict[str, float]:
    """Return the figures of one variant."""
    pairs = zip(evaluation.texts, reference.texts, strict=True)
    return {
        "acc": evaluation.acc,
        "norm_edit_dis": evaluation.norm_edit_dis,
        "changed": sum(a != b for a, b in pairs),
    }


def line(name: str, figures: dict[str, float]) -> str:
    """Return one row of the Markdown table."""
    return (
        f"| {name} | {figures['acc']:.4f} | {figures['norm_edit_dis']:.4f} "
        f"| {figures['changed']:.0f} |"
    )


if __name__ == "__main__":
    main()
