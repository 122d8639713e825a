"""Where a node is thought to run, asked of :mod:`ascend.op_support`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import onnx_ir as ir

from ascend.cost_tensors import stays_float32
from ascend.op_query import Operator, Tensor
from ascend.op_support import OpSupport

if TYPE_CHECKING:
    from collections.abc import Callable

Engine = Literal["AI Core", "AI CPU"]

# Constants the rules look into are axes, steps and pads; a table is none of them.
_MAX_VALUES = 64


@dataclasses.dataclass(frozen=True)
class Place:
    """An engine, why it is thought to be that one, and whether ATC takes the operator at all."""

    engine: Engine
    reason: str
    refused: bool = False


def places(model: ir.Model, *, soc: str, cann: str) -> Callable[[ir.Node], Place]:
    """Return what tells the place of a node; an engine that nobody knows is assumed AI Core."""
    support = OpSupport(cann, soc)
    opsets = model.opset_imports

    def place_of(node: ir.Node) -> Place:
        verdict = support.verdict(_operator(node, opsets.get(node.domain, opsets.get("", 0))))
        reason = f"{verdict.reason} (CANN {verdict.cann})"
        if verdict.answer in {"parsed", "unknown"}:
            return Place("AI Core", f"not known, assumed: {reason}")
        engine: Engine = "AI CPU" if verdict.answer == "AI CPU" else "AI Core"
        return Place(engine, reason, refused=verdict.answer == "refused")

    return place_of


def _operator(node: ir.Node, opset: int) -> Operator:
    attributes = {
        name: attribute.value
        for name, attribute in node.attributes.items()
        if not attribute.is_ref()
    }
    return Operator(
        op_type=node.op_type,
        opset=opset,
        domain=node.domain,
        inputs=tuple(_tensor(value) for value in node.inputs),
        outputs=tuple(_tensor(value) for value in node.outputs),
        attributes=attributes,
        has_subgraphs=any(
            attribute.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}
            for attribute in node.attributes.values()
        ),
        keep_float32=stays_float32(node),
    )


def _tensor(value: ir.Value | None) -> Tensor | None:
    if value is None:
        return None
    dtype = None if value.dtype is None else str(value.dtype.numpy())
    if value.shape is None:
        return Tensor(dtype)
    shape = tuple(dim if isinstance(dim, int) else None for dim in value.shape)
    return Tensor(dtype, shape, _small(value.const_value))


def _small(constant: ir.TensorProtocol | None) -> Any:  # noqa: ANN401  numbers of any type
    if constant is None or constant.size > _MAX_VALUES or constant.dtype == ir.DataType.STRING:
        return None
    return tuple(constant.numpy().reshape(-1).tolist())
