"""decompose-einsum: replace Einsum by Transpose, Reshape, MatMul, Mul and ReduceSum.

Before::

    q [B, L, H, D], k [B, S, H, D] -> Einsum("blhd,bshd->bhls") -> y [B, H, L, S]

After::

    q -> Transpose -> [B, H, L, D];  k -> Transpose -> [B, H, D, S];  MatMul -> y

Axes that both operands have and the result too are a batch; those that it lacks are summed by the
MatMul. Two axes of one kind are merged by a Reshape, and taken apart again after the product. Where
nothing is summed, a Mul serves; more than two operands are contracted from the left.

Why:
    310P has no kernel for Einsum, and no opset before 12 has it.

Fires when:
    the node is ``ai.onnx::Einsum`` over float16, float32, float64, int32 or int64, in the main
    graph, in a sub-graph or in a function, the shapes of the operands are recorded, and an axis
    that two operands share has the same size in both: the same number, or the same symbol.

Leaves alone:
    - an axis of size 1 that the other operand has longer: Einsum repeats it.
    - a label that stands twice in one term (a diagonal).
    - ``...`` that the result lacks, or whose axes differ in number.
    - an extent of 0: in a target of Reshape it has another meaning. (Where one turns out to be 0
      when the model runs, onnxruntime's Einsum ends the process.)
    - an equation that does not go with the operands, or that the caller of a function sets.

Numerics:
    Close. With n numbers summed for an element (over all sums) and S = Einsum(abs(a), abs(b)...), a
    sum in any order errs by at most (n + m) eps S for m operands, before and after: hence
    ``|y - y_before| <= 2 (n + m) eps S``, exact for integers.

References:
    - https://onnx.ai/onnx/operators/onnx__Einsum.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.known_inputs import complete_inputs, forget
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import nodes_of

if TYPE_CHECKING:
    from onnx_passes.core.emit import Operand

_DTYPES = {
    *(ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE),
    *(ir.DataType.INT32, ir.DataType.INT64),
}
_HIDDEN = 0xE000  # the first of the labels that stand for the axes of "..."


class _Equation(NamedTuple):
    """The labels of each operand and of the result, one character an axis."""

    terms: list[str]
    result: str


@register
@dataclass(frozen=True)
class DecomposeEinsum(Pass):
    """Replace Einsum by Transpose, Reshape, MatMul, Mul and ReduceSum."""

    name: ClassVar[str] = "decompose-einsum"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"Einsum"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        nodes = list(nodes_of(model, "Einsum"))
        before = complete_inputs(model, [node for node, _ in nodes])
        names = Names(model) if nodes else None
        for node, opset in nodes:
            equation = _understood(node)
            if isinstance(equation, str):
                result.skipped.append(Note(label(node), equation))
            elif names is not None:
                note = Note(label(node), node.attributes["equation"].as_string())
                _replace(Emitter(node, names, opset), node, equation)
                result.rewritten.append(note)
        if not result.rewritten:
            forget(before)
        return result


def _understood(node: ir.Node) -> _Equation | str:
    """Return what ``node`` computes, or why it is left alone."""
    attribute = node.attributes.get("equation")
    if attribute is None or attribute.is_ref():
        return "the caller of the function sets its equation"
    shapes = [None if value is None else value.shape for value in node.inputs]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return "the shape of an operand is unknown; infer shapes first"
    dtype = None if node.inputs[0] is None else node.inputs[0].dtype
    if dtype not in _DTYPES:
        kind = "unknown" if dtype is None else dtype.name.lower()
        return f"its operands have type {kind}, expected float, double, float16, int32 or int64"
    equation = _parsed(attribute.as_string(), [len(shape) for shape in known])
    return equation if isinstance(equation, str) else _why_not_sizes(equation, known) or equation


def _parsed(text: str, ranks: list[int]) -> _Equation | str:
    """Return the labels of an equation; those of ``...`` are counted from the last axis."""
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        return f"{text!r} has {len(terms)} terms for {len(ranks)} operands"
    hidden = {
        rank - len(term) + 3 for term, rank in zip(terms, ranks, strict=True) if "..." in term
    }
    if len(hidden) > 1:
        return f"the axes of ... in {text!r} differ in number"
    axes = "".join(chr(_HIDDEN + axis) for axis in range(max(hidden.pop(), 0) if hidden else 0))
    labels = [term.replace("...", axes, 1) for term in terms]
    if not arrow:
        every = "".join(labels).replace(axes, "") if axes else "".join(labels)
        right = axes + "".join(sorted(one for one in set(every) if every.count(one) == 1))
    elif axes and "..." not in right:
        return f"the result of {text!r} lacks ..."
    return _why_not_labels(text, labels, ranks, right.replace("...", axes, 1))


def _why_not_labels(text: str, terms: list[str], ranks: list[int], result: str) -> _Equation | str:
    for term, rank in zip(terms, ranks, strict=True):
        if len(term) != rank:
            return f"a term of {text!r} has {len(term)} labels for {rank} axes"
    if any(len(set(term)) < len(term) for term in (*terms, result)):
        return f"a label stands twice in one term of {text!r}"
    if not set(result) <= set("".join(terms)) or "." in "".join((*terms, result)):
        return f"{text!r} is no equation"
    return _Equation(terms, result)


def _why_not_sizes(equation: _Equation, shapes: list[ir.Shape]) -> str | None:
    """Return why the sizes of the operands are in the way, or None."""
    sizes: dict[str, int | str | None] = {}
    for term, shape in zip(equation.terms, shapes, strict=True):
        for one, dim in zip(term, shape, strict=True):
            size = dim if isinstance(dim, int) else dim.value
            name = "..." if ord(one) >= _HIDDEN else repr(one)
            if size == 0:
                return f"an extent of 0 at {name}"
            if one in sizes and (size is None or size != sizes[one]):
                return f"the sizes of {name} may differ: {sizes[one]} and {size}"
            sizes[one] = size
    return None


class _Term(NamedTuple):
    """An operand, and the label of each of its axes."""

    value: ir.Value
    labels: str


def _replace(emit: Emitter, node: ir.Node, equation: _Equation) -> None:
    operands = [value for value in node.inputs if value is not None]
    terms = [_Term(*pair) for pair in zip(operands, equation.terms, strict=True)]
    contract = _Contraction(emit, terms)
    done = contract.alone(terms[0], _needed(equation, 1))
    for place, term in enumerate(terms[1:], start=2):
        needed = _needed(equation, place)
        single = contract.alone(term, needed | set(done.labels))
        done = contract.alone(done, needed | set(single.labels))
        done = contract.pair(done, single, needed)
    done = contract.ordered(done, equation.result)
    if not emit.nodes:
        done = _Term(emit.op("Identity", done.value), done.labels)
    for new in emit.nodes:
        new.metadata_props.update(node.metadata_props)
    emit.replace(node, done.value)


def _needed(equation: _Equation, place: int) -> set[str]:
    """Return the labels of the result and of the terms from ``place`` on."""
    return set(equation.result).union(*equation.terms[place:])


class _Contraction:
    """Emits the nodes of one Einsum."""

    def __init__(self, emit: Emitter, terms: list[_Term]) -> None:
        self._emit = emit
        self._places = {
            one: (term.value, axis) for term in terms for axis, one in enumerate(term.labels)
        }

    def alone(self, term: _Term, needed: set[str]) -> _Term:
        """Sum over the axes of one operand that nothing else needs."""
        for one in term.labels:
            if one not in needed:
                axis = term.labels.index(one)
                value = self._emit.reduce_sum(term.value, axis)
                term = _Term(value, term.labels.replace(one, ""))
        return term

    def ordered(self, term: _Term, labels: str) -> _Term:
        """Bring the axes of an operand into an order."""
        if term.labels == labels:
            return term
        perm = [term.labels.index(one) for one in labels]
        return _Term(self._emit.transpose(term.value, perm), labels)

    def pair(self, left: _Term, right: _Term, needed: set[str]) -> _Term:
        """Multiply two operands and sum over the axes that only they need."""
        shared = [one for one in left.labels if one in right.labels]
        batch = "".join(one for one in shared if one in needed)
        summed = "".join(one for one in shared if one not in needed)
        rows = "".join(one for one in left.labels if one not in shared)
        columns = "".join(one for one in right.labels if one not in shared)
        left = self.ordered(left, batch + rows + summed)
        right = self.ordered(right, batch + summed + columns)
        if not summed:
            return self._product(left, right, batch, rows, columns)
        # MatMul takes any number of rows in front where nothing else is there.
        split = [rows] if batch or not rows else list(rows)
        a = self._grouped(left, [*batch, *split, summed])
        b = self._grouped(right, [*batch, summed, columns])
        dims = [self._dim(group) for group in (*batch, *split, columns)]
        value = self._emit.op("MatMul", a, b, dims=dims)
        return _Term(self._apart(value, [*batch, *split, columns]), batch + rows + columns)

    def _product(self, left: _Term, right: _Term, batch: str, rows: str, columns: str) -> _Term:
        a = self._grouped(left, [*batch, *rows, *("" for _ in columns)])
        b = self._grouped(right, [*batch, *("" for _ in rows if batch), *columns])
        dims = [self._dim(one) for one in batch + rows + columns]
        return _Term(self._emit.op("Mul", a, b, dims=dims), batch + rows + columns)

    def _grouped(self, term: _Term, groups: list[str]) -> ir.Value:
        """Merge the axes of each group into one; a group of none is an axis of 1."""
        if all(len(group) == 1 for group in groups):
            return term.value
        return self._reshaped(term.value, [self._size(group) for group in groups])

    def _apart(self, value: ir.Value, groups: list[str]) -> ir.Value:
        """Take the axes of groups apart again."""
        if all(len(group) == 1 for group in groups):
            return value
        return self._reshaped(value, [self._size(one) for group in groups for one in group])

    def _reshaped(self, value: ir.Value, sizes: list[Operand]) -> ir.Value:
        if not sizes:
            return self._emit.op(
                "Reshape", value, np.zeros(0, np.int64), dtype=value.dtype, dims=[]
            )
        return self._emit.value(self._emit.reshape(value, sizes))

    def _size(self, group: str) -> Operand:
        """Return the number of elements along the axes of a group, int64 [1]."""
        size: Operand = np.ones(1, np.int64)
        for place, one in enumerate(group):
            value, axis = self._places[one]
            extent = self._emit.sizes(value, [axis])
            size = self._emit.math("Mul", size, extent) if place else extent
        return size

    def _dim(self, group: str) -> int | str | None:
        """Return the extent of a group as far as it is recorded."""
        dims = [self._places[one][0].shape for one in group]
        sizes = [
            shape[self._places[one][1]] for one, shape in zip(group, dims, strict=True) if shape
        ]
        if len(sizes) == 1 and not isinstance(sizes[0], int):
            return sizes[0].value
        numbers = [size for size in sizes if isinstance(size, int)]
        return int(np.prod(numbers)) if len(numbers) == len(group) else None
