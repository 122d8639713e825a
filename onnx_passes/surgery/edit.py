"""Edit a graph by hand: remove, insert, reconnect and rename, one edit after the other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from onnx_passes.core.contract import UsageError, label
from onnx_passes.core.model_io import clone
from onnx_passes.core.values import (
    constant,
    drop_unread_initializer,
    remove,
    replace,
    value_names,
    why_not_replace,
)
from onnx_passes.surgery.agreement import refuse_defect
from onnx_passes.surgery.insert import insert_after
from onnx_passes.surgery.look_up import node_of, reached, refuse, tensor_of, tensors
from onnx_passes.surgery.retype import retype

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class Remove:
    """Take a node out; what read it reads its one input that is not constant.

    Attributes:
        node: Its name, or one of its outputs.
    """

    node: str

    def __str__(self) -> str:
        """Return the edit as on the command line."""
        return f"--remove {self.node}"


@dataclasses.dataclass(frozen=True)
class InsertAfter:
    """Put a node behind a tensor: what read the tensor reads the node.

    Attributes:
        tensor: A tensor of the main graph.
        operator: The node as text, see :mod:`onnx_passes.surgery.operator_text`.
    """

    tensor: str
    operator: str

    def __str__(self) -> str:
        """Return the edit as on the command line."""
        return f"--insert-after {self.tensor} {self.operator}"


@dataclasses.dataclass(frozen=True)
class Reconnect:
    """Let an input of a node read another tensor.

    Attributes:
        node: Its name, or one of its outputs.
        index: Of the input, from 0.
        tensor: A tensor of the main graph.
    """

    node: str
    index: int
    tensor: str

    def __str__(self) -> str:
        """Return the edit as on the command line."""
        return f"--reconnect {self.node}:{self.index}={self.tensor}"


@dataclasses.dataclass(frozen=True)
class Rename:
    """Give a tensor, or else a node, another name; inputs and outputs of the graph included.

    Attributes:
        old: What it is called.
        new: What it is to be called.
    """

    old: str
    new: str

    def __str__(self) -> str:
        """Return the edit as on the command line."""
        return f"--rename {self.old}={self.new}"


Edit: TypeAlias = "Remove | InsertAfter | Reconnect | Rename"


def edit(model: ir.Model, edits: Sequence[Edit]) -> tuple[ir.Model, list[str]]:
    """Return an edited copy of ``model``, and a sentence on each edit.

    Types and shapes of what an edit changes are inferred again.

    Args:
        model: Never changed.
        edits: Made in this order; each sees what the ones before it left.

    Raises:
        UsageError: For an edit that cannot be made, with the reason.
        CheckError: If the result is no valid model although ``model`` is.
    """
    edited = clone(model)
    done = []
    for one in edits:
        try:
            done.append(_apply(edited, one))
        except UsageError as error:
            msg = f"{one}: {error}"
            raise UsageError(msg) from error
    refuse_defect(edited, model)
    return edited, done


def _apply(model: ir.Model, one: Edit) -> str:
    if isinstance(one, Remove):
        return _remove(model, one)
    if isinstance(one, InsertAfter):
        return f"inserted {label(insert_after(model, one.tensor, one.operator))}"
    if isinstance(one, Reconnect):
        return _reconnect(model, one)
    return _rename(model, one)


def _remove(model: ir.Model, one: Remove) -> str:
    node = node_of(model, one.node)
    text, inputs = label(node), list(node.inputs)
    read = [value for value in node.outputs if value.uses() or value.is_graph_output()]
    said = f"removed {text}, which nothing read"
    if read:
        source = _stand_in(node, read)
        said = f"removed {text}; {source.name!r} stands in for it"
        replace(read[0], source)
    remove(node)
    for value in inputs:
        drop_unread_initializer(value)
    if read:
        retype(model, {source.name or ""})
    return said


def _stand_in(node: ir.Node, read: Sequence[ir.Value]) -> ir.Value:
    """Return the input that can stand in for the node's only output that is read."""
    if len(read) > 1:
        names = ", ".join(repr(value.name) for value in read)
        refuse(f"{label(node)} has several outputs that are read ({names}); --reconnect them first")
    sources = [v for v in dict.fromkeys(node.inputs) if v is not None and constant(v) is None]
    if len(sources) != 1:
        names = ", ".join(repr(value.name) for value in sources) or "none"
        msg = (
            f"{label(node)} has {len(sources)} inputs that are not constant ({names}), so nothing "
            "says what stands in for it; --reconnect what reads it first"
        )
        refuse(msg)
    if refusal := why_not_replace(read[0], sources[0]):
        refuse(f"{label(node)} cannot go: {refusal}")
    return sources[0]


def _reconnect(model: ir.Model, one: Reconnect) -> str:
    node, tensor = node_of(model, one.node), tensor_of(tensors(model), one.tensor)
    if one.index >= len(node.inputs):
        refuse(f"{label(node)} has {len(node.inputs)} inputs, counted from 0")
    made = {value.name for value in node.outputs}
    if not made.isdisjoint(reached(model, (), [one.tensor])):
        refuse(f"{one.tensor!r} is computed from {label(node)}, so the graph would loop")
    old = node.inputs[one.index]
    node.replace_input_with(one.index, tensor)
    drop_unread_initializer(old)
    model.graph.sort()
    retype(model, {value.name or "" for value in node.outputs})
    was = old.name if old is not None else None
    return f"input {one.index} of {label(node)} reads {tensor.name!r} instead of {was!r}"


def _rename(model: ir.Model, one: Rename) -> str:
    values = tensors(model)
    if not one.new:
        refuse("the new name is empty")
    if one.old in values:
        if one.new in value_names(model):
            refuse(f"a tensor {one.new!r} exists already")
        values[one.old].name = one.new
        return f"tensor {one.old!r} is {one.new!r}"
    node = node_of(model, one.old)
    if any(other.name == one.new for other in model.graph.all_nodes()):
        refuse(f"a node {one.new!r} exists already")
    node.name = one.new
    return f"node {one.old!r} is {one.new!r}"
