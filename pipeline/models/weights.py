"""A recogniser with weights: from a file, or made up but alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.models.checkpoint import read_checkpoint
from pipeline.models.live_weights import live_weights
from pipeline.models.recogniser import STARNET, Design, Recogniser

if TYPE_CHECKING:
    from pathlib import Path


def build_network(weights: Path | None = None, design: Design = STARNET) -> Recogniser:
    """Return a network in eval mode.

    Args:
        weights: A ``.pdparams`` or ``.npz`` file; None takes ``live_weights()``.
        design: Which of the family.

    Raises:
        WeightsError: If the file cannot be read or does not fit.
    """
    model = Recogniser(design)
    state = model.state_dict()
    if weights is None:
        values = live_weights(design=design)
    else:
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        values = read_checkpoint(weights, shapes)
    for name, value in values.items():
        state[name].set_value(value)
    model.eval()
    return model


def build_starnet(weights: Path | None = None) -> Recogniser:
    """Return the network whose weights ship, StarNet MobileNetV3; see ``build_network``."""
    return build_network(weights)
