"""How a tensor lies in the chip's memory: its layout, its element width, its bytes.

``NC1HWC0`` (Conv, pooling) pads channels to 16; ``FRACTAL_NZ`` (MatMul, LSTM) pads the last two
axes to 16; ``NHWC`` (GridSample) and ``ND`` pad nothing. Floats are stored as float16, which is
ATC's default, unless a node is marked to stay float32.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

import onnx_ir as ir

from ascend.atc.keep import PRECISION_KEY

if TYPE_CHECKING:
    from ascend.cost.chip import Chip

Layout = Literal["ND", "NHWC", "NC1HWC0", "FRACTAL_NZ"]

_SINGLE = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


@dataclasses.dataclass(frozen=True)
class Form:
    """A layout, and whether a float in it is stored in 4 bytes instead of 2."""

    layout: Layout = "ND"
    wide: bool = False


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A static shape and a type."""

    shape: tuple[int, ...]
    dtype: ir.DataType

    @staticmethod
    def of(value: ir.Value) -> Tensor | None:
        """Return shape and type of a value, or None where one is not known."""
        known = value if value.const_value is None else value.const_value
        shape, dtype = known.shape, known.dtype
        if shape is None or dtype is None or dtype == ir.DataType.STRING:
            return None
        dims = tuple(dim for dim in shape if isinstance(dim, int))
        return Tensor(dims, dtype) if len(dims) == len(shape) else None

    @property
    def is_float(self) -> bool:
        """Whether ATC may change its width: float32, float16 or bfloat16."""
        return self.dtype in _SINGLE

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    def item_bytes(self, *, wide: bool) -> float:
        """Return the bytes of one element on the chip."""
        if self.is_float:
            return 4 if wide else 2
        return self.dtype.itemsize

    def lanes(self, chip: Chip, *, wide: bool) -> int:
        """Return how many elements one vector instruction of a core treats."""
        size = self.item_bytes(wide=wide)
        if size <= 2:  # noqa: PLR2004  bytes: narrow integers are computed as float16
            return chip.lanes_2_bytes
        return chip.lanes_4_bytes if size <= 4 else chip.lanes_8_bytes  # noqa: PLR2004  bytes

    def stored_bytes(self, form: Form, chip: Chip) -> int:
        """Return the bytes in a form, padding included."""
        dims, edge = list(self.shape), chip.cube_edge
        padded = {"NC1HWC0": [1], "FRACTAL_NZ": [-2, -1]}.get(form.layout, [])
        for axis in padded:
            if len(dims) >= 2:  # noqa: PLR2004  a vector has no such axis
                dims[axis] = math.ceil(dims[axis] / edge) * edge
        return math.ceil(math.prod(dims) * self.item_bytes(wide=form.wide))


def stays_float32(node: ir.Node) -> bool:
    """Return whether a node is marked to be computed in float32."""
    return node.metadata_props.get(PRECISION_KEY) == "float32"
