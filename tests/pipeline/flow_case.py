"""What the tests of the flow share: a small model that reads, its recipe, and counted stages."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from pipeline.cli import main
from pipeline.flow import Job, Settings, Watcher, choose, open_job, run
from pipeline.stages.graph import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.stages.stage import Made, Stage

WORDS = Path(__file__).parents[1] / "data" / "words"
RECORDS = 300  # 64 does not divide it: the last run of batch 64 has 44 images
EVERYTHING = choose(None, None, None)
# Inputs and outputs of StarNet, and a GridSample between them.
_MODEL = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3, 32, 100] x) => (float[N, 25, 37] y)
<int64[2] parts = {2, 1}, int64[1] axis = {2}>
{
  same = Identity(x)
  two, one = Split<axis = 1>(same, parts)
  grid = Transpose<perm = [0, 2, 3, 1]>(two)
  seen = GridSample<mode = "bilinear", padding_mode = "zeros", align_corners = 1>(same, grid)
  row = AveragePool<kernel_shape = [32, 4], strides = [32, 4]>(seen)
  flat = Squeeze(row, axis)
  columns = Transpose<perm = [0, 2, 1]>(flat)
  scores = MatMul(columns, weights)
  y = Softmax<axis = 2>(scores)
}
"""
RECIPE = """
title = "a small one"
simplify = ["drop-identity"]
passes = ["decompose-grid-sample"]
batches = [1, 4, 8, 16, 32, 64]
"""


def write_model(path: Path, seed: int = 3, classes: int = 37) -> Path:
    """Write a model that runs in a moment."""
    model = onnx.parser.parse_model(_MODEL.replace("25, 37]", f"25, {classes}]"))
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}.{number}"  # ATC's --keep_dtype goes by the names
    weights = np.random.default_rng(seed).standard_normal((3, classes)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(4 * weights, "weights"))
    onnx.save(model, path)
    return path


def answer(*arguments: object, code: int = 0) -> str:
    """Return what a command prints on stdout."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert left.value.code == code, printed.getvalue()
    return printed.getvalue()


def small_job(folder: Path, data: Path | None, recipe: str = RECIPE, **settings: Any) -> Job:  # noqa: ANN401  fields of Settings
    """Return a job on the small model in ``folder``; what is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "net.onnx"
    if not model.exists():
        write_model(model)
    (folder / "small.toml").write_text(recipe, encoding="utf-8")
    given = {"work": folder / "work", "model": model, "data": data, "batches": (8,), **settings}
    return open_job(str(folder / "small.toml"), Settings(**given))


def finish(job: Job, chosen: frozenset[str] = EVERYTHING, *, force: bool = False) -> list[str]:
    """Run a job; return the stages that ran."""
    statuses = run(job, chosen, Watcher(), force=force)
    return [status.stage.name for status in statuses if status.kind == "run"]


class Broken(BaseException):
    """As when the process ends: nothing catches it."""


@contextlib.contextmanager
def breaking(monkeypatch: pytest.MonkeyPatch, name: str, *, late: bool) -> Iterator[list[str]]:
    """Note the stages that start; end the run in stage ``name``, before or after its work."""
    started: list[str] = []

    def wrap(stage: Stage, real: Any) -> Any:  # noqa: ANN401  a method
        def run(self: Stage, job: Job, watcher: Watcher) -> Made:
            started.append(stage.name)
            if stage.name == name and not late:
                raise Broken
            made: Made = real(self, job, watcher)
            if stage.name == name:
                raise Broken
            return made

        return run

    with monkeypatch.context() as patch:
        for stage in STAGES:
            patch.setattr(type(stage), "run", wrap(stage, type(stage).run))
        yield started
