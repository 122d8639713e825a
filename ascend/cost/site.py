"""A node whose shapes are known, and what it asks of the chip, before kernels are fused."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from ascend.cost.tensors import Layout, Tensor, stays_float32

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from ascend.cost.chip import Chip

Kind = Literal["cube", "element-wise", "free", "other"]


@dataclasses.dataclass(frozen=True)
class Site:
    """A node whose shapes and types are known.

    Attributes:
        node: The node.
        inputs: One for each input; None where an optional one is left out.
        outputs: One for each output that something reads.
        chip: The chip.
        wide: Whether the node is computed in float32.
    """

    node: ir.Node
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    chip: Chip
    wide: bool

    @staticmethod
    def of(node: ir.Node, chip: Chip, is_constant: Callable[[ir.Value], bool]) -> Site | str:
        """Return the site, or the reason why it cannot be made; constants may be unknown."""
        inputs = [None if value is None else Tensor.of(value) for value in node.inputs]
        read = [value for value in node.outputs if value.uses() or value.is_graph_output()]
        outputs = [Tensor.of(value) for value in read]
        values = [*zip(node.inputs, inputs, strict=True), *zip(read, outputs, strict=True)]
        for value, tensor in values:
            if value is not None and tensor is None and not is_constant(value):
                return f"the shape or type of {value.name!r} is not known"
        known = tuple(tensor for tensor in outputs if tensor is not None)
        if not known:
            return "nothing reads it"
        return Site(node, tuple(inputs), known, chip, stays_float32(node))

    def x(self, index: int = 0) -> Tensor:
        """Return an input that must be there.

        Raises:
            LookupError: If it is not.
        """
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            msg = f"input {index} is missing, or its shape is not known"
            raise LookupError(msg)
        return tensor

    @property
    def y(self) -> Tensor:
        """The first output that something reads."""
        return self.outputs[0]

    def vector_cycles(self, elements: int, operations: int, *tensors: Tensor) -> int:
        """Return the cycles of some operations on each element; the widest tensor sets the rate."""
        lanes = min(tensor.lanes(self.chip, wide=self.wide) for tensor in tensors)
        return self.chip.vector_cycles(elements, lanes, operations)


@dataclasses.dataclass(frozen=True)
class Demand:
    """What a node asks for, before kernels are fused.

    Attributes:
        kind: What it can be fused with; ``free`` starts no kernel.
        layout: The layout of its first input and its outputs; None is that of its largest input.
        cube_cycles: On the core with the most work, as all cycles here.
        vector_cycles: Likewise.
        moved_bytes: Replaces the bytes read and written where they are moved in small pieces.
        launches: As in :class:`ascend.cost.prices.Work`, like the next three.
        copies: See there.
        row_copies: See there.
        fetches: See there.
        wide: Whether it is computed in float32; None leaves that to the mark of the node.
    """

    kind: Kind = "other"
    layout: Layout | None = "ND"
    cube_cycles: int = 0
    vector_cycles: int = 0
    moved_bytes: int = 0
    launches: int = 1
    copies: int = 0
    row_copies: int = 0
    fetches: int = 0
    wide: bool | None = None

    @property
    def layout_of_others(self) -> Layout | None:
        """The layout of the inputs behind the first: a grid or an index stays in order."""
        return "ND" if self.layout == "NHWC" else self.layout
