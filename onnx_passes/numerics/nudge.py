"""How much rounding alone moves a model's outputs.

A rewrite that only rounds differently (folding a batch norm, another summation order) is, to first
order, the same function of slightly different constants and inputs: every one off by an ulp. So the
original is run once more with each float constant and each float feed moved to a neighbouring
number, up or down at random, and what that does to an output is the yardstick for "rounding only".
It carries the model's own conditioning: 1e-7 for a single Conv, 1e-3 behind a sampled image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnx_passes.core.model_io import initializer_bytes
from onnx_passes.numerics.compare import is_float

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Array
    from onnx_passes.numerics.runner import Arrays

# Above this the constants stay as they are and only the feeds move: a second copy of the weights
# would be dearer than the check.
MAX_CONSTANT_BYTES = 1 << 29


def nudged_array(array: Array, rng: np.random.Generator) -> Array:
    """Return ``array`` with each non-zero finite float moved one ulp, up or down at random."""
    if not is_float(array):
        return array
    direction = np.where(rng.integers(0, 2, array.shape) == 1, np.inf, -np.inf)
    moved = np.nextafter(array, direction.astype(array.dtype))
    return np.where((array == 0) | ~np.isfinite(array), array, moved).astype(array.dtype)


def nudged_feeds(feeds: Mapping[str, Array], seed: int) -> Arrays:
    """Return feeds with every float moved one ulp."""
    rng = np.random.default_rng(seed)
    return {name: nudged_array(array, rng) for name, array in feeds.items()}


def nudged_model(model: ir.Model, seed: int) -> ir.Model:
    """Return a copy of ``model`` with every float initializer moved one ulp.

    A model whose initializers exceed :data:`MAX_CONSTANT_BYTES` is returned as it is.
    """
    import onnx_ir as ir

    if initializer_bytes(model) > MAX_CONSTANT_BYTES:
        return model
    copy = model.clone()
    rng = np.random.default_rng(seed)
    for graph in copy.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.dtype.is_floating_point():
                moved = nudged_array(tensor.numpy(), rng)
                value.const_value = ir.Tensor(moved, dtype=tensor.dtype, name=value.name)
    return copy
