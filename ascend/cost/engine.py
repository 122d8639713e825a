"""Where a node is thought to run, asked of :mod:`ascend.op_support.table`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from ascend.op_support.node_query import NodeQueries
from ascend.op_support.table import OpSupport

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

Engine = Literal["AI Core", "AI CPU"]


@dataclasses.dataclass(frozen=True)
class Place:
    """An engine and why it is thought to be that one.

    Attributes:
        engine: AI Core where nobody knows.
        reason: Why; or why ATC refuses the operator.
        known: False if the data of the CANN version do not say.
        refused: Whether ATC refuses the operator.
    """

    engine: Engine
    reason: str
    known: bool = True
    refused: bool = False


def places(model: ir.Model, *, soc: str, cann: str) -> Callable[[ir.Node], Place]:
    """Return what tells the place of a node of ``model``."""
    support, queries = OpSupport(cann, soc), NodeQueries(model.opset_imports)

    def place_of(node: ir.Node) -> Place:
        verdict = support.verdict(queries.operator(node))
        return Place(
            "AI CPU" if verdict.answer == "AI CPU" else "AI Core",
            verdict.reason,
            known=verdict.answer not in {"parsed", "unknown"},
            refused=verdict.answer == "refused",
        )

    return place_of
