"""What one GridSample node asks for, and why some are refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, cast

import onnx_ir as ir

Mode = Literal["nearest", "linear", "cubic"]
Padding = Literal["zeros", "border", "reflection"]

OLDEST_OPSET = 11  # GridSample is of opset 16; exporters for older CANN write it into opset 11
BFLOAT16_OPSET = 13  # Gather, Add and Mul take bfloat16 from here on

INDEX_LIMIT = 2**31
TAPS = {"nearest": 1, "linear": 2, "cubic": 4}  # pixels on one axis

# Opset 20 renamed bilinear to linear and bicubic to cubic.
_MODES = {
    "bilinear": "linear",
    "linear": "linear",
    "nearest": "nearest",
    "bicubic": "cubic",
    "cubic": "cubic",
}
_PADDINGS = ("zeros", "border", "reflection")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_SPATIAL = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class Problem:
    """One GridSample node in numbers.

    Attributes:
        mode: In the spelling of opset 20.
        padding: What lies outside the picture.
        align_corners: Whether -1 and 1 mean pixel centres rather than pixel edges.
        spatial: Number of spatial axes r: x is [N, C, d1..dr], grid [N, o1..or, r].
        x_dtype: Type of x and of the output.
        x_dims: Static extents of x, None where dynamic.
        grid_dims: Static extents of grid, None where dynamic.
        compute: Type of coordinates, weights and sums. ONNX Runtime runs float16 and bfloat16 as
            float32 between two Casts, and so do we.
    """

    mode: Mode
    padding: Padding
    align_corners: bool
    spatial: int
    x_dtype: ir.DataType
    x_dims: tuple[int | None, ...]
    grid_dims: tuple[int | None, ...]
    compute: ir.DataType

    @classmethod
    def of(cls, node: ir.Node) -> Problem:
        """Read a node for which :func:`why_not` has no objection."""
        x, grid = _inputs(node)
        spatial = cast("int", _spatial(x, grid))
        dtypes = {x.dtype, grid.dtype}
        wide = ir.DataType.DOUBLE in dtypes
        return cls(
            mode=cast("Mode", _MODES[node.attributes.get_string("mode", "linear") or ""]),
            padding=cast("Padding", node.attributes.get_string("padding_mode", "zeros")),
            align_corners=node.attributes.get_int("align_corners", 0) == 1,
            spatial=spatial,
            x_dtype=cast("ir.DataType", x.dtype),
            x_dims=_dims(x, spatial),
            grid_dims=_dims(grid, spatial),
            compute=ir.DataType.DOUBLE if wide else ir.DataType.FLOAT,
        )

    @property
    def points(self) -> int | None:
        """Number of output points of one picture, None where dynamic."""
        return _product(self.grid_dims[1:-1])

    @property
    def point_bytes(self) -> int | None:
        """Bytes of one point of every picture with all channels."""
        return _product((*self.x_dims[:2], self.compute.itemsize))

    @property
    def row_bytes(self) -> int | None:
        """Bytes of one point of one picture with all channels."""
        return _product((self.x_dims[1], self.compute.itemsize))

    @property
    def table_bytes(self) -> int | None:
        """Bytes of x in the type of the sums, with a frame of zeros if it has one."""
        frame = 2 * TAPS[self.mode] if self.padding == "zeros" else 0
        extents = [None if extent is None else extent + frame for extent in self.x_dims[2:]]
        return _product((*self.x_dims[:2], *extents, self.compute.itemsize))

    @property
    def fetched(self) -> int | None:
        """Number of pixels that one corner fetches."""
        return _product((*self.x_dims[:2], *self.grid_dims[1:-1]))


def why_not(node: ir.Node, opset: int) -> str | None:
    """Return the reason to leave ``node`` alone, or None to rewrite it.

    Args:
        node: A GridSample node.
        opset: The highest opset whose operators may be emitted.
    """
    if opset < OLDEST_OPSET:
        return f"opset {opset} lacks GatherElements; convert the model to opset {OLDEST_OPSET}"
    if len(node.inputs) != 2 or None in node.inputs:  # noqa: PLR2004  x and grid
        return "it needs two inputs, x and grid"
    return _attributes_reason(node) or _type_reason(node, opset) or _shape_reason(node)


def _attributes_reason(node: ir.Node) -> str | None:
    for name in ("mode", "padding_mode", "align_corners"):
        if name in node.attributes and node.attributes[name].is_ref():
            return f"attribute {name} is set by the caller of the function; inline it first"
    mode = node.attributes.get_string("mode", "linear")
    if mode not in _MODES:
        return f"mode {mode!r} is not one of {', '.join(sorted(set(_MODES)))}"
    padding = node.attributes.get_string("padding_mode", "zeros")
    if padding not in _PADDINGS:
        return f"padding_mode {padding!r} is not one of {', '.join(_PADDINGS)}"
    align = node.attributes.get_int("align_corners", 0)
    return None if align in {0, 1} else f"align_corners is {align}, expected 0 or 1"


def _type_reason(node: ir.Node, opset: int) -> str | None:
    for role, value in zip(("x", "grid"), _inputs(node), strict=True):
        if value.dtype is None:
            return f"the type of {role} {value.name!r} is unknown; infer shapes first"
        if value.dtype not in _FLOATS:
            return f"{role} {value.name!r} is {value.dtype}, expected a floating-point type"
        if value.dtype == ir.DataType.BFLOAT16 and opset < BFLOAT16_OPSET:
            return f"{role} {value.name!r} is BFLOAT16, which needs opset {BFLOAT16_OPSET}"
    return None


def _shape_reason(node: ir.Node) -> str | None:
    x, grid = _inputs(node)
    spatial = _spatial(x, grid)
    if spatial is None:
        return f"the rank of x {x.name!r} and of grid {grid.name!r} is unknown; infer shapes first"
    if spatial not in _SPATIAL:
        return f"x {x.name!r} has rank {spatial + 2}, expected 3, 4 or 5"
    if any(v.shape is not None and len(v.shape) != spatial + 2 for v in (x, grid)):
        return f"x {x.name!r} and grid {grid.name!r} differ in rank"
    return _extent_reason(x, grid, spatial)


def _extent_reason(x: ir.Value, grid: ir.Value, spatial: int) -> str | None:
    x_dims, grid_dims = _dims(x, spatial), _dims(grid, spatial)
    if grid_dims[-1] not in {None, spatial}:
        return f"the last axis of grid {grid.name!r} is {grid_dims[-1]}, expected {spatial}"
    if None not in {x_dims[0], grid_dims[0]} and x_dims[0] != grid_dims[0]:
        return f"batch {grid_dims[0]} of grid and {x_dims[0]} of x differ; ONNX does not broadcast"
    if 0 in x_dims[1:] or 0 in grid_dims[1:]:
        return "an extent is 0: there is nothing to sample"
    if (pixels := _product((x_dims[0], *x_dims[2:]))) is not None and pixels >= INDEX_LIMIT:
        return f"x {x.name!r} has {pixels} pixels, more than an int32 index can count"
    return None


def _inputs(node: ir.Node) -> tuple[ir.Value, ir.Value]:
    x, grid = node.inputs
    return cast("ir.Value", x), cast("ir.Value", grid)


def _spatial(x: ir.Value, grid: ir.Value) -> int | None:
    shape = x.shape if x.shape is not None else grid.shape
    return None if shape is None else len(shape) - 2


def _product(sizes: tuple[int | float | None, ...]) -> int | None:
    return None if None in sizes else int(math.prod(size or 0 for size in sizes))


def _dims(value: ir.Value, spatial: int) -> tuple[int | None, ...]:
    if value.shape is None:
        return (None,) * (spatial + 2)
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)
