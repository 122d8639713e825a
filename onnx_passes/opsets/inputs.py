"""Rules for what moved between attribute and input, or came into being, from step to step."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnx_passes.opsets.site import Refusal, Site

_LARGEST = np.iinfo(np.int64).max


def axes_to_attribute(site: Site) -> None:
    """Squeeze, Unsqueeze, ReduceSum below 13, the other reductions below 18."""
    axes = site.integers(1, "axes")
    does_nothing = site.integer("noop_with_empty_axes", 0)
    site.node.attributes.pop("noop_with_empty_axes", None)
    if axes == [] and site.node.op_type in {"Squeeze", "Unsqueeze"}:
        msg = "its list of axes is empty"
        raise Refusal(msg)
    if not axes and does_nothing:
        site.replace(site.emit.op("Identity", site.data()))
        return
    site.cut_inputs(1)
    if axes:
        site.set_integers("axes", axes)


def axes_to_input(site: Site) -> None:
    """Undo :func:`axes_to_attribute`."""
    axes = site.node.attributes.pop("axes", None)
    if axes is not None and len(axes.as_ints()):
        site.set_input(1, np.array(axes.as_ints(), np.int64))


def split_to_attribute(site: Site) -> None:
    """Split below 13."""
    sizes = site.integers(1, "sizes")
    site.cut_inputs(1)
    if sizes is not None:
        site.set_integers("split", sizes)


def split_to_input(site: Site) -> None:
    """Split from 13 on."""
    sizes = site.node.attributes.pop("split", None)
    if sizes is not None:
        site.set_input(1, np.array(sizes.as_ints(), np.int64))


def split_with_count(site: Site) -> None:
    """Split from 18 on: equal parts need their number."""
    if site.value(1) is None:
        site.node.attributes.add(ir.AttrInt64("num_outputs", len(site.node.outputs)))


def split_without_count(site: Site) -> None:
    """Split below 18: unequal parts need their sizes."""
    count = site.node.attributes.pop("num_outputs", None)
    if count is None or site.value(1) is not None:
        return
    shape, parts = site.data().shape, int(count.as_int())
    extent = shape[site.integer("axis", 0)] if shape is not None else None
    if not isinstance(extent, int):
        msg = f"the extent that it splits into {parts} equal parts or a smaller last one is unknown"
        raise Refusal(msg)
    part = -(-extent // parts)
    if part * parts != extent:
        sizes = [*[part] * (parts - 1), extent - part * (parts - 1)]
        site.set_input(1, np.array(sizes, np.int64))


def pad_without_axes(site: Site) -> None:
    """Pad below 18: every axis has its pads."""
    axes = site.integers(3, "axes")
    if axes is None:
        return
    pads = site.integers(1, "pads") or []
    rank = site.rank()
    full = np.zeros((2, rank), np.int64)
    full[:, [axis % rank for axis in axes]] = np.reshape(pads, (2, len(axes)))
    site.set_input(1, full.reshape(-1))
    site.cut_inputs(3)


def pad_without_wrap(site: Site) -> None:
    """Pad below 19: no mode wrap."""
    mode = site.node.attributes.get("mode")
    if mode is not None and mode.as_string() == "wrap":
        msg = f"opset {site.opset} has no mode 'wrap' of Pad"
        raise Refusal(msg)


def average_inside(site: Site) -> None:
    """AveragePool across 19, which settled what a window counts beyond the padding."""
    if site.integer("ceil_mode", 0) and site.integer("count_include_pad", 0):
        msg = "ceil_mode=1 with count_include_pad=1 changed its meaning in opset 19"
        raise Refusal(msg)


def average_without_dilations(site: Site) -> None:
    """AveragePool below 19: no dilations; without padding none is counted on either side."""
    attributes = site.node.attributes
    padded = any(attributes.get_ints("pads") or [])
    padded |= attributes.get_string("auto_pad", "NOTSET") not in {"NOTSET", "VALID"}
    if site.integer("ceil_mode", 0) and not padded:
        attributes.pop("count_include_pad", None)
    average_inside(site)
    dilations = attributes.get("dilations")
    if dilations is not None and set(dilations.as_ints()) == {1}:
        del attributes["dilations"]


def dropout_to_input(site: Site) -> None:
    """Dropout from 12 on; without a training mode it copies, as it did before."""
    ratio = site.node.attributes.pop("ratio", None)
    if ratio is not None:
        site.set_input(1, np.array(ratio.as_float(), np.float32))


def dropout_to_attribute(site: Site) -> None:
    """Dropout below 12: only the mode that copies."""
    training = site.array(2, "training mode")
    if training is not None and training.any():
        msg = f"training mode: Dropout of opset {site.opset} only copies"
        raise Refusal(msg)
    if (ratio := site.array(1, "ratio")) is not None:
        site.node.attributes.add(ir.AttrFloat32("ratio", float(ratio)))
    site.node.attributes.pop("seed", None)
    site.cut_inputs(1)


def resize_with_all_inputs(site: Site) -> None:
    """Resize below 13: roi and scales may be empty, not left out."""
    empty = np.zeros(0, np.float32)
    for index in (1, 2):
        if site.value(index) is None:
            site.set_input(index, empty)


def resize_mode(site: Site) -> None:
    """Resize: refuse a coordinate transformation that one side of 13 or 19 does not know."""
    mode = site.node.attributes.get("coordinate_transformation_mode")
    text = "half_pixel" if mode is None else mode.as_string()
    lacks = (text == "tf_half_pixel_for_nn" and site.opset >= 13) or (  # noqa: PLR2004  the step
        text == "half_pixel_symmetric" and site.opset < 19  # noqa: PLR2004  the step
    )
    if lacks:
        msg = f"opset {site.opset} has no coordinate_transformation_mode {text!r} of Resize"
        raise Refusal(msg)


def resize_down_13(site: Site) -> None:
    """Resize from 13 to 12."""
    resize_mode(site)
    resize_with_all_inputs(site)


def shape_without_range(site: Site) -> None:
    """Shape below 15: of all axes, and a Slice takes some."""
    start, end = site.integer("start", 0), site.integer("end", _LARGEST)
    for name in ("start", "end"):
        site.node.attributes.pop(name, None)
    if (start, end) == (0, _LARGEST):
        return
    rank = None if site.data().shape is None else site.rank()
    emit, count = site.emit, None if rank is None else len(range(rank)[start:end])
    whole = emit.op("Shape", site.data(), dtype=ir.DataType.INT64, dims=[rank])
    bounds = (np.array([bound], np.int64) for bound in (start, end, 0))
    site.replace(emit.op("Slice", whole, *bounds, dims=[count]))
