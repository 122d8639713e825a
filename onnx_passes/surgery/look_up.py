"""Find tensors and nodes of the main graph by the names a person gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from onnx_passes.core.contract import UsageError, label
from onnx_passes.core.registry import did_you_mean
from onnx_passes.numerics.stream import reads

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import onnx_ir as ir


def refuse(reason: str) -> NoReturn:
    """Raise a UsageError."""
    raise UsageError(reason)


def tensors(model: ir.Model) -> dict[str, ir.Value]:
    """Return the values of the main graph by name: inputs, constants, and what nodes make."""
    graph = model.graph
    made = (value for node in graph for value in node.outputs)
    values = (*graph.inputs, *graph.initializers.values(), *made)
    return {value.name: value for value in values if value.name}


def tensor_of(values: Mapping[str, ir.Value], name: str) -> ir.Value:
    """Return one of :func:`tensors`.

    Raises:
        UsageError: If there is none of this name; with the nearest.
    """
    if name not in values:
        refuse(f"the main graph has no tensor {name!r}{did_you_mean(name, values)}")
    return values[name]


def node_of(model: ir.Model, text: str) -> ir.Node:
    """Return the node of the main graph with this name, or that makes this tensor.

    Raises:
        UsageError: If there is none, with the nearest name, or more than one.
    """
    nodes = list(model.graph)
    found = [node for node in nodes if text in {node.name, *(v.name for v in node.outputs)}]
    if not found:
        known = [node.name or "" for node in nodes]
        known += [value.name or "" for node in nodes for value in node.outputs]
        refuse(f"the main graph has no node {text!r}{did_you_mean(text, known)}")
    if len(found) > 1:
        labels = " and ".join(map(label, found[:2]))
        refuse(f"{text!r} means {len(found)} nodes ({labels}); name an output that is of one only")
    return found[0]


def reached(model: ir.Model, inputs: Collection[str], outputs: Sequence[str]) -> set[str]:
    """Return the tensors that ``outputs`` need, looking no further than ``inputs``."""
    makers = {value.name: node for node in model.graph for value in node.outputs if value.name}
    found: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in makers and name not in inputs:
            waiting.extend(reads(makers[name]))
    return found
