"""fold-constants: compute now what depends on constants only.

Before::

    w (initializer) -> Transpose -> Mul(scale) -> v -> MatMul(x, v) -> y

After::

    v (initializer) -> MatMul(x, v) -> y

Fires when:
    all inputs of an ``ai.onnx`` node are constants, or results of such nodes, in the main graph
    or in a sub-graph. A Constant node becomes an initializer. Constants that nothing reads any
    more go. All of it is computed in one onnxruntime session; another one is needed only where
    the size of a result is unknown until an earlier result is there.

Leaves alone:
    - a result of more than ``max_bytes``, unless constants of that size go with it: Tile or
      Expand would make the file grow.
    - random operators (RandomNormal, Bernoulli, Multinomial, Dropout...).
    - control flow (operators with a sub-graph); the nodes inside are folded.
    - a node that makes a graph output: a name of the interface needs a node behind it.
    - QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear: the target reads them as a pattern.
    - operators of other domains, calls of functions, and bodies of functions: a function has no
      initializers.
    - an initializer that is also a graph input: it is a default and the caller may change it.
    - what reads strings, and results that are no numeric tensor (strings, sequences, optionals)
      or of a dtype that onnxruntime's kernels lack (bfloat16, float8, int4).
    - results of float16 but for moved data: onnxruntime's CPU provider keeps float32 between two
      such operators, even past a Cast, and a stored result would be rounded once more.
    - what onnxruntime refuses to compute: a branch never taken may hold an invalid node.
    - models of IR version 3 and older: every initializer is a graph input there.

Numerics:
    Exact: the kernels are those that would have run, onnxruntime's CPU provider with graph
    optimisation off.

References:
    - https://onnx.ai/onnx/repo-docs/IR.html#graphs
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, ModelError, Note, Pass, PassResult, label
from onnx_passes.core.inference import infer
from onnx_passes.core.registry import register
from onnx_passes.core.values import (
    RANDOM_OPERATORS,
    all_nodes,
    constant,
    drop_unread_initializer,
    is_read,
    new_initializer,
    reads,
    remove,
    subgraphs,
)
from onnx_passes.numerics.constants import compute, copies, first_failing

if TYPE_CHECKING:
    from collections.abc import Container

    from onnx_passes.numerics.compare import Array

_QUANTIZATION = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
_DTYPES = {
    *(ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.BOOL),
    *(ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64),
    *(ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64),
}
_MOVERS = {
    *("Concat", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"),
    *("Identity", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose"),
    *("Unsqueeze", "Where"),
}
_Refusals = dict[ir.Node, str]


@register
@dataclass(frozen=True)
class FoldConstants(Pass):
    """Compute now what depends on constants only."""

    name: ClassVar[str] = "fold-constants"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"
    max_bytes: int = 1 << 20

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        if model.ir_version < 4:  # noqa: PLR2004  the first version with true constants
            text = f"every initializer of IR version {model.ir_version} is a graph input"
            result.skipped.append(Note("model", text))
            return result
        _lift_constants(model, result)
        refusals: _Refusals = {}
        nodes = _constant_nodes(model, refusals)
        while nodes and (allowed := self._plan(nodes, model, refusals)):
            results = _compute(list(allowed), model, refusals)
            _replace(allowed, results, result, refusals)
            done = len(allowed) == len(nodes) and refusals.keys().isdisjoint(nodes)
            nodes = [] if done else _constant_nodes(model, refusals)
        result.skipped += [Note(label(node), reason) for node, reason in refusals.items()]
        return result

    def _plan(
        self, nodes: list[ir.Node], model: ir.Model, refusals: _Refusals
    ) -> dict[ir.Node, int]:
        """Return the nodes to compute now with the bytes each may store; refuse others."""
        expected = _expected(nodes, model)
        known: set[ir.Value] = set()
        allowed: dict[ir.Node, int] = {}
        for node in nodes:
            if not _all_known(node, known):
                continue
            freed = [value for value in node.inputs if value is not None and _is_freed(value)]
            limit = max(self.max_bytes, sum(_nbytes(expected[value]) for value in freed))
            results = [expected[value] for value in node.outputs if value.name]
            if refusal := _why_not_results(node, results, limit):
                refusals[node] = refusal
            # Where all inputs are there and onnx still knows no shape, the operator picks elements
            # of its input (NonZero, Unique); else an earlier result decides: wait for that one.
            elif _all_known(node, ()) or all(_has_static_shape(value) for value in results):
                known.update(node.outputs)
                allowed[node] = limit
        return allowed


def _expected(nodes: list[ir.Node], model: ir.Model) -> dict[ir.Value, ir.Value]:
    """Return, for what ``nodes`` read and make, a value with all that is known of it before."""
    sandbox, twins = copies(nodes, model)
    inferred = infer(sandbox)
    return {value: inferred.get(twin, twin) for value, twin in twins.items()}


def _lift_constants(model: ir.Model, result: PassResult) -> None:
    for node in list(all_nodes(model.graph)):
        if (node.domain, node.op_type) != ("", "Constant") or not _is_read(node):
            continue
        value = node.outputs[0]
        if value.is_graph_output():
            result.skipped.append(Note(label(node), "it makes a graph output"))
        elif (tensor := constant(value)) is not None:
            _store(value, tensor)
            remove(node)
            result.rewritten.append(Note(label(node), "now an initializer"))


def _constant_nodes(model: ir.Model, refusals: _Refusals) -> list[ir.Node]:
    """Return the nodes that depend on constants only, producers first."""
    known: set[ir.Value] = set()
    nodes = []
    for node in all_nodes(model.graph):
        if not _all_known(node, known) or node in refusals or not _is_read(node):
            continue
        if all(value is None for value in node.inputs):
            continue
        if refusal := _why_not(node):
            refusals[node] = refusal
            continue
        known.update(node.outputs)
        nodes.append(node)
    return nodes


def _all_known(node: ir.Node, known: Container[ir.Value]) -> bool:
    """Return whether each input of ``node`` is a constant or among the ``known``."""
    for value in node.inputs:  # a plain loop: most nodes end it at their first input
        if value is not None and value not in known and constant(value) is None:
            return False
    return True


def _is_freed(value: ir.Value) -> bool:
    """Return whether nothing needs ``value`` any more when its only reader is computed."""
    return reads(value) == 1 and not value.is_graph_output()


def _is_read(node: ir.Node) -> bool:
    return any(is_read(value) or value.is_graph_output() for value in node.outputs)


def _why_not(node: ir.Node) -> str | None:
    """Return the reason to leave a node with constant inputs alone, or None."""
    tensors = [tensor for value in node.inputs if (tensor := constant(value)) is not None]
    reasons = {
        f"an operator of domain {node.domain!r}": node.domain != "",
        "a random operator": node.op_type in RANDOM_OPERATORS,
        "part of a quantization pattern": node.op_type in _QUANTIZATION,
        "control flow": next(subgraphs(node), None) is not None,
        "it makes a graph output": any(value.is_graph_output() for value in node.outputs),
        "it reads strings": any(tensor.dtype == ir.DataType.STRING for tensor in tensors),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _why_not_results(node: ir.Node, results: list[ir.Value], limit: int) -> str | None:
    """Return the reason not to compute ``results``, from what is known before, or None."""
    for value in results:
        if not isinstance(value.type, ir.TensorType) or value.type.dtype not in _DTYPES:
            return f"a result of type {value.type} is not computed"
        if value.type.dtype == ir.DataType.FLOAT16 and node.op_type not in _MOVERS:
            return "a float16 result that is more than moved data"
    return _why_not_size(sum(map(_nbytes, results)), limit)


def _why_not_size(size: int, limit: int) -> str | None:
    return f"its result has {size} bytes, more than {limit}" if size > limit else None


def _has_static_shape(value: ir.Value) -> bool:
    """Return whether the size of ``value`` is known before it is computed."""
    return value.shape is not None and value.shape.is_static()


def _nbytes(value: ir.Value) -> int:
    """Return the size of a value in bytes, 0 where it is unknown."""
    if value.dtype is None or value.shape is None or not _has_static_shape(value):
        return 0
    return math.ceil(math.prod(value.shape.numpy()) * value.dtype.itemsize)


def _compute(nodes: list[ir.Node], model: ir.Model, refusals: _Refusals) -> dict[ir.Value, Array]:
    """Compute ``nodes`` in one session; if it fails, refuse the node that is the reason.

    What feeds that node stays too: onnxruntime loads no model with a constant 0 as a divisor.
    """
    try:
        return compute(nodes, model)
    except ModelError as error:
        culprit = first_failing(nodes, model)
        refusals[culprit] = str(error)
        for node in _makers(culprit):
            refusals[node] = f"it feeds {label(culprit)}, which cannot be computed"
        return {}


def _replace(
    allowed: dict[ir.Node, int],
    results: dict[ir.Value, Array],
    notes: PassResult,
    refusals: _Refusals,
) -> None:
    """Put each result in the place of its node and of what only led there."""
    freed: dict[ir.Value, None] = {}
    for node, limit in allowed.items():
        found = {value: results[value] for value in node.outputs if value in results}
        if refusal := _why_not_size(sum(array.nbytes for array in found.values()), limit):
            refusals[node] = refusal
            continue
        for value, array in found.items():
            _store(value, ir.Tensor(array, name=value.name))
        if found:
            text = ", ".join(f"{array.dtype} {list(array.shape)}" for array in found.values())
            freed |= _sweep(node, f"computed: {text}", notes)
    for value in freed:
        drop_unread_initializer(value)


def _store(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Let the readers of a node's output read an initializer of the same name."""
    if value.graph is not None and value.name:
        value.replace_all_uses_with(new_initializer(value.graph, value.name, tensor))


def _sweep(node: ir.Node, text: str, notes: PassResult) -> dict[ir.Value, None]:
    """Remove ``node``, unless an output of it is still read, and the nodes that only led there.

    Returns:
        What the removed nodes read.
    """
    freed: dict[ir.Value, None] = {}
    pending = [(node, text)]
    while pending:
        node, text = pending.pop()
        if not _is_read(node):
            makers = _makers(node)
            freed |= dict.fromkeys(value for value in node.inputs if value is not None)
            remove(node)
            step = f"computed on the way to {label(node)}"
            pending += [(maker, step) for maker in makers if not _is_read(maker)]
        notes.rewritten.append(Note(label(node), text))
    return freed


def _makers(node: ir.Node) -> list[ir.Node]:
    """Return the nodes whose results ``node`` reads."""
    makers = [value.producer() for value in node.inputs if value is not None]
    return list(dict.fromkeys(maker for maker in makers if maker is not None))
