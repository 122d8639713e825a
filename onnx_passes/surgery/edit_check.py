"""What an edit did to the numbers, and whether that is what was meant."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onnx_passes.core.model_io import clone
from onnx_passes.core.values import fresh_name, value_names
from onnx_passes.numerics.check import Claim, ModelCheck, check_model
from onnx_passes.numerics.oracle import Oracle

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from onnx_passes.numerics.feeds import Shapes

Expectation: TypeAlias = Literal["equal", "close", "changed"]


@dataclasses.dataclass(frozen=True)
class EditCheck:
    """The edited model against the original.

    Attributes:
        check: The numbers of each output, under the original's names.
        unmet: Why the expectation is not met, or an empty string.
        feeds: How to repeat the feeds.
    """

    check: ModelCheck
    unmet: str
    feeds: str


def check_edited(
    original: ir.Model,
    edited: ir.Model,
    expect: Expectation,
    feeds: Mapping[str, Any] | None = None,
    shapes: Shapes | None = None,
) -> EditCheck:
    """Run both models on the same feeds and hold the difference against what was expected.

    Args:
        original: The model before the edits.
        edited: After; its inputs and outputs may have other names, not another order.
        expect: ``equal``: every bit agrees; ``close``: rounding apart; ``changed``: the edited
            model runs, and at least one output is not what it was.
        feeds: Arrays by the original's input names; None generates several sets.
        shapes: Sizes by the original's input names for generated feeds.

    Raises:
        UsageError: If the original does not run on these feeds.
    """
    oracle = Oracle(original, feeds, shapes)
    exactness: Literal["close", "exact"] = "close" if expect == "close" else "exact"
    claim = Claim(exactness, exactness)
    check = check_model(_named_as(original, edited), oracle, None, claim)
    feeds_text = oracle.describe() if check.outputs else ""
    return EditCheck(check, _unmet(check, expect), feeds_text)


def _unmet(check: ModelCheck, expect: Expectation) -> str:
    """Return why the expectation is not met, or an empty string."""
    if expect == "changed" and check.outputs:
        same = all(output.original.same_bits for output in check.outputs)
        return "no output changed" if same else ""
    for output in check.outputs:
        if output.verdict == "failed":
            found, allowed = output.original.sentence(), output.tolerance.formula
            return f"output {output.output!r}: {found}; allowed: {allowed}"
    return "" if check.verdict == "passed" else check.reason


def _named_as(original: ir.Model, edited: ir.Model) -> ir.Model:
    """Return a copy of ``edited`` whose inputs and outputs have the original's names."""
    copy = clone(edited)
    pairs = [
        *zip(copy.graph.inputs, original.graph.inputs, strict=True),
        *zip(copy.graph.outputs, original.graph.outputs, strict=True),
    ]
    moved = {value: old.name or "" for value, old in pairs if value.name != old.name}
    names = value_names(copy) | set(moved.values())
    made = (value for node in copy.graph for value in node.outputs)
    for value in (*copy.graph.inputs, *copy.graph.initializers.values(), *made):
        if value.name in moved.values():
            value.name = fresh_name(value.name or "", names)
    for value, name in moved.items():
        value.name = name
    return copy
