"""What a data set is to the search for precision: images to rank on, and a figure to keep."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pipeline.cli.emulate import emulated_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import onnx_ir as ir

    from onnx_passes.numerics.precision import Loss, Settings
    from onnx_passes.numerics.runner import Arrays

FIGURES = ("acc", "norm_edit_dis")
RANKING_IMAGES = 4  # enough that no image's own luck ranks the nodes; each costs a run a node


@dataclasses.dataclass(frozen=True)
class Budget:
    """What may be lost: of a figure of the evaluation, or as an error of the outputs."""

    figure: str | None
    loss: float

    @property
    def unit(self) -> str:
        """What the loss is counted in."""
        return self.figure or "greatest absolute error of the outputs"


def image_feeds(model: ir.Model, data: Path) -> Arrays:
    """Return the first good images of a data folder as feeds of a model with one input."""
    import numpy as np

    from eval.data import open_data
    from eval.errors import EvalError
    from eval.samples import prepare
    from onnx_passes.core.contract import UsageError

    if len(model.graph.inputs) != 1:
        msg = f"--data feeds images to one input, the model has {len(model.graph.inputs)}"
        raise UsageError(msg)
    (value,) = model.graph.inputs
    fixed = value.shape[0] if value.shape is not None and len(value.shape) else None
    count = fixed if isinstance(fixed, int) else RANKING_IMAGES
    images: list[Any] = []
    with open_data(data) as tree:
        for sample in tree:
            _, image = prepare(sample)
            images += [] if image is None else [image]
            if len(images) == count:
                break
    if not images:
        msg = f"data folder {data} holds no usable image"
        raise EvalError(msg)
    if isinstance(fixed, int):
        images = [images[index % len(images)] for index in range(fixed)]
    return {value.name or "": np.stack(images)}


def figure_loss(
    model: ir.Model, path: Path, data: Path, budget: Budget, settings: Settings
) -> Loss | None:
    """Return what measures the loss of a figure of the evaluation; None for an output error."""
    figure = budget.figure
    if figure is None:
        return None
    from eval.backends import evaluate
    from eval.errors import NonFiniteError
    from onnx_passes.core.contract import UsageError

    before = float(getattr(evaluate(path, data), figure))
    if before <= budget.loss:
        msg = f"{figure} of the model in float32 is {before:.4g}: it cannot fall by more than that"
        raise UsageError(msg)

    def loss(kept: Collection[str]) -> float:
        names = [*settings.keep, *kept]
        with emulated_file(model, names, marks=settings.marks) as emulated:
            try:
                return before - float(getattr(evaluate(emulated, data), figure))
            except NonFiniteError:
                return float("inf")

    return loss
