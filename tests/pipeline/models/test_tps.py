"""The spline against the same formulas in numpy, in float64 and in another order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.models.framework import paddle
from pipeline.models.tps import TPS, inverse_delta_c, p_hat
from pipeline.models.weights import build_starnet

if TYPE_CHECKING:
    import numpy.typing as npt

    Doubles = npt.NDArray[np.float64]

BASE = [(x, y) for y in (-1.0, 1.0) for x in np.linspace(-1, 1, 10)]


@pytest.fixture(scope="module")
def tps() -> TPS:
    return build_starnet().transform


def _radial(r: float) -> float:
    return r * r * math.log(r) if r else 0.0


def _spline(targets: Doubles, at: tuple[float, float], epsilon: float = 0.0) -> Doubles:
    """Return where the spline through (BASE -> targets) sends ``at``, by solving its equations."""
    system = np.zeros((23, 23))
    for row, (x, y) in enumerate(BASE):
        system[row] = [1, x, y, *(_radial(math.dist((x, y), point)) for point in BASE)]
        system[20:, 3 + row] = [x, y, 1]
    known = np.concatenate([targets, np.zeros((3, 2))])
    radial = [_radial(math.dist(at, point) + epsilon) for point in BASE]
    solved: Doubles = np.array([1, *at, *radial]) @ np.linalg.solve(system, known)
    return solved


def _sample(image: Doubles, grid: Doubles) -> Doubles:
    """Bilinear sampling, zeros outside, -1 and 1 the centres of the outer pixels."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    x = np.clip((grid[..., 0] + 1) * (width - 1) / 2, -1, width) + 1
    y = np.clip((grid[..., 1] + 1) * (height - 1) / 2, -1, height) + 1
    left = np.minimum(np.floor(x).astype(int), width)
    top = np.minimum(np.floor(y).astype(int), height)
    right, below = x - left, y - top
    upper = padded[:, top, left] * (1 - right) + padded[:, top, left + 1] * right
    lower = padded[:, top + 1, left] * (1 - right) + padded[:, top + 1, left + 1] * right
    sampled: Doubles = upper * (1 - below) + lower * below
    return sampled


def test_the_matrix_inverts_the_equations_of_the_spline() -> None:
    inverse = inverse_delta_c()
    assert inverse.dtype == np.float64
    assert np.linalg.cond(inverse) == pytest.approx(1869, abs=0.5)
    targets = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    coefficients = inverse[:, :20] @ targets
    for point, target in zip(BASE, targets, strict=True):
        row = [1, *point, *(_radial(math.dist(point, other)) for other in BASE)]
        np.testing.assert_allclose(row @ coefficients, target, atol=1e-12)


def test_the_basis_has_its_affine_part_first_and_x_runs_fastest() -> None:
    basis = p_hat()
    assert basis.shape == (3200, 23)
    np.testing.assert_allclose(basis[0, :3], [1, -0.99, -31 / 32])
    np.testing.assert_allclose(basis[1, :3], [1, -0.97, -31 / 32])
    np.testing.assert_allclose(basis[100, :3], [1, -0.99, -29 / 32])
    assert np.abs(basis).max() == pytest.approx(8.07, abs=0.005)


def test_the_grid_is_the_spline_through_the_fiducial_points(
    tps: TPS, word_images: npt.NDArray[np.float32]
) -> None:
    points = tps.loc_net(paddle.to_tensor(word_images))
    grid = tps.grid_generator(points).numpy()
    targets = points.numpy().astype(np.float64)
    for image, i, j in [(0, 0, 0), (2, 0, 99), (3, 31, 0), (5, 31, 99), (6, 13, 57)]:
        at = ((2 * j + 1 - 100) / 100, (2 * i + 1 - 32) / 32)
        expected = _spline(targets[image], at, epsilon=1e-6)
        # Float32: 23 products of up to 8 by coefficients of about 1 were seen to lose 2e-5.
        np.testing.assert_allclose(grid[image, i, j], expected, atol=5e-5)


def test_the_fiducial_points_and_the_grid_move_with_the_image(
    tps: TPS, word_images: npt.NDArray[np.float32]
) -> None:
    grid = tps.grid_generator(tps.loc_net(paddle.to_tensor(word_images))).numpy()
    assert np.ptp(grid, axis=0).max() > 0.05  # of 2, the width of the word
    assert np.abs(grid).max() < 1.5


def test_the_rectified_image_is_the_input_sampled_at_the_grid(
    tps: TPS, word_images: npt.NDArray[np.float32]
) -> None:
    x = paddle.to_tensor(word_images)
    grid = tps.grid_generator(tps.loc_net(x)).numpy().astype(np.float64)
    assert (np.abs(grid) > 1 + 2 / 31).any(), "no sample lies wholly outside: padding is not tested"
    expected = [_sample(*pair) for pair in zip(word_images.astype(np.float64), grid, strict=True)]
    # Float32 pixel coordinates up to 100 carry 4e-6, and neighbours differ by up to 2.
    np.testing.assert_allclose(tps(x).numpy(), expected, atol=2e-5)


def test_both_constants_stay_out_of_the_state_dict(tps: TPS) -> None:
    names: list[Any] = list(tps.state_dict())
    assert not [name for name in names if "inv_delta_C" in name or "P_hat" in name]
    assert {tensor.dtype for tensor in tps.grid_generator.buffers()} == {paddle.float32}
