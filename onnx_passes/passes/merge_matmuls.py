"""merge-matmuls: multiply two constant matrices now that are applied one after the other.

Before::

    x -> MatMul(B, x) -> h -> MatMul(A, h) -> y        A [m, k], B [k, n] constant

After::

    x -> MatMul(A B, x) -> y

and the same on the other side: ``(x A) B -> x (A B)``.

Why:
    One product instead of two; and where A and B nearly cancel, as the inverse matrix and the basis
    of a thin-plate spline do, a chip that stores h in float16 loses the digits that cancel.

Fires when:
    both matrices are constant, of rank 2 and one float dtype, on the same side, and nothing else
    reads what the first product makes.

Leaves alone:
    - a first product that another node reads, that is a graph output, or in another graph.
    - a merged matrix larger than the two it replaces: the file and the work would grow.
    - a merged matrix that would not be finite in its dtype.
    - bodies of functions: a function has no initializers.

Numerics:
    Close. A B is computed in float64 and rounded once. With k and n products to a sum, eps of the
    dtype (2^-23 for float32) and ``S = |A| |B| |x|`` per output element, to the first order and
    with u = eps / 2: before, the inner sums err by n u and the outer ones by k u of S; after, each
    entry of A B errs by u and the sum by n u. Hence ``|y - y_before| <= (2 n + k + 1) u S``,
    stated as ``(n + k + 2) eps S``.

References:
    - https://onnx.ai/onnx/operators/onnx__MatMul.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.values import (
    constant,
    drop_unread_initializer,
    fresh_name,
    graphs,
    main_graphs,
    new_initializer,
    remove,
    value_names,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_DTYPES = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
_MATRIX_RANK = 2
_Matrix = np.ndarray[Any, np.dtype[Any]]


class _Pair(NamedTuple):
    """Two products with their matrices on side 0 (left) or 1 (right)."""

    inner: ir.Node
    outer: ir.Node
    side: int


@register
@dataclass(frozen=True)
class MergeMatmuls(Pass):
    """Multiply two constant matrices now that are applied one after the other."""

    name: ClassVar[str] = "merge-matmuls"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"MatMul"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        names = value_names(model)
        while _round(model, names, result):
            # A product that was too large to merge may now meet a smaller one.
            result.skipped.clear()
        return result


def _round(model: ir.Model, names: set[str], result: PassResult) -> bool:
    """Merge each pair once, inner ones first; return whether any was."""
    before, mergeable = len(result.rewritten), set(main_graphs(model))
    for pair in _pairs(model):
        refusal = _why_not(pair, mergeable)
        matrix = None if refusal else _product(pair)
        if matrix is not None and not np.isfinite(matrix).all():
            refusal = f"the merged matrix would not be finite in {matrix.dtype}"
        if refusal or matrix is None:
            result.skipped.append(Note(label(pair.outer), refusal or ""))
            continue
        note = Note(label(pair.outer), f"takes the matrix of {label(pair.inner)} in")
        _replace(pair, matrix, names)
        result.rewritten.append(note)
    return len(result.rewritten) > before


def _pairs(model: ir.Model) -> Iterator[_Pair]:
    """Yield each product of a constant matrix and another such product, inner ones first.

    The nodes are listed before the first rewrite: an outer node that was merged is found again as
    the inner one of the next.
    """
    products = [node for graph in graphs(model) for node in graph if _is_product(node)]
    for outer in products:
        for side in (0, 1):
            between = outer.inputs[1 - side]
            inner = between.producer() if between is not None else None
            if inner is None or not _is_product(inner) or _matrix(outer, side) is None:
                continue
            if _matrix(inner, side) is not None:
                yield _Pair(inner, outer, side)


def _is_product(node: ir.Node) -> bool:
    return (node.domain, node.op_type) == ("", "MatMul")


def _matrix(node: ir.Node, side: int) -> ir.TensorProtocol | None:
    """Return the constant matrix on one side of a product, or None."""
    tensor = constant(node.inputs[side])
    matrix = tensor is not None and len(tensor.shape) == _MATRIX_RANK
    return tensor if matrix and tensor is not None and tensor.dtype in _DTYPES else None


def _why_not(pair: _Pair, mergeable: set[ir.Graph]) -> str | None:
    """Return the reason to leave the two products alone, or None."""
    between = pair.inner.outputs[0]
    if pair.outer.graph not in mergeable:
        return "it is in the body of a function"
    if pair.inner.graph is not pair.outer.graph:
        return f"{label(pair.inner)} is in another graph"
    if between.is_graph_output() or len(between.uses()) > 1:
        return f"{between.name!r} is a graph output or has another reader"
    first, second = (_matrix(node, pair.side) for node in (pair.outer, pair.inner))
    if first is None or second is None or first.dtype != second.dtype:
        return "the two matrices differ in dtype"
    left, right = (first, second) if pair.side == 0 else (second, first)
    size = int(left.shape.numpy()[0] * right.shape.numpy()[1])
    if size > first.size + second.size:
        return f"the merged matrix has {size} elements, the two have {first.size + second.size}"
    return None


def _product(pair: _Pair) -> _Matrix | None:
    """Return the product of the two matrices, computed in float64 and rounded once."""
    outer, inner = _matrix(pair.outer, pair.side), _matrix(pair.inner, pair.side)
    if outer is None or inner is None:
        return None
    first, second = outer.numpy().astype(np.float64), inner.numpy().astype(np.float64)
    product = first @ second if pair.side == 0 else second @ first
    with np.errstate(over="ignore"):
        return np.asarray(product.astype(outer.numpy().dtype))


def _replace(pair: _Pair, matrix: _Matrix, names: set[str]) -> None:
    """Let the outer product apply ``matrix`` to what the inner one read."""
    graph, old = pair.outer.graph, pair.outer.inputs[pair.side]
    if graph is None or old is None:
        return
    inner_matrix = pair.inner.inputs[pair.side]
    name = fresh_name(f"{old.name}_merged", names)
    value = new_initializer(graph, name, ir.Tensor(matrix, name=name))
    pair.outer.replace_input_with(pair.side, value)
    pair.outer.replace_input_with(1 - pair.side, pair.inner.inputs[1 - pair.side])
    remove(pair.inner)
    drop_unread_initializer(old)
    drop_unread_initializer(inner_matrix)
