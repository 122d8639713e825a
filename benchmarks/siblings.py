"""Does onnxruntime read what Paddle reads, for the networks whose weights do not ship?

Each gets random weights that are alive (pipeline/models/live_weights.py) and 240 rendered words.
Three readers: Paddle, the exported ONNX, and the ONNX after the passes of its recipe. A text may
only differ where two classes are closer than rounding: for each that does, the step is printed at
which it parts from Paddle's, how far apart the two best classes are there, and how far the numbers
up to there.

    python benchmarks/siblings.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import machine, save
from eval.heads import decode
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.model_io import load
from onnx_passes.numerics.runner import Runner
from pipeline.drawn_words import draw_words
from pipeline.export import export_network
from pipeline.models.framework import paddle
from pipeline.models.live_weights import live_weights
from pipeline.models.recogniser import DESIGNS
from pipeline.models.weights import build_network
from pipeline.stages.recipe import find_recipe

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, np.dtype[np.float32]]

WORDS, BATCH, CHECKED = 240, 24, 8
# The seeds of tests/pipeline/conftest.py.
SEEDS = {"starnet_resnet34": 0, "rare_mobilenetv3": 3, "rare_resnet34_vd": 3}


def main() -> None:
    """Compare every network, print and save what was found."""
    images = draw_words(WORDS, 3, 32, 100)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, seed in SEEDS.items():
            rows[name] = row(name, seed, images, Path(folder, f"{name}.onnx"))
            print(name, rows[name], flush=True)
    where = machine("paddlepaddle", "paddle2onnx", "onnxruntime", "onnxsim")
    save("siblings", {"words": WORDS, "rows": rows, "machine": where})


def row(name: str, seed: int, images: Array, path: Path) -> dict[str, Any]:
    """Return what three readers of one network have in common, and what the steps took."""
    weights = path.with_suffix(".pdparams")
    paddle.save(live_weights(seed, DESIGNS[name]), str(weights))
    seconds, started = {}, time.perf_counter()
    export_network(path, weights, name)
    seconds["export"] = time.perf_counter() - started
    exported, recipe = load(path), find_recipe(name)
    started = time.perf_counter()
    settings = Settings(feeds={"x": images[:CHECKED]})
    outcome = run_passes(exported, (*recipe.simplify, *recipe.passes), settings)
    seconds["passes, checked"] = time.perf_counter() - started
    assert outcome.ok, outcome.verdict
    network = build_network(weights, DESIGNS[name])

    def in_paddle(batch: Array) -> Array:
        with paddle.no_grad():
            found: Array = network(paddle.to_tensor(batch)).numpy()
        return found

    expected = read(in_paddle, images)
    moves = np.abs(np.diff(expected, axis=0)).max(axis=(1, 2))
    return {
        "nodes": [len(exported.graph), len(outcome.model.graph)],
        "texts": len({reading.text for reading in decode(expected)}),
        "from a word to the next": [float(moves.min()), float(np.median(moves))],
        "exported": against(expected, read(in_ort(Runner(exported, threads=2)), images)),
        "after the passes": against(
            expected, read(in_ort(Runner(outcome.model, threads=2)), images)
        ),
        "seconds": {what: round(value, 1) for what, value in seconds.items()},
    }


def in_ort(runner: Runner) -> Callable[[Array], Array]:
    """Return what reads a batch with onnxruntime."""

    def reader(batch: Array) -> Array:
        (found,) = runner.run({"x": batch}).values()
        return found

    return reader


def read(reader: Callable[[Array], Array], images: Array) -> Array:
    """Return float32 [words, 25, classes]."""
    return np.concatenate([reader(images[at : at + BATCH]) for at in range(0, WORDS, BATCH)])


def against(expected: Array, found: Array) -> dict[str, Any]:
    """Return how far two readers agree, and where they part."""
    alike = (expected.argmax(axis=2) == found.argmax(axis=2)).all(axis=1)
    gap = np.abs(expected - found).max(axis=2)
    best = np.sort(expected, axis=2)
    lead = best[..., -1] - best[..., -2]
    parted = []
    for word in np.flatnonzero(~alike):
        steps = expected[word].argmax(axis=1) != found[word].argmax(axis=1)
        step = int(steps.argmax())
        up_to = float(gap[word, : step + 1].max())
        parted.append(
            {"word": int(word), "step": step, "lead": float(lead[word, step]), "gap": up_to}
        )
    texts = zip(decode(expected), decode(found), strict=True)
    return {
        "same text": sum(a.text == b.text for a, b in texts),
        "greatest difference": float(gap[alike].max()),
        "parted": parted,
    }


if __name__ == "__main__":
    main()
