"""merge-duplicates: compute equal nodes once and store equal initializers once.

Before::

    x -> Transpose -> a -> Relu -> y
    x -> Transpose -> b -> Exp -> z,  and v, w: two initializers with the same bits

After::

    x -> Transpose -> a -> Relu -> y
                      a -> Exp -> z,  and v alone

Fires when:
    two nodes of one graph have the same operator, inputs and attributes, or two initializers of
    one graph the same dtype, shape and bits (0.0 and -0.0 differ, two NaN are the same if their
    bits are). The first one stays; what it makes takes over the name of a graph output, and it
    takes over the node metadata that only the second has.

Leaves alone:
    - random operators (RandomNormal, Bernoulli, Multinomial, Dropout...).
    - control flow (operators with a sub-graph).
    - operators of domains other than ai.onnx and ai.onnx.ml, functions too: they may have state.
    - two nodes that both make graph outputs: each name needs a node.
    - initializers that are graph inputs or graph outputs: the names belong to the caller.
    - duplicates in two different graphs.

Numerics:
    Exact: the same operator on the same bits gives the same bits.

References:
    - https://onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.values import (
    RANDOM_OPERATORS,
    graphs,
    remove,
    replace,
    subgraphs,
    why_not_replace,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

_DOMAINS = ("", "ai.onnx.ml")
_FIRST = 64  # elements
# Their text tells them apart; floats are left out, since NaN has one text and many bit patterns.
_PLAIN = frozenset(
    {
        *(ir.AttributeType.INT, ir.AttributeType.INTS),
        *(ir.AttributeType.STRING, ir.AttributeType.STRINGS),
    }
)


@register
@dataclass(frozen=True)
class MergeDuplicates(Pass):
    """Compute equal nodes once and store equal initializers once."""

    name: ClassVar[str] = "merge-duplicates"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for graph in graphs(model):
            _merge_initializers(graph, result)
            first: dict[Hashable, ir.Node] = {}
            for node in list(graph):
                if not _is_repeatable(node):
                    continue
                kept = first.setdefault(_key(node), node)
                if kept is node:
                    continue
                if refusal := _why_not(node, kept):
                    result.skipped.append(Note(label(node), refusal))
                    continue
                note = Note(label(node), f"the same as {label(kept)}")
                _merge(node, kept)
                result.rewritten.append(note)
        return result


def _is_repeatable(node: ir.Node) -> bool:
    """Return whether ``node`` gives the same results for the same inputs, each time."""
    if node.domain not in _DOMAINS or node.op_type in RANDOM_OPERATORS:
        return False
    return not node.attributes.data or next(subgraphs(node), None) is None


def _key(node: ir.Node) -> Hashable:
    """Return what two nodes have in common exactly when they compute the same."""
    attributes = node.attributes.data
    texts = sorted([_attribute_key(item) for item in attributes.values()]) if attributes else ()
    made = [bool(value.name) for value in node.outputs]
    return node.domain, node.op_type, node.overload, node.inputs, *made, *texts


def _attribute_key(attribute: ir.Attr) -> str:
    if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
        return f"{attribute.name} {_tensor_key(attribute.as_tensor())}"
    if attribute.type in _PLAIN and not attribute.is_ref():
        return f"{attribute.name} {attribute.type} {attribute.value!r}"
    return str(ir.to_proto(attribute).SerializeToString(deterministic=True).hex())


def _tensor_key(tensor: ir.TensorProtocol) -> str:
    """Return dtype, shape and a digest of the bits, or the strings themselves."""
    if tensor.dtype == ir.DataType.STRING:
        return f"{tensor.shape} {tensor.numpy().tolist()}"
    return f"{tensor.dtype} {tensor.shape} {hashlib.sha256(tensor.tobytes()).hexdigest()}"


def _why_not(node: ir.Node, kept: ir.Node) -> str | None:
    """Return the reason why ``kept`` cannot stand in for ``node``, or None if it can."""
    pairs = zip(node.outputs, kept.outputs, strict=True)
    return next(filter(None, (why_not_replace(old, new) for old, new in pairs)), None)


def _merge(node: ir.Node, kept: ir.Node) -> None:
    for old, new in zip(node.outputs, kept.outputs, strict=True):
        replace(old, new)
    for key, text in node.metadata_props.items():
        kept.metadata_props.setdefault(key, text)
    remove(node)


def _merge_initializers(graph: ir.Graph, result: PassResult) -> None:
    """Merge equal initializers; only those that begin alike are read and hashed."""
    values = [value for value in graph.initializers.values() if _is_private(value)]
    kinds = [_kind(value) for value in values]
    counts = Counter(kinds)
    first: dict[str, ir.Value] = {}
    for value, kind in zip(values, kinds, strict=True):
        if value.const_value is None or counts[kind] == 1:
            continue
        kept = first.setdefault(_tensor_key(value.const_value), value)
        if kept is not value and value.name:
            value.replace_all_uses_with(kept)
            del graph.initializers[value.name]
            text = f"the same as {kept.name!r}"
            result.rewritten.append(Note(f"initializer {value.name!r}", text))


def _is_private(value: ir.Value) -> bool:
    return not value.is_graph_input() and not value.is_graph_output()


def _kind(value: ir.Value) -> str:
    """Return dtype, shape and the first bits; weights that differ there are read no further."""
    tensor = value.const_value
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return ""
    first = tensor.numpy().reshape(-1)[:_FIRST].tobytes().hex()
    return f"{tensor.dtype} {tensor.shape} {first}"
