"""What dtypes alone do not tell: rules that look at shapes, attributes and constant inputs.

Each rule takes an operator and returns a ruling, or None when it has nothing against the kernels of
the table. The data file of a CANN version names the rules that hold for its operators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ascend.op_support.query import Answer, Operator, Shape, Tensor, Why

# From the check of CANN 8.1.RC1's GatherElements; the unified buffer is that of the 310P.
GATHER_ELEMENTS_BYTES = 3000 * 1024
GATHER_ELEMENTS_INDICES = 2048
GATHER_ELEMENTS_MOST_BYTES = (1 << 31) - 1
UNIFIED_BUFFER_BYTES = 262144 - 2048
_BLOCK_BYTES = 32
# GatherV2's check, CANN 8.1.RC1: data and indices that its kernel is not given together.
_GATHER_DATA = ((7709, 512), (17191, 512))
_GATHER_INDICES = ((1,), (128,), (64, 128))
# TopKD's check, CANN 8.1.RC1.
_TOP_K_ELEMENTS = 32768
_TOP_K_SMALL = 8
_SIZES = {"float16": 2, "float32": 4, "float64": 8, "int64": 8, "uint64": 8}
_SIZES |= {"int32": 4, "uint32": 4, "int16": 2, "uint16": 2, "int8": 1, "uint8": 1, "bool": 1}


class Ruling(NamedTuple):
    """What a rule decides; see :class:`ascend.op_support.query.Verdict`."""

    answer: Answer
    why: Why
    reason: str


def device_dtypes(dtype: str, *, keep_float32: bool) -> tuple[str, ...]:
    """Return the dtypes that a tensor may have on the device, the one ATC takes first first.

    See ``op_support`` for why float32 is float16 there.
    """
    if dtype == "float32" and not keep_float32:
        return "float16", "float32"
    return (dtype,)


def _grid_sample(operator: Operator) -> Ruling | None:
    """AI Core for float32, rank 4, bilinear and bicubic; the attributes are read verbatim."""
    mode, padding = (operator.attributes.get(key, "") for key in ("mode", "padding_mode"))
    shape, dtype = operator.tensor(0).shape, operator.tensor(0).dtype
    if mode not in {"bilinear", "bicubic"}:
        return Ruling("AI CPU", "attribute", f"mode {mode!r} is neither 'bilinear' nor 'bicubic'")
    if padding not in {"zeros", "border", "reflection"}:
        what = f"padding_mode {padding!r} is none of 'zeros', 'border' and 'reflection'"
        return Ruling("AI CPU", "attribute", what)
    if dtype not in {None, "float32"}:
        return Ruling("AI CPU", "dtype", f"{dtype} is not float32")
    if dtype is None or shape is None:
        what = "only float32 of rank 4 runs on the AI Core; its dtype or its rank is not known"
        return Ruling("parsed", "shape unknown", what)
    if len(shape) != 4:  # noqa: PLR2004  N, C, H, W
        return Ruling("AI CPU", "size", f"rank {len(shape)} is not 4")
    layout = "" if shape[1] == 1 else ", and wants NHWC: transposes around it are likely"
    what = f"float32, rank 4, {mode}; its kernel copies point by point{layout}"
    return Ruling("AI Core", "kernel", what)


def _gather_elements(operator: Operator) -> Ruling | None:
    """AI CPU for large data with many indices, unless a row and its indices fit the buffer."""
    data, index = operator.tensor(0), operator.tensor(1)
    size = _bytes(data, keep_float32=operator.keep_float32)
    if size is None or index.elements is None:
        few = index.elements is not None and index.elements < GATHER_ELEMENTS_INDICES
        small = size is not None and size < GATHER_ELEMENTS_BYTES
        if few or small:
            return None
        return Ruling("parsed", "shape unknown", "the engine depends on shapes that are not known")
    if size > GATHER_ELEMENTS_MOST_BYTES:
        return Ruling("AI CPU", "size", f"its data has {size} bytes, more than an int32 counts")
    if size < GATHER_ELEMENTS_BYTES or index.elements < GATHER_ELEMENTS_INDICES:
        return None
    if _rows_fit(operator):
        return None
    return Ruling(
        "AI CPU",
        "size",
        f"its data has {size} bytes (limit {GATHER_ELEMENTS_BYTES}) and its index "
        f"{index.elements} elements (limit {GATHER_ELEMENTS_INDICES})",
    )


def _bytes(tensor: Tensor, *, keep_float32: bool) -> int | None:
    """Return the size on the device, rounded up to whole blocks."""
    width = _width(tensor.dtype, keep_float32=keep_float32)
    if width is None or tensor.elements is None:
        return None
    return -(-tensor.elements * width // _BLOCK_BYTES) * _BLOCK_BYTES


def _width(dtype: str | None, *, keep_float32: bool) -> int | None:
    if dtype is None:
        return None
    return _SIZES.get(device_dtypes(dtype, keep_float32=keep_float32)[0])


def _rows_fit(operator: Operator) -> bool:
    """Return whether it gathers along the last axis and one row fits the unified buffer."""
    data, index = operator.tensor(0), operator.tensor(1)
    width = _width(data.dtype, keep_float32=operator.keep_float32)
    index_width = _SIZES.get(index.dtype or "")
    if not data.shape or not index.shape or width is None or index_width is None:
        return False
    axis = operator.integer("axis", 0)
    if axis not in {-1, len(data.shape) - 1} or data.shape[:-1] != index.shape[:-1]:
        return False
    row = (data.shape[-1] or 0) * width + (index.shape[-1] or 0) * (width + index_width)
    return row < UNIFIED_BUFFER_BYTES


def _gather(operator: Operator) -> Ruling | None:
    """AI CPU for two tables with three shapes of indices."""
    data, indices = operator.tensor(0).shape, operator.tensor(1).shape
    if data in _GATHER_DATA and indices in _GATHER_INDICES:
        return Ruling("AI CPU", "size", f"its kernel excludes {_text(data)} by {_text(indices)}")
    return None


def _gather_nd(operator: Operator) -> Ruling | None:
    """Documented for batch_dims 0."""
    batch = operator.integer("batch_dims", 0)
    return (
        Ruling("unknown", "attribute", f"batch_dims {batch} is not documented") if batch else None
    )


def _slice(operator: Operator) -> Ruling | None:
    """AI CPU for steps below 1; before opset 10 there are no steps."""
    if len(operator.inputs) <= 4 or operator.inputs[4] is None:  # noqa: PLR2004  input 4: steps
        return None
    steps = operator.tensor(4).value
    if steps is None:
        return Ruling("parsed", "shape unknown", "its steps are computed; only steps from 1 run")
    if any(step < 1 for step in steps):
        return Ruling("AI CPU", "attribute", f"steps {list(steps)} are not all from 1 on")
    return None


def _pad(operator: Operator) -> Ruling | None:
    """Documented for constant mode with zeros."""
    mode = operator.attributes.get("mode", "constant")
    if mode != "constant":
        return Ruling("unknown", "attribute", f"mode {mode!r} is not documented")
    given: tuple[float | int | bool, ...] | None = (operator.attributes.get("value", 0),)
    if operator.opset >= 11 and len(operator.inputs) > 2 and operator.inputs[2]:  # noqa: PLR2004
        given = operator.inputs[2].value  # from opset 11 on
    if given is None:
        return Ruling("unknown", "attribute", "it pads with a value that is computed, not with 0")
    if any(given):
        return Ruling("unknown", "attribute", f"it pads with {given[0]}; documented is 0 only")
    return None


def _scatter_nd(operator: Operator) -> Ruling | None:
    """The table is of the plain form."""
    reduction = operator.attributes.get("reduction", "none")
    if reduction in {"none", ""}:
        return None
    return Ruling("parsed", "attribute", f"nothing is known of reduction {reduction!r}")


def _top_k(operator: Operator) -> Ruling | None:
    """One of its kernels refuses a small k of many, and a sort axis of length 1."""
    data, k = operator.tensor(0), operator.tensor(1).value
    axis = operator.integer("axis", -1)
    unsure = "the kernel it would have refuses that; whether another takes it is not known"
    if data.shape and -len(data.shape) <= axis < len(data.shape) and data.shape[axis] == 1:
        return Ruling("parsed", "size", f"its axis has length 1: {unsure}")
    if k and 0 < k[0] < _TOP_K_SMALL and (data.elements or 0) > _TOP_K_ELEMENTS:
        return Ruling("parsed", "size", f"k {k[0]} of {data.elements} elements: {unsure}")
    return None


def _clip(operator: Operator) -> Ruling | None:
    """From opset 11 on the parser stops at a Clip without bounds."""
    if operator.opset >= 11 and not any(operator.inputs[1:]):  # noqa: PLR2004  min, max as inputs
        return Ruling("refused", "attribute", "it has neither min nor max")
    return None


def _control_flow(_: Operator) -> Ruling | None:
    """If is no computation of its own: its branches are."""
    return Ruling("parsed", "kernel", "it chooses a branch; its branches have engines of their own")


def _text(shape: Shape | None) -> str:
    return str(list(shape or ()))


RULES: dict[str, Callable[[Operator], Ruling | None]] = {
    "clip-bounds": _clip,
    "control-flow": _control_flow,
    "gather-elements-size": _gather_elements,
    "gather-nd-batch": _gather_nd,
    "gather-two-shapes": _gather,
    "grid-sample": _grid_sample,
    "pad-mode": _pad,
    "scatter-reduction": _scatter_nd,
    "slice-steps": _slice,
    "top-k-size": _top_k,
}
