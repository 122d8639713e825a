"""A question about one operator, and its answer: what goes into and comes out of ``op_support``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = tuple["int | None", ...]
Certainty = Literal["documented", "source", "log", "calculated", "unverified"]
Answer = Literal["AI Core", "AI CPU", "parsed", "refused", "unknown"]
# What decided: a stable key, which ``lint`` turns into a code and a pass.
Why = Literal[
    "domain",
    "sub-graph",
    "not listed",
    "opset",
    "opset range",
    "attribute",
    "dtype",
    "size",
    "shape unknown",
    "type unknown",
    "no kernel",
    "no data",
    "kernel",
]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What is known of one input or output.

    Attributes:
        dtype: As numpy spells it (``float32``, ``int64``), or None if it is not known.
        shape: None if not even the rank is known; None in it for a size that is not.
        value: The elements in order if it is constant and small, or None.
    """

    dtype: str | None = None
    shape: Shape | None = None
    value: tuple[float | int | bool, ...] | None = None

    @property
    def elements(self) -> int | None:
        """Return the number of elements, or None if it is not known."""
        if self.shape is None:
            return None
        count = 1
        for size in self.shape:
            if size is None:
                return None
            count *= size
        return count


@dataclasses.dataclass(frozen=True)
class Operator:
    """A node, as ATC's lookup sees it.

    Attributes:
        op_type: The ONNX name.
        opset: Of the model for ``domain``: it counts for every node, whatever the operator's age.
        domain: Empty for the default domain.
        inputs: In order; None for one that is left out.
        outputs: In order.
        attributes: Those that are one number or one text.
        has_subgraphs: Whether an attribute is a graph.
        keep_float32: Whether float32 stays float32 on the device (see ``op_support``).
    """

    op_type: str
    opset: int
    domain: str = ""
    inputs: tuple[Tensor | None, ...] = ()
    outputs: tuple[Tensor | None, ...] = ()
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_subgraphs: bool = False
    keep_float32: bool = False

    def integer(self, name: str, default: int) -> int:
        """Return an attribute; the default if it is not there or no integer."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def tensor(self, index: int) -> Tensor:
        """Return an input; one that is left out is a tensor of which nothing is known."""
        found = self.inputs[index] if index < len(self.inputs) else None
        return found or Tensor()


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What ATC does with an operator.

    Attributes:
        answer: ``AI Core`` and ``AI CPU``: it runs there. ``parsed``: the parser takes it, the
            engine is not known. ``refused``: ATC stops. ``unknown``: nothing is known.
        why: What decided, as a stable key.
        reason: The same as a sentence without a full stop.
        source: Where that is written down.
        cann: The version of CANN that the source speaks of.
        certainty: ``unverified`` where the data of another version had to do.
    """

    answer: Answer
    why: Why
    reason: str
    source: str
    cann: str
    certainty: Certainty
