"""fuse-gemm: make one Gemm of a MatMul and the Add of a bias.

Before::

    x [M, K] -> MatMul(w [K, N]) -> h -> Add(b [N]) -> y [M, N]
    v -> Reshape -> x [B, S, K] -> MatMul(w) -> h -> Add(b) -> z -> Reshape -> y

After::

    x -> Gemm(w, b) -> y
    v -> Reshape([-1, K]) -> Gemm(w, b) -> Reshape -> y

Fires when:
    w has rank 2 and a recorded shape, b is [N] or [1, N], or has one element, and nothing else
    reads h; x has rank 2. Where x has more axes: it is made by a Reshape that nothing else reads,
    and all that reads the sum are Reshapes to constant targets; the first one flattens the rows
    then, and the others take the same elements in the same order.

Leaves alone:
    - a product of more axes without a Reshape before it and behind it: it would take new nodes.
    - a Reshape behind it whose target is computed, or copies an extent (0): its input has another
      rank now.
    - results in between that another node reads, or that are graph outputs.
    - shapes that are not recorded (run infer-shapes first).
    - a bias that differs from row to row or has more axes; a product in which K or N is 0.
    - dtypes other than float16, float32 and float64.
    - opsets below 7, where an attribute says how Gemm and Add broadcast.

Numerics:
    Close. With K products to a sum and ``A = sum |x| |w| + |b|``, eps of the dtype (2^-23 for
    float32): both forms round each product and each of K additions, in any order, so each errs by
    (K + 1) eps / 2 of A to the first order, and ``|y - y_before| <= (K + 3) eps A``.

References:
    - https://onnx.ai/onnx/operators/onnx__Gemm.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.fusion import exchange, made_by, only_reader
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import (
    Constants,
    constant_integers,
    extents,
    maker,
    operators,
    rank,
    set_inputs,
)
from onnx_passes.core.values import fresh_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_DTYPES = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
_MATRIX = 2  # axes
_BROADCAST_NUMPY_STYLE = 7  # Before, an attribute says how.


class _Linear(NamedTuple):
    """A product and the sum that reads it."""

    product: ir.Node
    total: ir.Node
    bias: ir.Value


@register
@dataclass(frozen=True)
class FuseGemm(Pass):
    """Make one Gemm of a MatMul and the Add of a bias."""

    name: ClassVar[str] = "fuse-gemm"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"MatMul"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, constants = PassResult(), Constants(model)
        while _round(model, constants, result):
            # A Reshape that now flattens the rows of one product has a fixed target for another.
            result.skipped.clear()
        return result


def _round(model: ir.Model, constants: Constants, result: PassResult) -> bool:
    """Make what is a Gemm now; return whether anything behind which others may wait changed."""
    flattened = False
    for found in _linears(model):
        if refusal := _why_not(found) or _why_not_rows(found):
            result.skipped.append(Note(label(found.total), refusal))
            continue
        note = Note(label(found.total), f"with {label(found.product)}, as Gemm")
        flattened |= _replace(found, constants)
        result.rewritten.append(note)
    return flattened


def _linears(model: ir.Model) -> Iterator[_Linear]:
    """Yield each sum of a product and something whose shape may be that of a bias.

    Each as it is once those before it are replaced: its bias may be one of them.
    """
    for total, opset in list(operators(model, "Add")):
        found = made_by(total, "MatMul")
        if found is not None and opset >= _BROADCAST_NUMPY_STYLE:
            product, bias = found
            sizes = extents(bias)
            if sizes is not None and all(size == 1 for size in sizes[:-1]):
                yield _Linear(product, total, bias)


def _why_not(found: _Linear) -> str | None:
    """Return why the two are no Gemm, however many axes they have, or None."""
    between, weight = found.product.outputs[0], found.product.inputs[1]
    if found.product.graph is not found.total.graph:
        return f"{label(found.product)} is in another graph"
    if only_reader(between) is not found.total:
        return f"{between.name!r} is a graph output or has another reader"
    sizes, bias = extents(weight), extents(found.bias)
    if sizes is None or rank(found.product.inputs[0]) is None:
        return "the shape of a factor is unknown; infer shapes first"
    if len(sizes) != _MATRIX or not all(sizes):
        return f"its second factor is {sizes}, no matrix of a known size"
    if bias is None or len(bias) > _MATRIX or (bias and bias[-1] not in {1, sizes[1]}):
        return f"its bias is {bias}, not one number for each of {sizes[1]} columns"
    dtype = found.bias.dtype
    return None if dtype in _DTYPES else f"its dtype is {dtype.name if dtype else 'unknown'}"


def _why_not_rows(found: _Linear) -> str | None:
    """Return why the first factor is no matrix, nor can be made one for nothing, or None."""
    x = found.product.inputs[0]
    axes = rank(x)
    if x is None or axes == _MATRIX:
        return None
    if axes == 1:
        return "its first factor has one axis"
    before = maker(x, "Reshape")
    if before is None or only_reader(x) is not found.product:
        return f"{x.name!r} has {axes} axes, and no Reshape that only it reads makes it"
    made = found.total.outputs[0]
    targets = [_target(reader, made) for reader in made.consumers()]
    if made.is_graph_output() or not targets or None in targets:
        return f"{made.name!r} has {axes} axes, and not only Reshapes to fixed targets read it"
    if any(0 in target for target in targets if target is not None):
        return "a Reshape behind it copies an extent"
    return None


def _target(reader: ir.Node, data: ir.Value) -> list[int] | None:
    """Return the constant target of a Reshape of ``data``, or None."""
    if maker(reader.outputs[0], "Reshape") is None or reader.inputs[0] is not data:
        return None
    return constant_integers(reader.inputs[1])


def _replace(found: _Linear, constants: Constants) -> bool:
    """Write the Gemm; return whether a Reshape flattens the rows for it.

    What has other axes than before has another name too.
    """
    x, weight = found.product.inputs
    before, sizes = maker(x, "Reshape"), extents(x) or []
    gemm = ir.Node("", "Gemm", [x, weight, found.bias])
    exchange([found.product, found.total], gemm)
    if len(sizes) == _MATRIX or x is None or before is None:
        return False
    inner, columns = extents(weight) or [None, None]
    set_inputs(before, [before.inputs[0], constants.integers(before, "target", [-1, inner or 0])])
    leading = [size for size in sizes[:-1] if size is not None]
    rows = math.prod(leading) if len(leading) == len(sizes) - 1 else None
    for value, size in ((x, inner), (gemm.outputs[0], columns)):
        value.name = fresh_name(f"{value.name}_rows", constants.names)
        value.shape = ir.Shape([rows, size])
    return True
