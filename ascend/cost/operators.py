"""What one node asks of the chip, by operator: the formulas of docs/cost.md."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ascend.cost.chip import ELEMENTWISE, REDUCTIONS
from ascend.cost.site import Demand, Site
from ascend.op_support.rules import UNIFIED_BUFFER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


def demand_of(site: Site) -> Demand | str:
    """Return what a node asks for, or the reason why it is not known."""
    operator = site.node.op_type
    if site.node.domain not in {"", "ai.onnx"}:
        return f"no formula for the domain {site.node.domain!r}"
    if operator in ELEMENTWISE:
        # A scalar (an exponent of int64, say) needs no vector conversion.
        given = [each for each in site.inputs if each is not None and each.elements > 1]
        tensors = (*given, *site.outputs)
        cycles = site.vector_cycles(site.y.elements, ELEMENTWISE[operator], *tensors)
        return Demand("element-wise", None, vector_cycles=cycles)
    formula = _reduce if operator in REDUCTIONS else _FORMULAS.get(operator)
    if formula is None:
        return f"no formula for {operator}"
    try:
        return formula(site)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return f"{operator} is not as ONNX defines it: {error}"


def _free(site: Site) -> Demand:
    """Another shape for the same bytes: no kernel, but the bytes must lie in order."""
    return Demand("free")


def _identity(site: Site) -> Demand:
    return Demand("free", layout=None)


def _reduce(site: Site) -> Demand:
    x = site.x()
    return Demand(vector_cycles=site.vector_cycles(x.elements, REDUCTIONS[site.node.op_type], x))


def _conv(site: Site) -> Demand:
    """Rows are output points, columns output channels, inner is channels times kernel window.

    Channels come in blocks of 16. A group with fewer shares a block with others, whose products
    with it are computed and dropped: a depthwise convolution uses a sixteenth of the cube.
    """
    x, weight, groups = site.x(), site.x(1), site.node.attributes.get_int("group", 1)
    window = math.prod(weight.shape[2:])
    ins, outs = x.shape[1] // groups, site.y.shape[1] // groups
    points = x if site.node.op_type == "ConvTranspose" else site.y
    rows = points.shape[0] * math.prod(points.shape[2:])
    edge = site.chip.cube_edge
    together = min(groups, max(1, edge // max(ins, outs, 1)))
    inner = math.ceil(ins * together / edge) * edge * window
    blocks = math.ceil(groups / together)
    cycles = site.chip.cube_cycles(rows, inner, outs * together, blocks)
    return Demand("cube", "NC1HWC0", cube_cycles=cycles, wide=False)


def _matmul(site: Site) -> Demand:
    a, b = site.x(), site.x(1)
    if site.node.op_type == "Gemm":
        inner = a.shape[0] if site.node.attributes.get_int("transA", 0) else a.shape[1]
    else:
        inner = a.shape[-1]
    *batch, rows, columns = (1, *site.y.shape) if len(a.shape) == 1 else site.y.shape
    if len(b.shape) <= 2 and math.prod(batch) > 1:  # noqa: PLR2004  one matrix for all rows
        batch, rows = [], math.prod(batch) * rows
    cycles = site.chip.cube_cycles(rows, inner, columns, math.prod(batch))
    return Demand("cube", "FRACTAL_NZ", cube_cycles=cycles, wide=False)


def _recurrent(site: Site) -> Demand:
    """One kernel a direction; the input product at once, the recurrent one step by step.

    A step waits for the one before it, which is charged like the start of a kernel.
    """
    x, recurrence = site.x(), site.x(2)
    if site.node.attributes.get_int("layout", 0):
        batch, steps, features = x.shape
    else:
        steps, batch, features = x.shape
    directions, columns, hidden = recurrence.shape
    chip = site.chip
    cube = chip.cube_cycles(steps * batch, features, columns)
    cube += steps * chip.cube_cycles(batch, hidden, columns)
    # Sigmoid or tanh of each gate (6), the products and sums of the state (4 more a column).
    vector = steps * chip.vector_cycles(batch * columns, chip.lanes_2_bytes, 10)
    return Demand(
        layout="FRACTAL_NZ",
        cube_cycles=directions * cube,
        vector_cycles=directions * vector,
        launches=directions * (1 + steps),
        wide=False,
    )


def _pool(site: Site) -> Demand:
    """One operation for each output and each place of the window, all of it for a global one."""
    x, y = site.x(), site.y
    kernel = site.node.attributes.get_ints("kernel_shape")
    window = math.prod(x.shape[2:] if kernel is None else kernel)
    padded = math.ceil(y.shape[1] / site.chip.cube_edge) * site.chip.cube_edge
    elements = y.elements // max(1, y.shape[1]) * padded
    cycles = site.chip.vector_cycles(elements * window, site.chip.lanes_2_bytes, 1)
    return Demand(layout="NC1HWC0", vector_cycles=cycles, wide=False)


def _resize(site: Site) -> Demand:
    """Four taps for each output, a product and a sum each."""
    cycles = site.chip.vector_cycles(site.y.elements, site.chip.lanes_2_bytes, 8)
    return Demand(layout="NC1HWC0", vector_cycles=cycles, wide=False)


def _move(site: Site) -> Demand:
    return Demand()


def _transpose(site: Site) -> Demand:
    """The axes at the end that stay are moved in one piece; a short piece costs a whole burst."""
    x = site.x()
    perm = site.node.attributes.get_ints("perm") or tuple(reversed(range(len(x.shape))))
    run = x.item_bytes(wide=site.wide)
    for axis in reversed(range(len(x.shape))):
        if perm[axis] != axis:
            break
        run *= x.shape[axis]
    total = math.ceil(x.elements * x.item_bytes(wide=site.wide))
    runs = math.ceil(total / run) if run else 0
    return Demand(moved_bytes=total + site.chip.in_bursts(runs, math.ceil(run)))


def _gather(site: Site) -> Demand:
    """One small copy for each index, shared by all cores."""
    x, axis = site.x(), site.node.attributes.get_int("axis", 0) % max(1, len(site.x().shape))
    row = math.prod(x.shape[axis + 1 :])
    copies = site.y.elements // max(1, row)
    return Demand(row_copies=site.chip.shared(copies))


def _gather_nd(site: Site) -> Demand:
    """One small copy for each index tuple."""
    return Demand(row_copies=site.chip.shared(site.x(1).elements // max(1, site.x(1).shape[-1])))


def _gather_elements(site: Site) -> Demand:
    """One element for each index: out of the unified buffer if a row fits there, else a copy."""
    x, index = site.x(), site.x(1)
    axis = site.node.attributes.get_int("axis", 0) % max(1, len(x.shape))
    each = site.chip.shared(index.elements)
    last = axis == len(x.shape) - 1 and x.shape[:-1] == index.shape[:-1]
    item = x.item_bytes(wide=site.wide)
    row = x.shape[-1] * item + index.shape[-1] * (item + index.dtype.itemsize)
    if last and row < UNIFIED_BUFFER_BYTES:
        return Demand(fetches=each)
    return Demand(row_copies=each)


def _grid_sample(site: Site) -> Demand:
    """One small copy for each output point and corner; a picture belongs to one core.

    float32 only. With one channel that fits the unified buffer, corners are fetched there.
    """
    x, y = site.x(), site.y
    cubic = site.node.attributes.get_string("mode", "linear") in {"cubic", "bicubic"}
    corners = (4 if cubic else 2) ** (len(x.shape) - 2)
    each = site.chip.shared(y.shape[0]) * math.prod(y.shape[2:]) * corners
    cycles = site.chip.vector_cycles(y.elements * corners, site.chip.lanes_4_bytes, 2)
    if x.shape[1] == 1 and x.elements // x.shape[0] * 4 <= site.chip.unified_buffer_bytes // 4:
        return Demand(layout="ND", vector_cycles=cycles, fetches=each, wide=True)
    return Demand(layout="NHWC", vector_cycles=cycles, copies=each, wide=True)


_FORMULAS: dict[str, Callable[[Site], Demand]] = {
    **dict.fromkeys(("Dropout", "Identity"), _identity),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _free),
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    **dict.fromkeys(("Gemm", "MatMul"), _matmul),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(
        ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "MaxPool"), _pool
    ),
    **dict.fromkeys(("Concat", "Expand", "Pad", "Slice", "Split", "Tile"), _move),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _move),
    "Resize": _resize,
    "Transpose": _transpose,
    "Gather": _gather,
    **dict.fromkeys(("GatherND", "ScatterND"), _gather_nd),
    "GatherElements": _gather_elements,
    "GridSample": _grid_sample,
}
