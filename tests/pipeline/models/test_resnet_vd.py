from __future__ import annotations

import numpy as np
import pytest

from pipeline.models.framework import paddle
from pipeline.models.layers import BATCH_NORM_EPSILON
from pipeline.models.resnet_vd import ResNet34, _Block


@pytest.fixture(scope="module")
def model() -> ResNet34:
    model = ResNet34()
    model.eval()
    return model


def test_only_the_height_shrinks_after_the_first_pooling(model: ResNet34) -> None:
    found = {}
    with paddle.no_grad():
        x = model.conv1_3(model.conv1_2(model.conv1_1(paddle.zeros([1, 3, 32, 100]))))
        assert x.shape == [1, 64, 32, 100]
        x = model.shrink(x)
        for name, block in model.named_children():
            if name.startswith("bb_"):
                x = block(x)
                found[name[:-2]] = x.shape[1:]
        assert model.pool(x).shape == [1, 512, 1, 25]
    assert found == {
        "bb_0": [64, 16, 50],
        "bb_1": [128, 8, 50],
        "bb_2": [256, 4, 50],
        "bb_3": [512, 2, 50],
    }


def test_a_shortcut_that_shrinks_averages_the_rows_that_its_stride_merges() -> None:
    block = _Block((4, 6), (2, 1), projected=True)
    block.eval()
    _pass_on(block.conv1, factor=0)  # the other branch adds nothing
    weight = _pass_on(block.short, factor=1)
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 5)).astype(np.float32)
    averaged = x.reshape(2, 4, 4, 2, 5).mean(axis=3)
    scaled = averaged / np.sqrt(1 + BATCH_NORM_EPSILON)
    expected = np.maximum(np.einsum("oi,nihw->nohw", weight, scaled), 0)
    np.testing.assert_allclose(block(paddle.to_tensor(x)).numpy(), expected, atol=1e-5)


def test_a_block_without_a_projection_adds_its_input() -> None:
    block = _Block((4, 4), (1, 1), projected=False)
    block.eval()
    _pass_on(block.conv1, factor=0)
    x = np.random.default_rng(0).normal(size=(2, 4, 8, 5)).astype(np.float32)
    np.testing.assert_array_equal(block(paddle.to_tensor(x)).numpy(), np.maximum(x, 0))


def _pass_on(unit: paddle.nn.Layer, factor: float) -> np.ndarray[tuple[int, ...], np.dtype]:
    """Let the batch norm of a unit only scale; return the matrix of its convolution."""
    norm = unit._batch_norm
    norm.weight.set_value(np.full(norm.weight.shape, factor, np.float32))
    matrix: np.ndarray[tuple[int, ...], np.dtype] = unit._conv.weight.numpy()[:, :, 0, 0]
    return matrix
