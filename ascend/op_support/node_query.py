"""From a node of a model to the question that ``op_support`` answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from ascend.atc.keep import PRECISION_KEY
from ascend.op_support.query import Operator, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ascend.op_support.query import Shape

# Constants the rules look into are axes, steps and pads; a longer one is data.
_MAX_VALUES = 64
_GRAPHS = {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}
_PLAIN = {ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING}
_NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}


class NodeQueries:
    """Turns nodes of one model into questions; each value is looked at once.

    Args:
        opsets: The opset imports of the model.
        keep_float32: Whether all nodes keep float32, and not only those that are marked.
    """

    def __init__(self, opsets: Mapping[str, int], *, keep_float32: bool = False) -> None:
        """Begin with no value seen."""
        self._opsets = opsets
        self._keep_float32 = keep_float32
        self._seen: dict[ir.Value, Tensor] = {}

    def operator(self, node: ir.Node) -> Operator:
        """Return what is known of a node; its values carry what shape inference found."""
        attributes = node.attributes.values()
        marked = node.metadata_props.get(PRECISION_KEY) == "float32"
        return Operator(
            op_type=node.op_type,
            opset=self._opsets.get(node.domain, 0),
            domain=node.domain,
            inputs=tuple(map(self._tensor, node.inputs)),
            outputs=tuple(map(self._tensor, node.outputs)),
            attributes={
                each.name: each.value
                for each in attributes
                if each.type in _PLAIN and not each.is_ref()
            },
            has_subgraphs=any(each.type in _GRAPHS for each in attributes),
            keep_float32=self._keep_float32 or marked,
        )

    def _tensor(self, value: ir.Value | None) -> Tensor | None:
        if value is None:
            return None
        if value not in self._seen:
            self._seen[value] = _tensor(value)
        return self._seen[value]


def label(node: ir.Node) -> str:
    """Return how messages name a node: operator and first output, ``GridSample -> 'y'``."""
    output = next((value.name for value in node.outputs if value.name), "")
    return f"{node.op_type} -> {output!r}"


def dtype_name(dtype: ir.DataType | None) -> str | None:
    """Return a dtype as numpy spells it: float32, not FLOAT."""
    return None if dtype is None else _NAMES.get(dtype.name, dtype.name.lower())


def shape_of(value: ir.Value) -> Shape | None:
    """Return the sizes of a value; None for one that is dynamic, None for no known rank."""
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


def _tensor(value: ir.Value) -> Tensor:
    dtype, shape = dtype_name(value.dtype), shape_of(value)
    constant = _constant(value)
    if constant is None:
        return Tensor(dtype, shape)
    # An initializer of an old file may have no type of its own.
    sizes = tuple(size for size in constant.shape if isinstance(size, int))
    return Tensor(dtype or dtype_name(constant.dtype), shape or sizes, _elements(constant))


def _constant(value: ir.Value) -> ir.TensorProtocol | None:
    if value.is_graph_input():
        return None  # an initializer that is an input too is a default
    try:
        return ir.convenience.get_const_tensor(value)
    except ValueError:  # a Constant without or with two values
        return None


def _elements(constant: ir.TensorProtocol) -> tuple[float, ...] | None:
    """Return the numbers of a small tensor, or None where it is large, broken, or no numbers."""
    if constant.size > _MAX_VALUES or isinstance(constant, (ir.ExternalTensor, ir.StringTensor)):
        return None
    try:
        return tuple(constant.numpy().reshape(-1).tolist())
    except Exception:  # the data of a file may be anything
        return None
