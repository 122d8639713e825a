"""fuse-batch-norm: fold BatchNormalization into what is around it.

Before::

    x -> Conv(w, b) -> h -> BatchNormalization(scale, B, mean, var) -> y

After::

    x -> Conv(w * f, (b - mean) * f + B) -> y,  with f = scale / sqrt(var + epsilon)

The same for ConvTranspose and Gemm; and between two Transposes that undo each other::

    x -> Transpose -> BatchNormalization -> Transpose -> y
    x -> Mul(f) -> Add(B - mean * f) -> y,  f along the axis that was the channels'

Fires when:
    BatchNormalization is in inference mode, its parameters and the weights and bias of the node
    before it are constants, and nothing else reads what that node makes; a Transpose may have other
    readers, and then stays for them.

Leaves alone:
    - training mode: ``training_mode=1``, more than one output, opset 6 and older (``is_test``).
    - ``spatial=0`` of opset 7 and 8: a factor for each position, not for each channel.
    - parameters, weights or a bias that are no constants, or not of one float dtype.
    - an input that another node reads, that is a graph output, or that another graph makes.
    - a channel whose ``var + epsilon`` is not positive: the factor is no number.
    - a weight or bias that would no longer be finite in its dtype.
    - a Gemm whose ``C`` differs from row to row: the fused one would be a matrix as large.
    - a BatchNormalization on its own: Mul and Add would be two nodes for one.
    - between Transposes: a result that another node reads or that is a graph output, and an input
      whose dtype is unknown or not that of the parameters.
    - bodies of functions: a function has no initializers.

Numerics:
    Close. The new weights are computed in float64 and rounded once. With K products to a sum, eps
    of the dtype (2^-23 for float32), and per output element
    ``A = |f| (sum |w| |x| + |b| + |mean|) + |B|``, to the first order:

    - before: the sum errs by (K + 1) u of ``sum |w| |x| + |b|`` (u = eps / 2), the factor by 3 u,
      the product and the two additions around it by 3 u more: at most (K + 6) u A.
    - after: each weight and the bias err by u, the sum by (K + 1) u: at most (K + 2) u A.

    Hence ``|y - y_before| <= (K + 8) eps A``: K + 4 to the first order, 4 for the higher ones.
    Between Transposes the same holds with K = 0 and ``A = |f| (|x| + |mean|) + |B|``.
    A new weight below the normal range of the dtype errs by half its smallest number instead.

References:
    - https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

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
    replace,
    value_names,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_DTYPES = (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
_BEFORE = ("Conv", "ConvTranspose", "Gemm")
_Float64 = np.ndarray[Any, np.dtype[np.float64]]
_Constants = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


@register
@dataclass(frozen=True)
class FuseBatchNorm(Pass):
    """Fold BatchNormalization into a Conv, ConvTranspose or Gemm, or out of two Transposes."""

    name: ClassVar[str] = "fuse-batch-norm"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"BatchNormalization"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        names, foldable = value_names(model), set(main_graphs(model))
        for norm in list(_batch_norms(model)):
            before = norm.inputs[0].producer() if norm.inputs[0] is not None else None
            after = _undone(norm, before)
            refusal = _why_not_mode(norm, foldable, model)
            if before is not None and after is not None:
                refusal = refusal or _why_not_between(norm, before)
            else:
                refusal = refusal or _why_not_before(norm, before)
            if refusal or before is None:
                result.skipped.append(Note(label(norm), refusal or "nothing makes its input"))
                continue
            fused = _fused(norm, before)
            if not all(np.isfinite(array).all() for array in fused):
                text = f"a weight or bias would not be finite in {fused[0].dtype}"
                result.skipped.append(Note(label(norm), text))
                continue
            note = Note(label(norm), f"folded into {label(before)}")
            if after is not None:
                note = Note(label(norm), "with its two Transposes, as Mul and Add")
                _unwrap(norm, (before, after), fused, names)
            else:
                _replace(norm, before, fused, names)
            result.rewritten.append(note)
        return result


def _batch_norms(model: ir.Model) -> Iterator[ir.Node]:
    for graph in graphs(model):
        for node in graph:
            if (node.domain, node.op_type) == ("", "BatchNormalization"):
                yield node


def _why_not_mode(norm: ir.Node, foldable: set[ir.Graph], model: ir.Model) -> str | None:
    """Return why ``norm`` is no plain inference-mode BatchNormalization, or None."""
    if norm.graph not in foldable:
        return "it is in the body of a function"
    if model.opset_imports[""] < 7:  # noqa: PLR2004  is_test and consumed_inputs went in opset 7
        return "opset 6 and older has training mode as its default"
    if norm.attributes.get_int("training_mode", 0):
        return "training mode"
    if len([value for value in norm.outputs if value.name]) > 1:
        return "training mode: it has more than one output"
    if not norm.attributes.get_int("spatial", 1):
        return "spatial=0: a factor for each position"
    return None


def _undone(norm: ir.Node, before: ir.Node | None) -> ir.Node | None:
    """Return the Transpose after ``norm`` that undoes the one before it, or None."""
    uses = list(norm.outputs[0].uses())
    if before is None or len(uses) != 1 or norm.outputs[0].is_graph_output():
        return None
    after, pair = uses[0][0], (before, uses[0][0])
    if any((node.domain, node.op_type) != ("", "Transpose") for node in pair):
        return None
    there, back = map(_perm, pair)
    undone = len(there) > 1 and [there[axis] for axis in back] == sorted(there)
    return after if undone and after.graph is before.graph is norm.graph else None


def _perm(transpose: ir.Node) -> list[int]:
    return list(transpose.attributes.get_ints("perm", ()) or ())


def _why_not_between(norm: ir.Node, before: ir.Node) -> str | None:
    """Return why ``norm`` between two Transposes is no Mul and Add of constants, or None."""
    x, scale = cast("ir.Value", before.inputs[0]), constant(norm.inputs[1])
    refusal = _why_not_constants(norm, before)
    if refusal or scale is None or x.dtype == scale.dtype:
        return refusal
    return f"{x.name!r} is not known to be {scale.dtype.name}; run infer-shapes first"


def _why_not_before(norm: ir.Node, before: ir.Node | None) -> str | None:
    """Return why ``norm`` cannot be folded into ``before``, or None."""
    if before is None or before.domain or before.op_type not in _BEFORE:
        maker = "a graph input" if before is None else before.op_type
        return f"its input comes from {maker}, not from {', '.join(_BEFORE)}"
    between = before.outputs[0]
    if before.graph is not norm.graph:
        return f"{label(before)} is in another graph"
    if between.is_graph_output() or len(between.uses()) > 1:
        return f"{between.name!r} is a graph output or has another reader"
    return _why_not_constants(norm, before)


def _why_not_constants(norm: ir.Node, before: ir.Node) -> str | None:
    values = [value for value in (*norm.inputs[1:], *before.inputs[1:]) if value is not None]
    tensors = [constant(value) for value in values]
    for value, tensor in zip(values, tensors, strict=True):
        if tensor is None:
            return f"{value.name!r} is no constant"
    dtypes = {tensor.dtype for tensor in tensors if tensor is not None}
    if len(dtypes) > 1 or not dtypes.issubset(_DTYPES):
        return f"its constants are {', '.join(sorted(dtype.name for dtype in dtypes))}"
    if not (_float64(norm.inputs[4]) + _epsilon(norm) > 0).all():
        return "variance + epsilon is not positive"
    bias = _bias(before)
    if before.op_type == "Gemm" and bias is not None and len(_rows(bias)) > 1:
        return "C of the Gemm differs from row to row"
    return None


def _fused(norm: ir.Node, before: ir.Node) -> _Constants:
    """Return the new weight and bias, rounded once; after a Transpose as its input's axes want."""
    scale, shift, mean, variance = (_float64(value) for value in norm.inputs[1:5])
    factor = scale / np.sqrt(variance + _epsilon(norm))
    old_bias = _bias(before)
    bias = (-mean if old_bias is None else _rows(old_bias)[0] - mean) * factor + shift
    stored = constant(norm.inputs[1])  # _why_not_constants: all of one dtype
    if before.op_type == "Transpose":
        perm = _perm(before)
        shape = (-1, *[1] * (len(perm) - 1 - perm[1]))  # perm[1] is where the channels come from
        weight, bias = factor.reshape(shape), bias.reshape(shape)
    else:
        weight = _scaled(before, _float64(before.inputs[1]), factor)
    dtype = stored.dtype.numpy() if stored is not None else np.float32
    with np.errstate(over="ignore"):
        return weight.astype(dtype), bias.astype(dtype)


def _scaled(node: ir.Node, weight: _Float64, factor: _Float64) -> _Float64:
    """Return ``weight`` times the factor of each output channel.

    Args:
        node: Conv with weight [M, C/group, ...], ConvTranspose with [C, M/group, ...], or Gemm
            with [K, N], [N, K] if ``transB``.
        weight: float64, as stored.
        factor: float64 [M] or [N].
    """
    if node.op_type == "Gemm":
        return weight * (factor[:, None] if node.attributes.get_int("transB", 0) else factor)
    if node.op_type == "Conv":
        return weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    groups = node.attributes.get_int("group", 1) or 1
    split = weight.reshape(groups, -1, *weight.shape[1:])
    per_group = factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    return np.asarray(split * per_group).reshape(weight.shape)


def _bias(node: ir.Node) -> _Float64 | None:
    """Return the bias that ``node`` adds, times a Gemm's ``beta``, or None."""
    if len(node.inputs) < 3 or node.inputs[2] is None:  # noqa: PLR2004  data, weight, bias
        return None
    beta = node.attributes.get_float("beta", 1.0) if node.op_type == "Gemm" else 1.0
    return _float64(node.inputs[2]) * (1.0 if beta is None else beta)


def _rows(bias: _Float64) -> _Float64:
    """Return a bias that broadcasts to [M, N] as [rows, columns]."""
    return bias.reshape(-1, bias.shape[-1] if bias.ndim else 1)


def _replace(norm: ir.Node, before: ir.Node, fused: _Constants, names: set[str]) -> None:
    """Give ``before`` the new weight and bias, and what ``norm`` makes, name included.

    Two models are compared value by value, by name: the name of the old sum must not come to mean
    the normalized one.
    """
    normed, unread = norm.outputs[0], [*norm.inputs[1:], *before.inputs[1:]]
    before.resize_inputs(3)
    for index, (suffix, array) in enumerate(zip(("weight", "bias"), fused, strict=True), start=1):
        name = fresh_name(f"{normed.name}.{suffix}", names)
        if before.graph is not None:
            tensor = ir.Tensor(array, name=name)
            before.replace_input_with(index, new_initializer(before.graph, name, tensor))
    before.attributes.pop("beta", None)
    replace(normed, before.outputs[0])
    remove(norm)
    before.outputs[0].name = normed.name
    for value in unread:
        drop_unread_initializer(value)


def _unwrap(
    norm: ir.Node, pair: tuple[ir.Node, ir.Node], fused: _Constants, names: set[str]
) -> None:
    """Put Mul and Add in the place of the second Transpose; a first that others read stays."""
    before, after = pair
    graph, y, unread = cast("ir.Graph", after.graph), after.outputs[0], norm.inputs[1:]
    old, made = y.name, cast("ir.Value", before.inputs[0])
    for op_type, array in zip(("Mul", "Add"), fused, strict=True):
        name = fresh_name(f"{old}.{op_type.lower()}", names)
        node = ir.node(op_type, [made, new_initializer(graph, name, ir.Tensor(array, name=name))])
        graph.insert_before(after, node)
        made = node.outputs[0]
        made.name = fresh_name(f"{old}.scaled", names)
    replace(y, made)
    for node in (after, norm, before):
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            remove(node)
    made.name = old
    for value in unread:
        drop_unread_initializer(value)


def _float64(value: ir.Value | None) -> _Float64:
    tensor = constant(value)
    return np.asarray(tensor.numpy() if tensor is not None else (), dtype=np.float64)


def _epsilon(norm: ir.Node) -> float:
    epsilon = norm.attributes.get_float("epsilon", 1e-5)
    return float(np.float32(1e-5 if epsilon is None else epsilon))
