"""fuse-layer-norm: make one LayerNormalization of the nodes that exporters write for it.

Before::

    x -> ReduceMean -> m,  Sub(x, m) -> c,  Pow(c, 2) -> ReduceMean -> Add(epsilon) -> Sqrt -> s
    Div(c, s) -> Mul(scale) -> Add(bias) -> y

After::

    x -> LayerNormalization(scale, bias, axis, epsilon) -> y

Fires when:
    both means are over the same axes, the last ones, and keep them; x is float32; scale and bias
    have just the shape of these axes. c may be squared by Mul, s may be divided by as Reciprocal
    and Mul, and the Add of a bias may be missing.

Leaves alone:
    - opsets below 17, which have no LayerNormalization.
    - other axes than the last ones, or means that drop them (``keepdims=0``).
    - results in between that another node reads, or that are graph outputs.
    - a shape of x, scale or bias that is not recorded, not static, or not that of the axes.
    - an epsilon that is computed or no single positive number, dtypes other than float32.
    - a normalization without scale: the operator needs one.

Numerics:
    Close. The specification defines the operator by these very steps, with both means in float32
    or better; n is the number of elements in a mean, M the largest |x| of one, s the deviation
    and ``z = (x - m) / s``. A mean errs by n eps / 2 of M, which moves c by as much; c errs by half
    an ulp, s by (n + 4) eps / 2 of itself, and the last three operators by half an ulp each. So
    each form is within (n + 8) eps / 2 of ``A = |scale| (M / s + |z|) + |bias|``, and
    ``|y - y_before| <= (n + 10) eps A``. Where a square overflows, the two may differ.

References:
    - https://onnx.ai/onnx/operators/onnx__LayerNormalization.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.fusion import exchange, made_by, only_reader, why_not_private
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import extents, integers, is_operator, maker, operators
from onnx_passes.core.values import constant

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_OPSET = 17


class _Norm(NamedTuple):
    """The nodes of a layer norm, and what they read.

    Attributes:
        parts: From the first mean to the last Mul or Add.
        means: The two ReduceMean among them.
        x: float32 [..., axes].
        epsilon: One number.
        scale: float32 [axes].
        bias: The same, or None.
    """

    parts: list[ir.Node]
    means: tuple[ir.Node, ir.Node]
    x: ir.Value
    epsilon: ir.Value
    scale: ir.Value
    bias: ir.Value | None


class _Spread(NamedTuple):
    """What leads to a standard deviation."""

    mean: ir.Node
    centred: ir.Node
    square: ir.Node
    variance: ir.Node
    added: ir.Node
    epsilon: ir.Value


@register
@dataclass(frozen=True)
class FuseLayerNorm(Pass):
    """Make one LayerNormalization of the nodes that exporters write for it."""

    name: ClassVar[str] = "fuse-layer-norm"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"Sqrt"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for norm, opset in _norms(model):
            if refusal := _why_not(norm, opset):
                result.skipped.append(Note(label(norm.parts[-1]), refusal))
                continue
            note = Note(label(norm.parts[-1]), f"{len(norm.parts)} nodes, as LayerNormalization")
            _replace(norm)
            result.rewritten.append(note)
        return result


def _norms(model: ir.Model) -> Iterator[tuple[_Norm, int]]:
    """Yield each layer norm as it is once those before it are replaced: it may read one of them."""
    for root, opset in list(operators(model, "Sqrt")):
        spread = _spread(root)
        norm = None if spread is None else _norm(root, spread)
        if norm is not None:
            yield norm, opset


def _spread(root: ir.Node) -> _Spread | None:
    """Return the nodes that compute what ``root`` takes the square root of, or None."""
    added = maker(root.inputs[0], "Add")
    found = None if added is None else made_by(added, "ReduceMean")
    square = None if found is None else maker(found[0].inputs[0], "Pow", "Mul")
    centred = None if square is None or not _squares(square) else maker(square.inputs[0], "Sub")
    mean = None if centred is None else maker(centred.inputs[1], "ReduceMean")
    if added is None or found is None or square is None or centred is None or mean is None:
        return None
    if mean.inputs[0] is None or mean.inputs[0] is not centred.inputs[0]:
        return None
    return _Spread(mean, centred, square, found[0], added, found[1])


def _squares(node: ir.Node) -> bool:
    """Return whether ``node`` multiplies its first input by itself."""
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    return _number(node.inputs[1]) == 2  # noqa: PLR2004  the exponent


def _number(value: ir.Value | None) -> float | None:
    """Return the one number that a constant of rank 0 or 1 holds, or None."""
    tensor = constant(value)
    if tensor is None or tensor.size != 1 or len(tensor.shape) > 1:
        return None
    return float(tensor.numpy().reshape(-1)[0])


def _norm(root: ir.Node, spread: _Spread) -> _Norm | None:
    """Return the layer norm that divides by what ``root`` makes, or None."""
    inverse = only_reader(root.outputs[0])
    inverted = [inverse] if inverse is not None and is_operator(inverse, "Reciprocal") else []
    quotient = only_reader(inverted[0].outputs[0]) if inverted else inverse
    if quotient is None or not _divides(quotient, spread.centred, (inverted or [root])[0]):
        return None
    scaled = only_reader(quotient.outputs[0])
    if scaled is None or not is_operator(scaled, "Mul"):
        return None
    scale, x = _other(scaled, quotient), spread.mean.inputs[0]
    if scale is None or x is None:
        return None
    parts = [*spread[:5], root, *inverted, quotient, scaled]
    shifted, bias = only_reader(scaled.outputs[0]), None
    if shifted is not None and is_operator(shifted, "Add"):
        bias = _other(shifted, scaled)
        bias = bias if extents(bias) == extents(scale) else None
        parts += [shifted] if bias is not None else []
    return _Norm(parts, (spread.mean, spread.variance), x, spread.epsilon, scale, bias)


def _divides(node: ir.Node, centred: ir.Node, by: ir.Node) -> bool:
    """Return whether ``node`` divides by the deviation, or multiplies by its inverse."""
    pair = centred.outputs[0], by.outputs[0]
    if by.op_type == "Reciprocal":
        return is_operator(node, "Mul") and node.inputs in (pair, pair[::-1])
    return is_operator(node, "Div") and node.inputs == pair


def _other(node: ir.Node, one: ir.Node) -> ir.Value | None:
    """Return the input of ``node`` that ``one`` does not make; None if it makes both."""
    first, second = node.inputs
    others = [value for value in (first, second) if value is not one.outputs[0]]
    return others[0] if len(others) == 1 else None


def _why_not(norm: _Norm, opset: int) -> str | None:
    """Return the reason to leave a layer norm as it is, or None."""
    if opset < _FIRST_OPSET:
        return f"opset {opset} has no LayerNormalization"
    if any(mean.attributes.get_int("keepdims", 1) == 0 for mean in norm.means):
        return "its means drop their axes"
    if not (_number(norm.epsilon) or 0) > 0:
        return f"its epsilon {norm.epsilon.name!r} is computed or no single positive number"
    values = [value for value in (norm.x, norm.scale, norm.bias) if value is not None]
    if any(value.dtype != ir.DataType.FLOAT for value in values):
        return "not all of its input, scale and bias are known to be float32"
    if len({part.graph for part in norm.parts}) > 1:
        return "a part of it is in another graph"
    return _why_not_axes(norm) or why_not_private(norm.parts)


def _why_not_axes(norm: _Norm) -> str | None:
    sizes, first = extents(norm.x), _first_axis(norm)
    if sizes is None:
        return f"the shape of {norm.x.name!r} is unknown; infer shapes first"
    if first is None:
        return "its means are not over the last axes, or not over the same"
    if not all(sizes[first:]) or extents(norm.scale) != sizes[first:]:
        return f"its scale is {extents(norm.scale)}, the axes are {sizes[first:]}"
    return None


def _first_axis(norm: _Norm) -> int | None:
    """Return the first of the last axes that both means are over, or None."""
    count = len(extents(norm.x) or [])
    found = [integers(mean, "axes", 1) for mean in norm.means]
    if any(not axes for axes in found):
        return None
    first, second = ({axis % count for axis in axes or []} if count else set() for axes in found)
    if first != second or not first or first != set(range(min(first), count)):
        return None
    return min(first)


def _replace(norm: _Norm) -> None:
    """Put the operator in the place of the last part."""
    first, sizes = _first_axis(norm) or 0, extents(norm.x) or []
    attributes = [
        ir.AttrInt64("axis", first - len(sizes)),
        ir.AttrFloat32("epsilon", _number(norm.epsilon) or 0.0),
    ]
    inputs = [norm.x, norm.scale, *([] if norm.bias is None else [norm.bias])]
    exchange(norm.parts, ir.Node("", "LayerNormalization", inputs, attributes))
