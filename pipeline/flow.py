"""The guide of StarNet as one run: export, simplify, replace GridSample, check, evaluate.

Stages, in order::

    export      StarNet -> starnet.onnx (opset 16, one GridSample)
    data        rendered words -> data/ (DTRB-style LMDB), unless a data folder is given
    preprocess  data -> bin/img_<index>.bin and bin/manifest.json
    optimize    starnet.onnx -> starnet_ascend.onnx, every pass checked on preprocessed images
    rectified   the image GridSample makes, before and after it is replaced
    evaluate    accuracy of both models with onnxruntime
    speed       throughput of both, run in turns
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_passes.core.contract import CheckError
from onnx_passes.numerics.compare import Difference, compare
from pipeline.errors import FlowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_ir as ir

    from eval.evaluation import Evaluation, Throughput
    from onnx_passes.core.outcome import Outcome
    from onnx_passes.core.passlist import Item

    Progress = Callable[[int, int], None]

STAGES = ("export", "data", "preprocess", "optimize", "rectified", "evaluate", "speed")
# Trained on rendered words; the official weights are not ours to ship.
TRAINED_WEIGHTS = Path(__file__).parent / "data" / "starnet_words.npz"
# Images the passes are checked on: enough to differ, few enough to take a second.
CHECKED_IMAGES = 8
RENDERED_SETS = {"plain": 120, "perspective": 60, "curved": 60}
RENDER_SEED = 310
# Batches each model runs in turns for its speed; the median counts.
SPEED_ROUNDS = 11


@dataclasses.dataclass(frozen=True)
class FlowSettings:
    """What a run of the flow starts from.

    Attributes:
        work: Folder for everything the run writes.
        passes: The pass list.
        data: Folder of LMDB data sets, zip or label file; None renders words.
        weights: Checkpoint of StarNet; None takes the shipped one, see data/starnet_words.md.
        batch_size: Images per run of the evaluation.
    """

    work: Path
    passes: tuple[Item, ...]
    data: Path | None = None
    weights: Path | None = None
    batch_size: int = 32


@dataclasses.dataclass(frozen=True)
class FlowResult:
    """What the run found.

    Attributes:
        original: The exported model.
        optimized: The rewritten model.
        outcome: The record of the passes.
        rectified: The image that GridSample makes: optimised against original, on real images.
        rectified_alone: The same image where only GridSample was replaced.
        rectified_moves: How far that image moves between two input images (greatest change).
        before: Evaluation of the original.
        after: Evaluation of the rewritten model.
        speeds: Throughput of the original and of the rewritten model, run in turns.
        seconds: Wall time of each stage.
    """

    original: Path
    optimized: Path
    outcome: Outcome
    rectified: Difference
    rectified_alone: Difference
    rectified_moves: float
    before: Evaluation
    after: Evaluation
    speeds: tuple[Throughput, Throughput]
    seconds: dict[str, float]

    @property
    def text_agreement(self) -> float:
        """Share of records that both models read alike, in [0, 1]."""
        pairs = list(zip(self.before.texts, self.after.texts, strict=True))
        return sum(a == b for a, b in pairs) / len(pairs)


class Watcher:
    """What the flow reports to while it runs; the terminal's version shows bars."""

    def stage(self, name: str) -> None:
        """A stage starts."""

    def progress(self, done: int, total: int) -> None:
        """A part of the current stage is finished."""


def run_starnet(settings: FlowSettings, watcher: Watcher | None = None) -> FlowResult:
    """Run all stages.

    Raises:
        CheckError: If a pass fails or cannot be checked.
        FlowError: If the data holds too few usable images.
    """
    return _Flow(settings, watcher or Watcher()).run()


class _Flow:
    """One run: where its files are, and how long its stages took."""

    def __init__(self, settings: FlowSettings, watcher: Watcher) -> None:
        self._settings = settings
        self._watcher = watcher
        self._seconds: dict[str, float] = {}
        self._original = settings.work / "starnet.onnx"
        self._optimized = settings.work / "starnet_ascend.onnx"
        self._data = settings.data or settings.work / "data"

    def run(self) -> FlowResult:
        self._settings.work.mkdir(parents=True, exist_ok=True)
        self._timed("export", self._export)
        self._timed("data", self._render)
        images = self._timed("preprocess", self._preprocess)
        outcome = self._timed("optimize", lambda: self._optimize(images))
        rectified = self._timed("rectified", lambda: self._rectified(images))
        before, after = self._timed("evaluate", self._evaluate)
        speeds = self._timed("speed", lambda: self._speed(images))
        return FlowResult(
            original=self._original,
            optimized=self._optimized,
            outcome=outcome,
            rectified=compare(rectified[0], rectified[1]),
            rectified_alone=compare(rectified[0], rectified[2]),
            rectified_moves=float(np.abs(rectified[0][0] - rectified[0][1]).max()),
            before=before,
            after=after,
            speeds=speeds,
            seconds=self._seconds,
        )

    def _timed(self, stage: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401  what work returns
        self._watcher.stage(stage)
        started = time.perf_counter()
        result = work()
        self._seconds[stage] = time.perf_counter() - started
        return result

    def _export(self) -> None:
        from pipeline.export import export_starnet

        export_starnet(self._original, self._settings.weights or TRAINED_WEIGHTS)

    def _render(self) -> None:
        if self._settings.data is not None:
            return
        from eval.render import write_lmdb_tree

        write_lmdb_tree(self._data, RENDERED_SETS, seed=RENDER_SEED)

    def _preprocess(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Write the inputs of all records; return the first few images."""
        from eval.preprocess import preprocess

        folder = self._settings.work / "bin"
        manifest = preprocess(self._data, folder, self._watcher.progress)
        good = [record.index for record in manifest.records if record.reason is None]
        if len(good) < CHECKED_IMAGES:
            msg = f"{self._data} holds {len(good)} usable images; the checks need {CHECKED_IMAGES}"
            raise FlowError(msg)
        # Spread over the data: the first records of one set resemble each other.
        chosen = good[:: len(good) // CHECKED_IMAGES][:CHECKED_IMAGES]
        arrays = [np.fromfile(folder / f"img_{index}.bin", np.float32) for index in chosen]
        return np.stack(arrays).reshape(len(arrays), 3, 32, 100)

    def _optimize(self, images: np.ndarray[Any, Any]) -> Outcome:
        from onnx_passes.core.checked import mark_outcome, unmarked
        from onnx_passes.core.manager import Settings, run_passes
        from onnx_passes.core.model_io import load, save

        original, settings = load(self._original), Settings(feeds={"x": images})
        outcome = run_passes(unmarked(original), self._settings.passes, settings)
        if not outcome.ok:
            reason = next(step.reason for step in outcome.steps if step.reason)
            msg = f"pass {outcome.steps[-1].text!r} {outcome.verdict}: {reason}"
            raise CheckError(msg)
        mark_outcome(outcome, original, compared=True)
        save(outcome.model, self._optimized)
        return outcome

    def _rectified(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Return what GridSample makes: original, optimised, and with nothing else replaced."""
        from onnx_passes.core.manager import optimize
        from onnx_passes.core.model_io import load
        from onnx_passes.numerics.runner import run_model
        from onnx_passes.numerics.watch import expose

        original, optimized = load(self._original), load(self._optimized)
        (name,) = _grid_sample_outputs(original)
        alone = optimize(original, "decompose-grid-sample", check=False).model
        return [
            run_model(expose(model, [name]), {"x": images})[name]
            for model in (original, optimized, alone)
        ]

    def _evaluate(self) -> tuple[Evaluation, Evaluation]:
        from eval.backends import evaluate

        before, after = (
            evaluate(
                path, self._data, self._settings.batch_size, on_progress=self._watcher.progress
            )
            for path in (self._original, self._optimized)
        )
        return before, after

    def _speed(self, images: np.ndarray[Any, Any]) -> tuple[Throughput, Throughput]:
        from eval.throughput import in_turns

        paths = (self._original, self._optimized)
        before, after = in_turns(
            paths, list(images), self._settings.batch_size, rounds=SPEED_ROUNDS
        )
        return before, after


def _grid_sample_outputs(model: ir.Model) -> Iterator[str]:
    for node in model.graph:
        if node.op_type == "GridSample":
            yield node.outputs[0].name or ""
