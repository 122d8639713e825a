from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.models.framework import paddle
from pipeline.models.recogniser import Recogniser

# One line per entry of a published checkpoint, in order: name and shape.
TABLE = Path(__file__).with_name("starnet_state.txt")

# Rows of the specification: channels x height x width after each residual unit.
UNIT_OUTPUTS = [
    *([8, 16, 50], [16, 8, 50], [16, 8, 50], [24, 4, 50], [24, 4, 50]),
    *([24, 4, 50], [40, 4, 50], [40, 4, 50], [40, 4, 50], [40, 4, 50]),
    *([56, 4, 50], [56, 4, 50], [80, 2, 50], [80, 2, 50], [80, 2, 50]),
]


@pytest.fixture(scope="module")
def model() -> Recogniser:
    model = Recogniser()
    model.eval()
    return model


def test_the_state_dict_has_the_published_names_and_shapes_in_order(model: Recogniser) -> None:
    found = [
        f"{name} {'x'.join(map(str, tensor.shape))}" for name, tensor in model.state_dict().items()
    ]
    assert found == TABLE.read_text(encoding="ascii").splitlines()
    assert len(found) == 327


def test_the_distinct_tensors_hold_the_published_number_of_values(model: Recogniser) -> None:
    distinct = {id(tensor): tensor for tensor in model.state_dict().values()}
    assert len(distinct) == 311
    assert sum(tensor.size for tensor in distinct.values()) == 1_573_417
    trained = [tensor for tensor in model.parameters() if not tensor.stop_gradient]
    assert sum(tensor.size for tensor in trained) == 1_560_569


def test_every_residual_unit_has_the_size_of_the_specification(model: Recogniser) -> None:
    x = model.backbone.conv1(paddle.zeros([1, 3, 32, 100]))
    found = []
    for unit in model.backbone.blocks:
        x = unit(x)
        found.append(x.shape[1:])
    assert found == UNIT_OUTPUTS
    assert model.backbone.pool(model.backbone.conv2(x)).shape == [1, 480, 1, 25]


def test_probabilities_come_out_in_eval_mode_and_logits_in_training(model: Recogniser) -> None:
    x = paddle.zeros([2, 3, 32, 100])
    probabilities = model(x).numpy()
    model.head.train()
    logits = model(x).numpy()
    model.head.eval()
    assert probabilities.shape == logits.shape == (2, 25, 37)
    np.testing.assert_allclose(probabilities.sum(axis=2), 1, atol=1e-6)
    assert np.abs(logits.sum(axis=2) - 1).max() > 0.1


def test_the_extension_of_the_spline_starts_at_zero_and_is_never_trained(model: Recogniser) -> None:
    for tensor in model.transform.grid_generator.fc.parameters():
        assert not tensor.numpy().any()
        assert tensor.optimize_attr["learning_rate"] == 0


def test_the_first_fiducial_points_are_those_of_the_specification(model: Recogniser) -> None:
    points = model.transform.loc_net(paddle.rand([3, 3, 32, 100])).numpy()
    np.testing.assert_allclose(points, np.broadcast_to(points[:1], (3, 20, 2)))
    np.testing.assert_allclose(points[0, [0, 9, 10, 19]], [[-1, 0], [1, -1], [-1, 1], [1, 0]])
