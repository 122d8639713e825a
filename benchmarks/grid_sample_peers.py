"""Public ways to get rid of GridSample, to compare with."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper

REFUSED = "left GridSample in place"
TORCH_AT_MOST = 10_000_000  # channels times coordinates


def onnxsim(model: onnx.ModelProto) -> onnx.ModelProto | str:
    """Return the model after onnxsim's opt-in rewrite, or why there is none."""
    import onnxsim as package

    simplified, _ = package.simplify(model, extra_optimizers=["rewrite_gridsample_to_gather"])
    ops = {node.op_type for node in simplified.graph.node}
    return REFUSED if "GridSample" in ops else simplified


def torch_decomposition(model: onnx.ModelProto) -> onnx.ModelProto | str:
    """Return what PyTorch's exporter makes with its own decomposition, or why there is none.

    Needs torch and onnxscript, which are no dependency of this project.
    """
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    from torch import _decomp as decompositions

    (node,) = model.graph.node
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    x, grid = (
        torch.zeros([dim.dim_value for dim in value.type.tensor_type.shape.dim])
        for value in model.graph.input
    )
    if x.ndim != len("NCHW"):
        return "rank 4 only"
    if x.shape[1] * grid.numel() > TORCH_AT_MOST:
        return "not measured at this size: minutes and over 13 GB"

    class Sample(torch.nn.Module):  # type: ignore[misc]  # torch is not here when types are checked
        def forward(self, x: Any, grid: Any) -> Any:  # noqa: ANN401  tensors
            return torch.nn.functional.grid_sample(
                x,
                grid,
                mode=attributes["mode"].decode(),
                padding_mode=attributes["padding_mode"].decode(),
                align_corners=bool(attributes["align_corners"]),
            )

    table = decompositions.core_aten_decompositions()
    table.update(decompositions.get_decompositions([torch.ops.aten.grid_sampler_2d]))
    program = torch.export.export(Sample(), (x, grid)).run_decompositions(table)
    exported = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
    ops = {node.op_type for node in exported.graph.node}
    return REFUSED if "GridSample" in ops else cast("onnx.ModelProto", exported)


def four_gathers(model: onnx.ModelProto) -> onnx.ModelProto | str:
    """Return a graph of the shape of mmcv's ``bilinear_grid_sample``, or why there is none.

    Written from its description: int64 corner coordinates on a picture padded by one pixel, clamped
    one by one with Where, and four GatherElements with an expanded index.
    """
    (node,) = model.graph.node
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes["mode"] != b"bilinear" or attributes["padding_mode"] != b"zeros":
        return "bilinear with zeros only"
    x, grid = model.graph.input
    shape = [dim.dim_value for dim in x.type.tensor_type.shape.dim]
    out = [dim.dim_value for dim in grid.type.tensor_type.shape.dim]
    if len(shape) > len("NCHW"):
        return "rank 4 only"
    build = _Builder()
    total = _sampled(build, shape, out, aligned=attributes["align_corners"] == 1)
    build.node("Reshape", total, np.array([*shape[:2], *out[1:3]]), name="y")
    graph = helper.make_graph(
        build.nodes, "four_gathers", [x, grid], [model.graph.output[0]], build.constants
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)


def _sampled(build: _Builder, shape: list[int], out: list[int], *, aligned: bool) -> str:
    batch, channels, height, width = shape
    points = out[1] * out[2]
    picture = build.node("Pad", "x", np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    flat = build.node("Reshape", picture, np.array([batch, channels, -1]))
    low, high, near, far = {}, {}, {}, {}
    for axis, (number, extent) in enumerate((("x", width), ("y", height))):
        plane = build.node("Gather", "grid", np.array(axis), axis=3)
        plane = build.node("Reshape", plane, np.array([batch, points]))
        plane = build.node("Add", plane, np.float32(1))
        if aligned:
            half = build.node("Div", plane, np.float32(2))
            place = build.node("Mul", half, np.float32(extent - 1))
        else:
            scaled = build.node("Mul", plane, np.float32(extent))
            place = build.node("Div", build.node("Sub", scaled, np.float32(1)), np.float32(2))
        floor = build.node("Cast", build.node("Floor", place), to=onnx.TensorProto.INT64)
        after = build.node("Add", floor, np.int64(1))
        far[number] = build.node("Sub", place, build.node("Cast", floor, to=1))
        near[number] = build.node("Sub", build.node("Cast", after, to=1), place)
        low[number] = build.clamped(build.node("Add", floor, np.int64(1)), extent + 1)
        high[number] = build.clamped(build.node("Add", after, np.int64(1)), extent + 1)
    total = ""
    for y, wy in ((low["y"], near["y"]), (high["y"], far["y"])):
        for x, wx in ((low["x"], near["x"]), (high["x"], far["x"])):
            index = build.node("Add", x, build.node("Mul", y, np.int64(width + 2)))
            index = build.node("Reshape", index, np.array([batch, 1, points]))
            index = build.node("Expand", index, np.array([batch, channels, points]))
            pixel = build.node("GatherElements", flat, index, axis=2)
            weight = build.node("Reshape", build.node("Mul", wx, wy), np.array([batch, 1, points]))
            term = build.node("Mul", pixel, weight)
            total = build.node("Add", total, term) if total else term
    return total


class _Builder:
    """Nodes and constants of a small graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(
        self, op_type: str, *inputs: str | np.ndarray | np.generic, name: str = "", **attrs: int
    ) -> str:
        """Add a node; an array becomes a constant."""
        names = []
        for value in inputs:
            if isinstance(value, str):
                names.append(value)
                continue
            names.append(f"c{len(self.constants)}")
            self.constants.append(numpy_helper.from_array(np.asarray(value), names[-1]))
        output = name or f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op_type, names, [output], **cast("dict[str, Any]", attrs))
        )
        return output

    def clamped(self, index: str, last: int) -> str:
        """Clamp an int64 index to 0..last with two comparisons."""
        below = self.node("Less", index, np.int64(0))
        index = self.node("Where", below, np.int64(0), index)
        above = self.node("Greater", index, np.int64(last))
        return self.node("Where", above, np.int64(last), index)
