"""split-qkv-matmul: give query, key and value of an attention a MatMul each.

Before::

    x [N, L, K] -> MatMul(w [K, 3 * H * D]) -> Add(b) -> Reshape [N, L, 3, H, D]
      -> Transpose<perm = [2, 0, 3, 1, 4]> -> Gather(0) -> q [N, H, L, D], Gather(1), Gather(2)

After, three times, with the columns of w and b that belong to q, k or v::

    x -> MatMul(w_q [K, H * D]) -> Add(b_q) -> Reshape [N, L, H, D] -> Transpose -> q

Why:
    The transpose has one axis less to move, and the three copies out of it go away.

Fires when:
    w and what is added are constants, the sizes that the Reshape gives to the columns of w are
    static, and scalar, constant Gathers read each index of one of those sizes exactly once.
    The number of pieces, of Adds, and the ranks do not matter.

Leaves alone:
    - a Transpose that fewer than two Gathers read, or whose Reshape does not follow a MatMul by a
      constant matrix and sums with constants, without a word.
    - a value on the way that another node or graph reads, or that is a graph output.
    - Gathers along several axes, with indices that are computed or no scalars, or that are no
      permutation of the dimension.
    - a Reshape to a computed shape, with ``allowzero``, or whose sizes are unknown where the
      columns of w go: run infer-shapes first.
    - a gathered dimension that is no part of the columns of w: the batch, say.

Numerics:
    Close. Each element of the output is the same sum of K products and A added constants, but a
    matrix with fewer columns may be summed in another order. With u = eps / 2 and S the sum of the
    magnitudes, ``|x| |w| + |b|...``, either errs by (K + A) u S to the first order. Hence
    ``|y - y_before| <= (K + A + 1) eps S``, eps being that of the dtype.

References:
    - https://onnx.ai/onnx/operators/onnx__MatMul.html
    - https://onnx.ai/onnx/operators/onnx__Gather.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.values import constant, drop_unread_initializer, graphs, remove

if TYPE_CHECKING:
    from collections.abc import Iterator

_MATRIX_RANK = 2
_Array = np.ndarray[Any, Any]


class _Chain(NamedTuple):
    """The nodes from the product to the transpose, and all that reads the latter."""

    product: ir.Node
    adds: list[ir.Node]
    reshape: ir.Node
    transpose: ir.Node
    gathers: list[ir.Node]


class _Columns(NamedTuple):
    """How the Reshape cuts the columns of the matrix.

    Attributes:
        lead: What the shape says of the axes before, zeros and -1 included.
        tail: The sizes that the columns are cut into.
        cut: The index in ``tail`` of the dimension that the Gathers take apart.
    """

    lead: list[int]
    tail: list[int]
    cut: int

    def piece(self, array: _Array, index: int) -> _Array:
        """Return the columns of [..., prod(tail)] that belong to one index of the dimension."""
        rows = array.shape[:-1]
        pieces = array.reshape(*rows, *self.tail).take(index, len(rows) + self.cut)
        return np.ascontiguousarray(pieces.reshape(*rows, -1))

    def shape(self) -> list[int]:
        """Return what the Reshape of a piece must say."""
        return [*self.lead, *self.tail[: self.cut], *self.tail[self.cut + 1 :]]


@register
@dataclass(frozen=True)
class SplitQkvMatmul(Pass):
    """Give query, key and value of an attention a MatMul each."""

    name: ClassVar[str] = "split-qkv-matmul"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"MatMul"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, names = PassResult(), Names(model)
        for chain, opset in list(_chains(model)):
            refusal = _why_not_readers(chain) or _why_not_gathers(chain)
            columns = None if refusal else _columns(chain)
            if refusal or columns is None:
                text = refusal or "its Reshape is not known to cut up the columns of the matrix"
                result.skipped.append(Note(label(chain.product), text))
            elif refusal := _why_not_indices(chain, columns):
                result.skipped.append(Note(label(chain.product), refusal))
            else:
                note = Note(label(chain.product), f"{len(chain.gathers)} products")
                _replace(chain, columns, names, opset)
                result.rewritten.append(note)
        return result


def _is(node: ir.Node | None, op_type: str) -> bool:
    return node is not None and (node.domain, node.op_type) == ("", op_type)


def _chains(model: ir.Model) -> Iterator[tuple[_Chain, int]]:
    """Yield each chain that ends in two or more Gathers, with the opset that its graph imports."""
    for graph in graphs(model):
        opset = graph.opset_imports.get("", model.opset_imports.get("", 0))
        for node in graph:
            readers = [reader for reader, _ in node.outputs[0].uses()] if node.outputs else []
            gathers = [reader for reader in readers if _is(reader, "Gather")]
            if _is(node, "Transpose") and len(gathers) > 1 and (chain := _chain(node, readers)):
                yield chain, opset


def _chain(transpose: ir.Node, readers: list[ir.Node]) -> _Chain | None:
    """Return the chain that ends in ``transpose``, or None where there is no such chain."""
    reshape = _maker(transpose.inputs[0])
    if reshape is None or not _is(reshape, "Reshape"):
        return None
    adds: list[ir.Node] = []
    node = _maker(reshape.inputs[0])
    while node is not None and _is(node, "Add") and _bias(node) is not None:
        adds.insert(0, node)
        node = _maker(next((v for v in node.inputs if constant(v) is None), None))
    matrix = constant(node.inputs[1]) if node is not None and _is(node, "MatMul") else None
    if node is None or matrix is None or len(matrix.shape) != _MATRIX_RANK:
        return None
    return _Chain(node, adds, reshape, transpose, readers)


def _maker(value: ir.Value | None) -> ir.Node | None:
    return value.producer() if value is not None else None


def _bias(add: ir.Node) -> ir.Value | None:
    """Return the constant that ``add`` adds, or None."""
    return next((value for value in add.inputs if constant(value) is not None), None)


def _why_not_readers(chain: _Chain) -> str | None:
    """Return which value on the way something else needs, or None."""
    nodes = [chain.product, *chain.adds, chain.reshape]
    for node in nodes:
        value = node.outputs[0]
        if value.is_graph_output() or len(value.uses()) > 1:
            return f"{value.name!r} is a graph output or has another reader"
    if chain.transpose.outputs[0].is_graph_output():
        return f"{chain.transpose.outputs[0].name!r} is a graph output"
    for node in (*nodes, *chain.gathers):
        if node.graph is not chain.transpose.graph:
            return f"{label(node)} is in another graph"
    return None


def _why_not_gathers(chain: _Chain) -> str | None:
    """Return which reader of the transpose is no scalar Gather along one axis, or None."""
    made, axes = chain.transpose.outputs[0], set()
    for gather in chain.gathers:
        if not _is(gather, "Gather") or gather.inputs[0] is not made:
            return f"{made.name!r} is read by {label(gather)}, which takes no piece of it"
        indices = constant(gather.inputs[1])
        if indices is None or len(indices.shape):
            return f"the index of {label(gather)} is no constant scalar"
        axes.add(gather.attributes.get_int("axis", 0) or 0)
    return f"Gathers along the axes {sorted(axes)}" if len(axes) > 1 else None


def _columns(chain: _Chain) -> _Columns | None:
    """Return how the Reshape cuts the columns, or None where that is not known.

    Sizes are taken from the right until their product is the number of columns: what is before
    them then says how the rows are cut, which stays.
    """
    target = constant(chain.reshape.inputs[1])
    if target is None or chain.reshape.attributes.get_int("allowzero", 0) != 0:
        return None
    told: list[int] = target.numpy().tolist()
    recorded = chain.reshape.outputs[0].shape
    sizes: list[object] = list(told if recorded is None else recorded)
    width = _width(chain)
    tail: list[int] = []
    while math.prod(tail) < width and len(tail) < len(told):
        position = len(told) - len(tail) - 1
        size = told[position] if told[position] > 0 else sizes[position]
        if not isinstance(size, int) or size < 1:
            return None
        tail.insert(0, size)
    cut = _gathered_axis(chain, len(told)) - (len(told) - len(tail))
    if math.prod(tail) != width or cut < 0:
        return None
    return _Columns(told[: len(told) - len(tail)], tail, cut)


def _width(chain: _Chain) -> int:
    """Return the number of columns of the matrix."""
    return int(np.asarray(constant(chain.product.inputs[1])).shape[1])


def _perm(chain: _Chain, rank: int) -> list[int]:
    return list(chain.transpose.attributes.get_ints("perm", ()) or range(rank)[::-1])


def _gathered_axis(chain: _Chain, rank: int) -> int:
    """Return the axis of the reshaped tensor that the Gathers take apart."""
    return _perm(chain, rank)[chain.gathers[0].attributes.get_int("axis", 0) or 0]


def _index(gather: ir.Node, extent: int) -> int:
    index = int(np.asarray(constant(gather.inputs[1])))
    return index + extent if index < 0 else index


def _why_not_indices(chain: _Chain, columns: _Columns) -> str | None:
    extent = columns.tail[columns.cut]
    indices = [_index(gather, extent) for gather in chain.gathers]
    if sorted(indices) == list(range(extent)):
        return None
    return f"the indices {indices} are no permutation of {extent}"


def _replace(chain: _Chain, columns: _Columns, names: Names, opset: int) -> None:
    """Put a branch in the place of each Gather and take the chain away."""
    nodes = [chain.transpose, chain.reshape, *chain.adds[::-1], chain.product]
    read = [value for node in (*chain.gathers, *nodes) for value in node.inputs]
    for gather in chain.gathers:
        index = _index(gather, columns.tail[columns.cut])
        emit = Emitter(gather, names, opset)
        emit.replace(gather, _branch(emit, chain, columns, index))
    for node in nodes:
        remove(node)
    for value in read:
        drop_unread_initializer(value)


def _branch(emit: Emitter, chain: _Chain, columns: _Columns, index: int) -> ir.Value:
    """Emit the product, the sums, the reshape and the transpose of one piece."""
    matrix = np.asarray(constant(chain.product.inputs[1]))
    piece = columns.piece(matrix, index)
    y = emit.op("MatMul", chain.product.inputs[0], piece)
    y.shape = _narrow(chain.product.outputs[0], piece.shape[1])
    kind = y.type  # that of the matrix, and so of all that follows
    for add in chain.adds:
        bias = np.asarray(constant(_bias(add)))
        wide = bias.ndim and bias.shape[-1] == matrix.shape[1]
        y = emit.op("Add", y, columns.piece(bias, index) if wide else _bias(add))
        y.type, y.shape = kind, _narrow(add.outputs[0], piece.shape[1])
    rank = len(columns.lead) + len(columns.tail)
    axis = _gathered_axis(chain, rank)
    shaped = emit.op("Reshape", y, np.array(columns.shape(), np.int64))
    shaped.type, shaped.shape = kind, _without(chain.reshape.outputs[0], axis)
    perm = [old - (old > axis) for old in _perm(chain, rank) if old != axis]
    return emit.transpose(shaped, perm)


def _narrow(value: ir.Value, width: int) -> ir.Shape | None:
    """Return the shape of ``value`` with ``width`` columns."""
    return None if value.shape is None else ir.Shape([*list(value.shape)[:-1], width])


def _without(value: ir.Value, axis: int) -> ir.Shape | None:
    """Return the shape of ``value`` without one axis."""
    if value.shape is None:
        return None
    return ir.Shape([dim for number, dim in enumerate(value.shape) if number != axis])
