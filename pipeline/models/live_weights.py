"""Weights that are made up but alive, so that what a rewrite breaks is seen.

A freshly initialised StarNet answers every image with the same 37 equal probabilities: its
output moves by 4e-9 when the image changes, so that any rewrite of the graph looks perfect. The
weights made here are random too, but calibrated on a few drawn images: each batch norm holds the
statistics of what it receives, the fiducial points move with the image, and the logits spread.
They read nonsense, differently for each image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.attention_head import AttentionHead
from pipeline.models.ctc_head import CtcHead
from pipeline.models.framework import paddle
from pipeline.models.recogniser import STARNET, Design, Recogniser
from pipeline.models.stroke_images import stroke_images
from pipeline.models.tps import base_fiducials

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipeline.models.checkpoint import Weights
    from pipeline.models.layers import Tensor

CALIBRATION_IMAGES = 16
POINT_SPREAD = 0.04  # how far an image moves its fiducial points; the word is 2 wide, 2 high
POINT_WAVE = 0.1  # how far all points follow a wave, so that the spline is no plain scaling
LOGIT_SPREAD = 4.0  # a largest probability of about 0.7 among 37
BLANK_LEAD = 4.0  # what the blank of CTC is ahead, so that texts are shorter than 25
# Of the attention head: how sharply it looks, how much it goes by the columns, and by the class
# that it wrote last. Each is the deviation of a sum before its tanh or sigmoid.
LOOK, SEEN, WRITTEN = 8.0, 3.0, 6.0
ROUNDS = 3  # of reading and spreading: what it writes changes what it reads
# One unit of its state grows from step to step and pulls towards the end token.
TICK = 0.15
CLOCK_PULL, CLOCK_END = 20.0, 0.2


def live_weights(seed: int = 0, design: Design = STARNET) -> Weights:
    """Return the entries of a state dict whose output depends on the image."""
    rng = np.random.default_rng(seed)
    model = Recogniser(design)
    model.eval()
    for name, tensor in model.state_dict().items():
        if (value := _random(name, tuple(tensor.shape), rng)) is not None:
            tensor.set_value(value.astype(np.float32))
    with paddle.no_grad():
        columns = _calibrated(model, stroke_images(CALIBRATION_IMAGES, seed))
        _spread_head(model.head, columns)
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def _random(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[Any] | None:
    """Return a random start for an entry, or None where the constructor's value stays."""
    if "grid_generator" in name or name.endswith(("._mean", "._variance")):
        return None  # zero in every published checkpoint; measured later
    if name.endswith(("bn.weight", "batch_norm.weight")):
        return rng.uniform(0.8, 1.2, shape)
    if name.endswith(("bn.bias", "batch_norm.bias")):
        return rng.normal(1, 0.1, shape)  # most units stay on: rounding grows four times less
    return rng.normal(0, _deviation(name, shape), shape)


def _deviation(name: str, shape: tuple[int, ...]) -> float | npt.NDArray[np.float64]:
    """Return how far the weights of a layer spread around 0, for all or for each input."""
    if name.endswith(".rnn.weight_ih"):
        seen = shape[1] - AttentionHead.classes
        told = (seen, SEEN), (AttentionHead.classes, WRITTEN)
        return np.concatenate([np.full(count, spread / np.sqrt(count)) for count, spread in told])
    if ".lstm." in name or ".rnn." in name:
        return float(1.5 / np.sqrt(shape[-1]))  # a bias is as long as all gates, so small
    if name.endswith(".bias"):
        return 0.1
    if name.endswith(".score.weight"):
        return float(LOOK / np.sqrt(shape[0]))
    inputs = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))  # noqa: PLR2004  a matrix
    return float(np.sqrt(2 / inputs))


def _calibrated(model: Recogniser, images: npt.NDArray[np.float32]) -> Tensor:
    """Let one pass set the batch norms and the fiducial points; return the columns to read."""
    hooks = [
        layer.register_forward_pre_hook(_measure)
        for layer in model.sublayers()
        if isinstance(layer, paddle.nn.BatchNorm2D)
    ]
    points = base_fiducials()
    points[:, 1] += POINT_WAVE * np.sin(np.pi * points[:, 0])

    def spread_points(layer: Tensor, inputs: Tensor) -> None:
        _spread(layer, inputs[0].numpy(), points.ravel(), POINT_SPREAD)

    hooks.append(model.transform.loc_net.fc2.register_forward_pre_hook(spread_points))
    columns = model.neck(model.backbone(model.transform(paddle.to_tensor(images))))
    for hook in hooks:
        hook.remove()
    return columns


def _measure(batch_norm: Tensor, inputs: Tensor) -> None:
    """Give a batch norm the statistics of what it is about to take."""
    values = inputs[0].numpy().astype(np.float64)
    batch_norm._mean.set_value(values.mean(axis=(0, 2, 3)).astype(np.float32))
    batch_norm._variance.set_value(values.var(axis=(0, 2, 3)).astype(np.float32))


def _spread_head(head: Tensor, columns: Tensor) -> None:
    """Make the logits spread over the columns, or over the steps."""
    centre = np.zeros(head.classes)
    if isinstance(head, CtcHead):
        centre[0] = BLANK_LEAD
        _spread(head.fc, columns.numpy(), centre, LOGIT_SPREAD)
        return
    centre[0] = -BLANK_LEAD  # a start token is no text
    _wind_clock(head.attention_cell.rnn)
    for _ in range(ROUNDS):
        states: list[npt.NDArray[np.float32]] = []
        hook = head.generator.register_forward_pre_hook(
            lambda _layer, inputs, states=states: states.append(inputs[0].numpy())
        )
        head(columns)
        hook.remove()
        _spread(head.generator, np.stack(states), centre, LOGIT_SPREAD)
        _end_by_clock(head.generator)


def _spread(
    layer: Tensor, features: npt.NDArray[Any], centre: npt.NDArray[Any], spread: float
) -> None:
    """Scale and shift a linear layer by what it is about to take.

    Its outputs then have the mean ``centre`` and, over all columns, the deviation ``spread``.
    """
    features = features.astype(np.float64).reshape(-1, layer.weight.shape[0])
    deviations = (features - features.mean(axis=0)) @ layer.weight.numpy()
    weight = layer.weight.numpy() * (spread / deviations.std())
    layer.weight.set_value(weight.astype(np.float32))
    layer.bias.set_value((centre - features.mean(axis=0) @ weight).astype(np.float32))


def _wind_clock(rnn: Tensor) -> None:
    """Let the first unit of an LSTM cell forget nothing and add a little in every step."""
    hidden = rnn.weight_hh.shape[1]
    _, forget, add, _ = (gate * hidden for gate in range(4))
    for tensor, (kept, added) in (
        *((matrix, (0.0, 0.0)) for matrix in (rnn.weight_ih, rnn.weight_hh)),
        (rnn.bias_ih, (20.0, TICK)),
        (rnn.bias_hh, (0.0, 0.0)),
    ):
        values = tensor.numpy()
        values[forget], values[add] = kept, added
        tensor.set_value(values)


def _end_by_clock(generator: Tensor) -> None:
    """Let the clock's unit decide about the end token, and about nothing else."""
    weight, bias = generator.weight.numpy(), generator.bias.numpy()
    weight[0] = 0
    weight[0, -1] = CLOCK_PULL
    bias[-1] -= CLOCK_PULL * CLOCK_END
    generator.weight.set_value(weight)
    generator.bias.set_value(bias)
