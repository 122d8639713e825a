"""Models of one GridSample, difficult inputs for them, and the comparison of bits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import helper

from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]

OLD_NAMES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}
RENAMED_IN = 20
EVERYTHING = DecomposeGridSample()


@dataclasses.dataclass(frozen=True)
class Case:
    """One GridSample node: its attributes, and whether its shapes are written down."""

    mode: str = "linear"
    padding: str = "zeros"
    align: int = 0
    opset: int = 16
    static: bool = True

    def model(self, x: Array, grid: Array) -> onnx.ModelProto:
        """Return a model for inputs like these."""
        node = helper.make_node(
            "GridSample",
            ["x", "grid"],
            ["y"],
            mode=self.mode if self.opset >= RENAMED_IN else OLD_NAMES[self.mode],
            padding_mode=self.padding,
            align_corners=self.align,
        )
        inputs = [
            helper.make_tensor_value_info(
                name,
                helper.np_dtype_to_tensor_dtype(array.dtype),
                array.shape if self.static else [None] * array.ndim,
            )
            for name, array in (("x", x), ("grid", grid))
        ]
        kind = inputs[0].type.tensor_type.elem_type
        output = helper.make_tensor_value_info("y", kind, [None] * x.ndim)
        return helper.make_model(
            helper.make_graph([node], "sampled", inputs, [output]),
            opset_imports=[helper.make_opsetid("", self.opset)],
            ir_version=8,
        )


class Sampling:
    """What the tests do with a model."""

    def rewrite(
        self, model: onnx.ModelProto, item: DecomposeGridSample = EVERYTHING
    ) -> onnx.ModelProto:
        """Return the model after the pass, checked; every GridSample must be gone."""
        loaded = ir.from_proto(model)
        result = item.run(loaded)
        assert result.rewritten, result.skipped
        assert result.skipped == []
        proto = ir.to_proto(loaded)
        onnx.checker.check_model(proto, full_check=True)
        return proto

    def run(self, model: onnx.ModelProto, **feeds: Array) -> list[Array]:
        """Run in ONNX Runtime, one thread, with graph optimisation off."""
        return self._run(model, feeds, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)

    def run_optimized(self, model: onnx.ModelProto, **feeds: Array) -> list[Array]:
        """Run in ONNX Runtime, one thread, with all of its graph optimisation."""
        return self._run(model, feeds, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)

    @staticmethod
    def _run(model: onnx.ModelProto, feeds: dict[str, Array], level: Any) -> list[Array]:  # noqa: ANN401  onnxruntime has no types
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        outputs: list[Array] = session.run(None, feeds)
        return outputs

    def assert_same_bits(self, actual: Array, expected: Array) -> None:
        """Compare bit by bit; a NaN equals any NaN."""
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        unsigned = {2: np.uint16, 4: np.uint32, 8: np.uint64}[actual.dtype.itemsize]
        differ = actual.view(unsigned) != expected.view(unsigned)
        differ &= ~(np.isnan(actual) & np.isnan(expected))
        worst = tuple(np.argwhere(differ)[0]) if differ.any() else ()
        message = f"{differ.sum()} differ, first at {worst}: {actual[worst]} for {expected[worst]}"
        assert not differ.any(), message

    def pictures(
        self, shape: Sequence[int], rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
    ) -> Array:
        """Return normal pixels with signed zeros, and with infinite and NaN ones."""
        x = rng.standard_normal(shape)
        x[rng.random(shape) < 0.15] = -0.0
        special = rng.choice([np.nan, np.inf, -np.inf], size=shape)
        return np.where(rng.random(shape) < 0.03, special, x).astype(dtype)

    def grids(
        self,
        batch: int,
        outputs: Sequence[int],
        extents: Sequence[int],
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
    ) -> Array:
        """Return coordinates inside, outside, on ties of both alignments, huge and not finite."""
        shape = (batch, *outputs, len(extents))
        sizes = np.array(extents[::-1])
        halves = rng.integers(-6, 3 * max(extents), shape) / 2
        kinds = [
            rng.uniform(-1.6, 1.6, shape),
            (2 * halves + 1) / sizes - 1,
            2 * halves / np.maximum(sizes - 1, 1) - 1,
            rng.choice([-1, 1], shape) * 10.0 ** rng.uniform(0, 25, shape),
            rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, -1, 1, 0, -0.0], shape),
        ]
        which = rng.choice(5, shape, p=[0.5, 0.2, 0.2, 0.05, 0.05])
        with np.errstate(over="ignore"):
            return np.choose(which, kinds).astype(dtype)


@pytest.fixture(scope="session")
def sampling() -> Sampling:
    """Return what the tests do with a model."""
    return Sampling()


@pytest.fixture(scope="session")
def case() -> type[Case]:
    """Return the maker of one-node models."""
    return Case
