"""Rules that write an operator in another form: other operators, other names, other defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnx_passes.opsets.site import Refusal, Site

if TYPE_CHECKING:
    from onnx_passes.core.emit import Emitter, Operand

_MODES = {"linear": "bilinear", "cubic": "bicubic"}
_PICTURE_RANK = 4
_LONG = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


def hard_swish(site: Site) -> None:
    """HardSwish below 14: x * HardSigmoid(x) with alpha = 1/6, beta = 1/2, as its schema says."""
    x = site.data()
    gate = site.emit.op("HardSigmoid", x)
    if (maker := gate.producer()) is not None:
        maker.attributes.add(ir.AttrFloat32("alpha", float(np.float32(1 / 6))))
        maker.attributes.add(ir.AttrFloat32("beta", 0.5))
    site.replace(site.emit.op("Mul", x, gate))


def or_equal(site: Site) -> None:
    """GreaterOrEqual and LessOrEqual below 12; NaN is neither greater nor equal."""
    strict = site.node.op_type.removesuffix("OrEqual")
    parts = [site.emit.op(kind, *site.node.inputs) for kind in (strict, "Equal")]
    site.replace(site.emit.op("Or", *parts))


def softmax_along_axis(site: Site) -> None:
    """Softmax and its kin below 13 work on all axes from ``axis`` on: move it to the end."""
    axis = site.integer("axis", -1)
    if axis == -1 or _is_last(site, axis):
        site.node.attributes.add(ir.AttrInt64("axis", axis))
        return
    rank = site.rank()
    perm = list(range(rank))
    perm[axis], perm[-1] = perm[-1], perm[axis]
    moved = site.emit.transpose(site.data(), perm)
    soft = site.emit.op(site.node.op_type, moved, axis=rank - 1)
    site.replace(site.emit.transpose(soft, perm))


def softmax_of_rows(site: Site) -> None:
    """Softmax and its kin from 13 on work along one axis: flatten the axes from ``axis`` on."""
    axis = site.integer("axis", 1)
    if axis == -1 or _is_last(site, axis):
        site.node.attributes.add(ir.AttrInt64("axis", axis))
        return
    emit, x = site.emit, site.data()
    rows = emit.op("Flatten", x, axis=axis % site.rank(), dims=[None, None])
    soft = emit.op(site.node.op_type, rows, axis=1)
    shape = x.shape
    if shape is not None and shape.is_static():
        if 0 in shape.numpy():
            msg = "its input is empty, and a 0 in the target of a Reshape copies an extent"
            raise Refusal(msg)
        sizes: Operand = np.array(shape.numpy(), np.int64)
    else:
        sizes = emit.op("Shape", x, dtype=ir.DataType.INT64, dims=[site.rank()])
    dims = None if shape is None else [d if isinstance(d, int) else d.value for d in shape]
    site.replace(emit.op("Reshape", soft, sizes, dtype=x.dtype, dims=dims))


def _is_last(site: Site, axis: int) -> bool:
    """Return whether all axes behind ``axis`` have extent 1: both meanings are the same then."""
    rank, shape = site.rank(), site.data().shape
    if not -rank <= axis < rank:
        msg = f"its axis is {axis}, its input has rank {rank}"
        raise Refusal(msg)
    return shape is not None and all(dim == 1 for dim in shape[axis % rank + 1 :])


def inference_mode(site: Site) -> None:
    """BatchNormalization across 14: the same in inference mode."""
    if site.integer("training_mode", 0) or any(value.name for value in site.node.outputs[1:]):
        msg = "BatchNormalization in training mode"
        raise Refusal(msg)
    site.node.attributes.pop("training_mode", None)
    site.node.resize_outputs(1)


def reshape_without_zero(site: Site) -> None:
    """Reshape below 14: a 0 in the shape always copies an extent."""
    if site.integer("allowzero", 0) and 0 in (site.integers(1, "sizes") or []):
        msg = f"allowzero=1 with a 0 in the shape has no form in opset {site.opset}"
        raise Refusal(msg)
    site.node.attributes.pop("allowzero", None)


def constant_tensor(site: Site) -> None:
    """Constant below 12: numbers are tensors."""
    for name, dtype in (("value_int", np.int64), ("value_float", np.float32)):
        for key in (name, f"{name}s"):
            if (attribute := site.node.attributes.pop(key, None)) is not None:
                tensor = ir.Tensor(np.array(attribute.value, dtype))
                site.node.attributes.add(ir.AttrTensor("value", tensor))


def one_scale(site: Site) -> None:
    """QuantizeLinear and DequantizeLinear below 13: one scale for the whole tensor."""
    scale = site.value(1)
    if scale is None or scale.shape is None or len(scale.shape):
        msg = f"a scale for each channel (or of unknown rank) has no form in opset {site.opset}"
        raise Refusal(msg)
    site.node.attributes.pop("axis", None)


def old_mode_names(site: Site) -> None:
    """GridSample below 20: bilinear and bicubic, and pictures only."""
    if (rank := site.rank()) != _PICTURE_RANK:
        msg = f"GridSample of rank {rank}: opset {site.opset} knows rank {_PICTURE_RANK}"
        raise Refusal(msg)
    _rename_mode(site, _MODES, "linear")


def new_mode_names(site: Site) -> None:
    """GridSample from 20 on: linear and cubic."""
    _rename_mode(site, {old: new for new, old in _MODES.items()}, "bilinear")


def _rename_mode(site: Site, names: dict[str, str], default: str) -> None:
    attribute = site.node.attributes.get("mode")
    mode = default if attribute is None else attribute.as_string()
    site.node.attributes.add(ir.AttrString("mode", names.get(mode, mode)))


def roi_align_to_pixels(site: Site) -> None:
    """RoiAlign from 16 on: the old coordinates have a name."""
    name = "coordinate_transformation_mode"
    site.node.attributes.add(ir.AttrString(name, "output_half_pixel"))


def roi_align_of_pixels(site: Site) -> None:
    """RoiAlign below 16 knows one kind of coordinates."""
    mode = site.node.attributes.pop("coordinate_transformation_mode", None)
    if mode is None or mode.as_string() != "output_half_pixel":
        msg = f"coordinates 'half_pixel' of RoiAlign have no form in opset {site.opset}"
        raise Refusal(msg)


def layer_norm(site: Site) -> None:
    """LayerNormalization below 17: the mean, the deviations, their mean square."""
    node, emit, x = site.node, site.emit, site.data()
    if any(value.name for value in node.outputs[1:]):
        msg = "its mean or deviation is read"
        raise Refusal(msg)
    if x.dtype is None:
        msg = f"the type of {x.name!r} is unknown; run infer-shapes first"
        raise Refusal(msg)
    axis = site.integer("axis", -1)
    axes = list(range(axis, 0)) if axis < 0 else list(range(axis, site.rank()))
    stash = x.dtype if x.dtype in _LONG else ir.DataType.FLOAT
    wide = emit.value(emit.cast(x, stash))
    off = emit.op("Sub", wide, _mean(emit, wide, axes), hint="deviation")
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    floor = np.array(epsilon, stash.numpy())
    variance = emit.op("Add", _mean(emit, emit.op("Mul", off, off), axes), floor)
    unit = emit.op("Div", off, emit.op("Sqrt", variance), hint="normal")
    result = emit.op("Mul", emit.cast(unit, x.dtype), _required(node, 1), hint="scaled")
    if (bias := site.value(2)) is not None:
        result = emit.op("Add", result, bias, hint="shifted")
    site.replace(result)


def _required(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    if value is None:
        msg = f"its input {index} is left out"
        raise Refusal(msg)
    return value


def _mean(emit: Emitter, x: ir.Value, axes: list[int]) -> ir.Value:
    """Return the mean over ``axes``, kept with extent 1; axes are an attribute below 18."""
    dims: list[int | str | None] | None = None
    if x.shape is not None:
        dims = [d if isinstance(d, int) else d.value for d in x.shape]
        for axis in axes:
            dims[axis] = 1
    return emit.op("ReduceMean", x, hint="mean", dims=dims, axes=axes, keepdims=1)


def gelu(site: Site) -> None:
    """Gelu below 20: x / 2 * (1 + erf(x / sqrt 2))."""
    approximate = site.node.attributes.get("approximate")
    x, emit = site.data(), site.emit
    if approximate is not None and approximate.as_string() != "none":
        msg = f"approximate {approximate.as_string()!r} of Gelu has no rule"
        raise Refusal(msg)
    if x.dtype is None:
        msg = f"the type of {x.name!r} is unknown; run infer-shapes first"
        raise Refusal(msg)
    half, one, root = (np.array(n, x.dtype.numpy()) for n in (0.5, 1, np.sqrt(0.5)))
    share = emit.op("Add", emit.op("Erf", emit.op("Mul", x, root)), one)
    site.replace(emit.op("Mul", emit.op("Mul", x, half), share))
