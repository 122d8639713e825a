"""Compute nodes that depend on constants only, in a model of their own.

The copies share the data of the originals, take names of their own (sibling branches may use
one name twice), and run in the same onnxruntime as the model would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.contract import ModelError
from onnx_passes.core.values import constant, new_initializer
from onnx_passes.numerics.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_passes.numerics.compare import Array

# From a value of the model to its copy.
Twins = dict[ir.Value, ir.Value]


def copies(nodes: Sequence[ir.Node], model: ir.Model) -> tuple[ir.Model, Twins]:
    """Return a model of copies of ``nodes``, producers first, and which value copies which."""
    opsets = {"": model.opset_imports[""]} if nodes else {}
    graph = ir.Graph([], [], nodes=[], opset_imports=opsets, name="constants")
    twins: Twins = {}
    for node in nodes:
        for value in node.inputs:
            tensor = constant(value)
            if value is not None and value not in twins and tensor is not None:
                # The tensor object stays with the model: serialising a copy would rename it.
                name = f"c{len(twins)}"
                data = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)
                twins[value] = new_initializer(graph, name, data)
        for value in node.outputs:
            twins[value] = ir.Value(name=value.name and f"v{len(twins)}")
        inputs = [None if value is None else twins[value] for value in node.inputs]
        outputs = [twins[value] for value in node.outputs]
        attributes = list(node.attributes.values())
        graph.append(ir.Node("", node.op_type, inputs, attributes, outputs=outputs))
    return ir.Model(graph, ir_version=model.ir_version), twins


def compute(nodes: Sequence[ir.Node], model: ir.Model) -> dict[ir.Value, Array]:
    """Return the results of ``nodes`` that other nodes of ``model`` read; one session.

    Raises:
        ModelError: If onnxruntime cannot compute one of them.
    """
    sandbox, twins = copies(nodes, model)
    group = set(nodes)
    read = [
        value
        for node in nodes
        for value in node.outputs
        if any(user not in group for user, _ in value.uses())
    ]
    sandbox.graph.outputs.extend(twins[value] for value in read)
    arrays = Runner(sandbox).run({})
    return {value: arrays[twins[value].name or ""] for value in read}


def first_failing(nodes: list[ir.Node], model: ir.Model) -> ir.Node:
    """Return the node without which those before it can be computed, by bisection."""
    good, bad = 0, len(nodes)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            compute(nodes[:middle], model)
            good = middle
        except ModelError:
            bad = middle
    return nodes[good]
