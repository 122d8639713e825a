"""Passes with a known fault each: what a checker must catch and put its finger on.

A plugin file (``--plugin benchmarks/planted.py``). Every fault is made at the middle one of the
nodes it can be made at, while the rewrites before it are harmless, so that naming the right rewrite
and the right tensor is no accident.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir

from onnx_passes import Note, Pass, PassResult, register
from onnx_passes.core.contract import Exactness, label

if TYPE_CHECKING:
    from collections.abc import Callable

SCALE = 1.01


@register
@dataclass(frozen=True)
class PlantFault(Pass):
    """Make one fault, while claiming to be exact."""

    name: ClassVar[str] = "plant-fault"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "planted faults"
    fault: str = "scale-weight"

    def run(self, model: ir.Model) -> PassResult:
        """Touch every node the fault fits; make the fault at the middle one."""
        if self.fault == "rename-output":
            model.graph.outputs[0].name = "renamed"
            return PassResult()
        fits, plant = FAULTS[self.fault]
        nodes = [node for node in model.graph if fits(node)]
        result = PassResult()
        for index, node in enumerate(nodes):
            if index == len(nodes) // 2:
                plant(node)
            result.rewritten.append(Note(label(node), "rewritten"))
        return result


@register
@dataclass(frozen=True)
class PlantFaultClosely(PlantFault):
    """Make one fault, while claiming to change rounding only."""

    name: ClassVar[str] = "plant-fault-closely"
    exactness: ClassVar[Exactness] = "close"


@register
@dataclass(frozen=True)
class PlantEnd(Pass):
    """Crash, or never return, as native code does."""

    name: ClassVar[str] = "plant-end"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "planted faults"
    isolated: ClassVar[bool] = True
    how: str = "crash"

    def run(self, model: ir.Model) -> PassResult:
        """End the process by a segmentation fault, or sleep for an hour."""
        if self.how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(3600)
        return PassResult()


def culprit_tensor(model: ir.Model, fault: str) -> str:
    """Return the first tensor that ``fault`` makes wrong in ``model``."""
    fits, _ = FAULTS[fault]
    nodes = [node for node in model.graph if fits(node)]
    return nodes[len(nodes) // 2].outputs[0].name or ""


def _is_conv(node: ir.Node) -> bool:
    return node.op_type == "Conv"


def _scale_weight(node: ir.Node) -> None:
    weight = node.inputs[1]
    tensor = ir.convenience.get_const_tensor(weight) if weight else None
    if weight is None or tensor is None or node.graph is None:
        return
    scaled = ir.Tensor(tensor.numpy() * np.float32(SCALE), name=f"{weight.name}_scaled")
    value = ir.Value(name=scaled.name, const_value=scaled, type=weight.type, shape=weight.shape)
    node.graph.register_initializer(value)
    node.replace_input_with(1, value)


def _is_padded_conv(node: ir.Node) -> bool:
    return _is_conv(node) and min(node.attributes.get_ints("pads", [0])) > 0


def _shift_pads(node: ir.Node) -> None:
    """Move one row of padding from the top to the bottom: shapes stay, values do not."""
    pads = list(node.attributes.get_ints("pads", [0] * 4))
    pads[0], pads[2] = pads[0] - 1, pads[2] + 1
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)


def _is_concat(node: ir.Node) -> bool:
    # Two different values: constants of equal content would change places unseen.
    return node.op_type == "Concat" and len({v for v in node.inputs if v and v.producer()}) > 1


def _swap_inputs(node: ir.Node) -> None:
    first, second = node.inputs[0], node.inputs[1]
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)


def _is_grid_sample(node: ir.Node) -> bool:
    return node.op_type == "GridSample"


def _transpose_grid(node: ir.Node) -> None:
    """Swap x and y."""
    order = ir.tensor(np.array([1, 0], np.int64), name="swapped_axes")
    value = ir.Value(name=order.name, const_value=order)
    if node.graph is None:
        return
    node.graph.register_initializer(value)
    swap = ir.node("Gather", [node.inputs[1], value], {"axis": -1})
    swap.outputs[0].name = "swapped_grid"
    node.graph.insert_before(node, swap)
    node.replace_input_with(1, swap.outputs[0])


def _flip_align_corners(node: ir.Node) -> None:
    flipped = 1 - node.attributes.get_int("align_corners", 0)
    node.attributes["align_corners"] = ir.AttrInt64("align_corners", flipped)


def _is_add_of_two(node: ir.Node) -> bool:
    return node.op_type == "Add" and all(v is not None and v.producer() for v in node.inputs)


def _narrow(node: ir.Node) -> None:
    """Scale, cast to float16, which ends at 65504, and cast and scale back."""
    _wrap_input(
        node,
        [
            ("Mul", np.float32(2.0**16), None),
            ("Cast", None, ir.DataType.FLOAT16),
            ("Cast", None, ir.DataType.FLOAT),
            ("Mul", np.float32(2.0**-16), None),
        ],
    )


def _is_relu(node: ir.Node) -> bool:
    return node.op_type == "Relu"


def _make_nan(node: ir.Node) -> None:
    """Take the square root of what may be negative."""
    _wrap_input(node, [("Sqrt", None, None)])


def _wrap_input(
    node: ir.Node, steps: list[tuple[str, np.float32 | None, ir.DataType | None]]
) -> None:
    """Put a chain of nodes before the first input of ``node``."""
    graph, value = node.graph, node.inputs[0]
    if graph is None:
        return
    for index, (kind, constant, dtype) in enumerate(steps):
        inputs = [value]
        if constant is not None:
            tensor = ir.tensor(np.asarray(constant), name=f"planted_constant_{index}")
            inputs.append(ir.Value(name=tensor.name, const_value=tensor))
            graph.register_initializer(inputs[1])  # type: ignore[arg-type]
        step = ir.node(kind, inputs, {"to": dtype} if dtype is not None else None)
        step.outputs[0].name = f"planted_{index}"
        graph.insert_before(node, step)
        value = step.outputs[0]
    node.replace_input_with(0, value)


FAULTS: dict[str, tuple[Callable[[ir.Node], bool], Callable[[ir.Node], None]]] = {
    "scale-weight": (_is_conv, _scale_weight),
    "shift-pads": (_is_padded_conv, _shift_pads),
    "swap-concat": (_is_concat, _swap_inputs),
    "transpose-grid": (_is_grid_sample, _transpose_grid),
    "flip-align-corners": (_is_grid_sample, _flip_align_corners),
    "narrow-dtype": (_is_add_of_two, _narrow),
    "make-nan": (_is_relu, _make_nan),
}
