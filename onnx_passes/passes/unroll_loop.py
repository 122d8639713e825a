"""unroll-loop: write the body of a Loop as often as it runs.

Before::

    (3, true, a) -> Loop { (i, c, v) -> Add(v, w) -> u, scan u } -> y, s

After::

    a -> Add(., w) -> u0 -> Add(., w) -> u1 -> Add(., w) -> y;  u0, u1, y -> Unsqueeze, Concat -> s

Why:
    ATC reads no Loop.

Fires when:
    the trip count is constant and positive, the condition is left out or constantly true, in the
    call and in the body, and the copies have at most ``max_nodes`` nodes. Inner Loops come first.
    Weights of the body are stored once.

Leaves alone:
    - a trip count that is left out, computed or not positive.
    - a condition that is computed or false.
    - copies of more than ``max_nodes`` nodes, those in sub-graphs included.
    - a body with random operators: their state goes on from step to step, that of copies does not.
    - a body with operators of other domains, which may have a state too.
    - a value that is no tensor (a sequence, say) as a scan output.
    - bodies of functions: a function has no initializers.

Numerics:
    Exact: the same operators on the same values, in the same order.

References:
    - https://onnx.ai/onnx/operators/onnx__Loop.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError, label
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import drop_unread_constant, input_of, operators
from onnx_passes.core.values import (
    RANDOM_OPERATORS,
    all_nodes,
    constant,
    main_graphs,
    new_initializer,
    remove,
    replace,
    why_not_replace,
)

_AXES_ARE_INPUT = 13
_DOMAINS = ("", "ai.onnx.ml")
_HEAD = 2  # trip count and condition, step and condition


@register
@dataclass(frozen=True)
class UnrollLoop(Pass):
    """Write the body of a Loop as often as it runs.

    Attributes:
        max_nodes: The most nodes that all copies of one body may have.
    """

    name: ClassVar[str] = "unroll-loop"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"Loop"})

    max_nodes: int = 1000

    def __post_init__(self) -> None:
        """Refuse a limit that allows nothing."""
        if self.max_nodes < 1:
            msg = f"option max_nodes is {self.max_nodes}, expected 1 or more"
            raise UsageError(msg)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, names, usable = PassResult(), Names(model), set(main_graphs(model))
        for node, opset in reversed(list(operators(model, "Loop"))):
            refusal = "it is in the body of a function" if node.graph not in usable else None
            if refusal := refusal or self._why_not(node):
                result.skipped.append(Note(label(node), refusal))
                continue
            note, trips = label(node), _number(node.inputs[0])
            _unroll(node, names, opset)
            result.rewritten.append(Note(note, f"{trips} copies of its body"))
        return result

    def _why_not(self, node: ir.Node) -> str | None:
        """Return the reason to leave ``node`` alone, or None to unroll it."""
        trips, body = _number(input_of(node, 0)), node.attributes["body"].as_graph()
        if trips is None:
            return "its trip count is left out or computed"
        if trips < 1:
            return f"its trip count is {trips}"
        condition = input_of(node, 1)
        if condition is not None and _number(condition) != 1:
            return "its condition is computed or false"
        if not _stays_true(body):
            return "the condition that its body makes is computed or false"
        nodes = list(all_nodes(body))
        if (count := trips * len(nodes)) > self.max_nodes:
            return f"{trips} copies have {count} nodes, more than {self.max_nodes}"
        return _why_not_body(nodes) or _why_not_scans(node, body)


def _number(value: ir.Value | None) -> int | None:
    """Return a constant number or truth value, or None."""
    tensor = constant(value)
    return None if tensor is None or tensor.size != 1 else int(tensor.numpy().reshape(()))


def _stays_true(body: ir.Graph) -> bool:
    """Return whether the body hands its condition on, or makes a constant true."""
    value: ir.Value | None = body.outputs[0]
    while value is not None and value is not body.inputs[1]:
        if constant(value) is not None:
            return _number(value) == 1
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type == "Identity" else None
    return value is not None


def _why_not_body(nodes: list[ir.Node]) -> str | None:
    for node in nodes:
        if node.domain not in _DOMAINS:
            return f"its body has {label(node)} of domain {node.domain!r}"
        if node.op_type in RANDOM_OPERATORS:
            return f"its body has {label(node)}, a random operator"
    return None


def _why_not_scans(node: ir.Node, body: ir.Graph) -> str | None:
    for value in body.outputs[len(node.inputs) - _HEAD + 1 :]:
        if value.type is not None and not isinstance(value.type, ir.TensorType):
            return f"it collects {value.name!r}, which is no tensor"
    return None


def _unroll(node: ir.Node, names: Names, opset: int) -> None:
    """Put the copies in the place of ``node``, and what they make in that of its outputs."""
    graph, body = node.graph, node.attributes["body"].as_graph()
    if graph is None or not isinstance(graph, ir.Graph):
        return
    _hoist(body, graph, names)
    carried: list[ir.Value | None] = list(node.inputs[_HEAD:])
    scanned: list[list[ir.Value]] = [[] for _ in node.outputs[len(carried) :]]
    for step in range(_number(node.inputs[0]) or 0):
        made = _copy(body, node, step, carried, names)
        carried = list(made[: len(carried)])
        for rows, row in zip(scanned, made[len(carried) :], strict=True):
            rows.append(row)
    stacks = [_stack(rows, node, names, opset) for rows in scanned]
    for old, new in zip(node.outputs, [*carried, *stacks], strict=True):
        if new is not None:
            _replace(old, new, node)
    before = node.inputs
    remove(node)
    for value in before:
        drop_unread_constant(value)


def _hoist(body: ir.Graph, graph: ir.Graph, names: Names) -> None:
    """Move the weights of the body to the graph around it: the copies share them."""
    for name, value in list(body.initializers.items()):
        tensor = value.const_value
        if tensor is not None:
            new = new_initializer(graph, names.fresh(name), tensor)
            value.replace_all_uses_with(new, replace_graph_outputs=True)
            del body.initializers[name]


def _copy(
    body: ir.Graph, node: ir.Node, step: int, carried: list[ir.Value | None], names: Names
) -> list[ir.Value]:
    """Write one copy of ``body`` before ``node``; return its results but for the condition."""
    copy = body.clone(allow_outer_scope_values=True)
    condition, *results = copy.outputs
    copy.outputs.clear()
    _drop_condition(condition, results, copy)
    heads = [np.array(step, np.int64), np.array(1, np.bool_)]
    given: dict[ir.Value, ir.Value] = {}
    for index, value in enumerate(copy.inputs):
        argument = carried[index - _HEAD] if index >= _HEAD else None
        if index < _HEAD and (value.uses() or value in results) and node.graph is not None:
            name = names.fresh(f"{value.name}.{step}")
            argument = new_initializer(node.graph, name, ir.Tensor(heads[index], name=name))
        if argument is not None:
            given[value] = argument
    for value, argument in given.items():
        value.replace_all_uses_with(argument)
    for inner in list(copy):
        inner.name = names.fresh(f"{inner.name}.{step}") if inner.name else inner.name
        for output in inner.outputs:
            output.name = names.fresh(f"{output.name}.{step}") if output.name else output.name
        copy.remove(inner)
        node.prepend(inner)
    return [given.get(value, value) for value in results]


def _drop_condition(condition: ir.Value, results: list[ir.Value], copy: ir.Graph) -> None:
    """Remove the nodes of ``copy`` that only hand the condition on."""
    node = condition.producer()
    while node is not None and node.graph is copy:
        if any(value.uses() or value in results for value in node.outputs):
            return
        before = next(iter(node.inputs), None)
        remove(node)
        node = None if before is None or node.op_type != "Identity" else before.producer()


def _stack(rows: list[ir.Value], node: ir.Node, names: Names, opset: int) -> ir.Value:
    """Join the values that the steps made along a new first axis."""
    parts = []
    for row in rows:
        inputs: list[ir.Value | None] = [row]
        attributes: dict[str, list[int]] = {}
        if opset >= _AXES_ARE_INPUT and node.graph is not None:
            name = names.fresh(f"{row.name}.axis")
            tensor = ir.Tensor(np.array([0], np.int64), name=name)
            inputs.append(new_initializer(node.graph, name, tensor))
        else:
            attributes["axes"] = [0]
        output = ir.Value(name=names.fresh(f"{row.name}.row"), type=row.type)
        node.prepend(ir.node("Unsqueeze", inputs, attributes, outputs=[output]))
        parts.append(output)
    joined = ir.Value(name=names.fresh(f"{rows[0].name}.rows"), type=rows[0].type)
    node.prepend(ir.node("Concat", parts, {"axis": 0}, outputs=[joined]))
    return joined


def _replace(old: ir.Value, new: ir.Value, node: ir.Node) -> None:
    """Let the readers of an output of the Loop read ``new``; a name of the interface stays."""
    if why_not_replace(old, new) is None:
        replace(old, new)
        return
    output = ir.Value(name=old.name, type=old.type, shape=old.shape)
    old.name = None
    node.prepend(ir.node("Identity", [new], outputs=[output]))
    old.replace_all_uses_with(output, replace_graph_outputs=True)
