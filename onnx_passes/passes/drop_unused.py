"""drop-unused: remove nodes, initializers, functions and opset imports that nothing reads.

Before::

    x -> Relu -> y (graph output)
    x -> Neg -> h, initializer w, function f.g: read by nothing

After::

    x -> Relu -> y (graph output)

Fires when:
    no output of a node is read or is a graph output; an initializer is not read; no node calls a
    function; no node is of an opset's domain. In sub-graphs and functions too. A value that only
    a removed If or Loop read from the graph around it goes with it.

Leaves alone:
    - graph inputs and outputs, unread or not: they belong to the caller.
    - an initializer that is a graph input or a graph output: the same.
    - a node without any output: it can only be there for an effect.
    - the default opset import: a model without one is not valid everywhere.

Numerics:
    Exact: no value that is read is computed differently.

References:
    - https://onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_ir.passes import common

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.values import drop_unread_initializer, graphs, is_read, remove, subgraphs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir


@register
@dataclass(frozen=True)
class DropUnused(Pass):
    """Remove nodes, initializers, functions and opset imports that nothing reads."""

    name: ClassVar[str] = "drop-unused"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for root in _roots(model):
            for node in _readers_first(root):
                _drop_node(node, result)
        for graph in graphs(model):
            _drop_initializers(graph, result)
        _drop_functions(model, result)
        _drop_opsets(model, result)
        return result


def _readers_first(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield each node after all that may read it, so that one sweep finds everything.

    A node comes before those of its own sub-graphs: if it goes, they go with it.
    """
    for node in list(reversed(graph)):
        yield node
        if node.graph is not None:
            for inner in subgraphs(node):
                yield from _readers_first(inner)


def _drop_node(node: ir.Node, result: PassResult) -> None:
    if any(is_read(value) or value.is_graph_output() for value in node.outputs):
        return
    if not node.outputs:
        note = Note(label(node), "it has no output: it can only be there for an effect")
        result.skipped.append(note)
        return
    note = Note(label(node), "nothing reads it")
    remove(node)
    result.rewritten.append(note)


def _drop_initializers(graph: ir.Graph, result: PassResult) -> None:
    for name, value in list(graph.initializers.items()):
        drop_unread_initializer(value)
        if name not in graph.initializers:
            result.rewritten.append(Note(f"initializer {name!r}", "nothing reads it"))


def _drop_functions(model: ir.Model, result: PassResult) -> None:
    before = list(model.functions)
    if not before:
        return
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    for identifier in before:
        if identifier not in model.functions:
            name = "::".join(part for part in identifier if part)
            result.rewritten.append(Note(f"function {name!r}", "no node calls it"))


def _drop_opsets(model: ir.Model, result: PassResult) -> None:
    roots = _roots(model)
    before = [(root, domain) for root in roots for domain in root.opset_imports if domain]
    if not before:
        return
    common.RemoveUnusedOpsetsPass()(model)
    for root, domain in before:
        if domain not in root.opset_imports:
            result.rewritten.append(Note(f"opset import {domain!r}", "no node is of that domain"))


def _roots(model: ir.Model) -> list[ir.Graph]:
    return [model.graph, *(function.graph for function in model.functions.values())]
