"""Steps that only widened an operator, and whether a node fits the narrower side.

A step stands in ``WIDENED`` if the newer version accepts all that the older one does and means the
same by it: it added dtypes, or attributes and inputs whose absence is the old behaviour. Going up
such a node stays as it is. Going down it does if it uses none of the additions, which the two
schemas tell. The table is made by hand: no schema tells whether the meaning changed.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import onnx_ir as ir

from onnx_passes.opsets.site import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

_BY_STEP = {
    12: "ArgMax ArgMin Clip GatherND Max MaxPool Min Pow ReduceMax ReduceMin",
    13: "Abs Add ArgMax ArgMin Cast Ceil Clip Concat Constant DepthToSpace Div Dropout Equal Erf "
    "Exp Expand Flatten Floor Gather GatherElements GatherND Gemm Greater Identity If IsNaN LRN "
    "Less Log Loop MatMul Max Mean MeanVarianceNormalization Min Mod Mul Neg NonZero Pad Pow "
    "Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
    "ReduceProd ReduceSumSquare Relu Reshape ScatterElements ScatterND Shape Sigmoid Sign Size "
    "Slice SpaceToDepth Sqrt Sub Sum Tanh Tile Transpose",
    14: "Add CumSum Div GRU Identity LSTM Mul RNN Relu Sub",
    15: "BatchNormalization Pow",
    16: "GreaterOrEqual Identity If LeakyRelu LessOrEqual Loop PRelu Scan ScatterElements "
    "ScatterND Where",
    18: "LpPool ScatterElements ScatterND",
    19: "Cast CastLike Constant DequantizeLinear Equal Identity If Loop QuantizeLinear "
    "Reshape Scan Shape Size",
    20: "ConstantOfShape IsInf IsNaN ReduceMax ReduceMin",
}
WIDENED = {(kind, step) for step, kinds in _BY_STEP.items() for kind in kinds.split()}


Likeness: TypeAlias = "tuple[object, ...]"


@functools.cache
def schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """Return the schema of an operator of the default domain in an opset, or None."""
    import onnx

    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


class _Formal(NamedTuple):
    """A parameter of a schema, read once: each look at a schema copies what it finds."""

    types: frozenset[str]
    type_str: str
    is_homogeneous: bool


class _Limits(NamedTuple):
    """What a version of an operator takes."""

    since_version: int
    attributes: frozenset[str]
    max_input: int
    max_output: int
    inputs: tuple[_Formal, ...]
    outputs: tuple[_Formal, ...]


@functools.cache
def _limits(op_type: str, opset: int) -> _Limits | None:
    known = schema(op_type, opset)
    if known is None:
        return None
    inputs, outputs = (
        tuple(_Formal(frozenset(item.types), item.type_str, item.is_homogeneous) for item in items)
        for items in (known.inputs, known.outputs)
    )
    attributes = frozenset(known.attributes)
    return _Limits(
        known.since_version, attributes, known.max_input, known.max_output, inputs, outputs
    )


@functools.cache
def is_step(op_type: str, opset: int) -> bool:
    """Return whether ``opset`` brought a new version of an operator, its first one too."""
    known = schema(op_type, opset)
    return known is not None and known.since_version == opset


def fit(node: ir.Node, opset: int) -> None:
    """Drop attributes that ``opset`` lacks and that are at their defaults.

    Raises:
        Refusal: If ``node`` uses what the operator's version of ``opset`` does not have.
    """
    before = likeness(node)
    if (before, opset) in _fitting:
        return
    older, newer = _limits(node.op_type, opset), _limits(node.op_type, opset + 1)
    if older is None or newer is None:
        msg = f"opset {opset} has no {node.op_type}"
        raise Refusal(msg)
    if node.version is not None:
        node.version = older.since_version
    for name in [name for name in node.attributes if name not in older.attributes]:
        if not _is_default(node.attributes[name], schema(node.op_type, opset + 1)):
            msg = f"opset {opset} has no attribute {name!r} of {node.op_type}"
            raise Refusal(msg)
        del node.attributes[name]
    for kind, used, most in (
        ("inputs", node.inputs, older.max_input),
        ("outputs", [value if value.name else None for value in node.outputs], older.max_output),
    ):
        if (count := _count(used)) > most:
            msg = f"{node.op_type} has {count} {kind}, in opset {opset} it has {most}"
            raise Refusal(msg)
    _fit_types(node.inputs, older.inputs, newer.inputs, opset)
    _fit_types(node.outputs, older.outputs, newer.outputs, opset)
    if before is not None and before == likeness(node):  # no attribute was dropped
        _fitting.add((before, opset))


_fitting: set[tuple[Likeness, int]] = set()


def likeness(node: ir.Node) -> Likeness | None:
    """Return what nodes that fit alike have in common: most nodes of a model are alike.

    It is all that :func:`fit` looks at: operator, attribute names and types. None where other
    things count too.
    """
    if node.version is not None:
        return None
    types: list[object] = []
    for value in (*node.inputs, None, *node.outputs):
        if value is None or not value.name:
            types.append(value is None)
        elif type(value.type) is ir.TensorType:
            types.append(value.type.dtype)
        else:
            return None
    return (node.op_type, *node.attributes.data, *types)


def _count(used: Sequence[ir.Value | None]) -> int:
    """Return the number of values up to the last one that is there."""
    return max((index for index, value in enumerate(used, 1) if value is not None), default=0)


def _is_default(attribute: ir.Attr, newer: onnx.defs.OpSchema | None) -> bool:
    """Return whether an attribute says what its absence says."""
    known = newer.attributes.get(attribute.name) if newer is not None else None
    if known is None or attribute.is_ref() or not known.default_value.type:
        return False
    default = ir.serde.deserialize_attribute(known.default_value)
    return bool(default.value == attribute.value)


def _fit_types(
    values: Sequence[ir.Value | None],
    older: Sequence[_Formal],
    newer: Sequence[_Formal],
    opset: int,
) -> None:
    """Refuse a type that the older parameters do not take, or one type where they take another."""
    bound: dict[str, str] = {}
    for index, value in enumerate(values):
        if value is None or not value.name:
            continue
        formal = older[min(index, len(older) - 1)]
        wider = newer[min(index, len(newer) - 1)]
        if value.type is None:
            if wider.types > formal.types or wider.type_str != formal.type_str:
                msg = f"the type of {value.name!r} is unknown; run infer-shapes first"
                raise Refusal(msg)
            continue
        kind = _type_text(value.type)
        if kind not in formal.types:
            msg = f"opset {opset} does not take the type {kind} of {value.name!r}"
            raise Refusal(msg)
        if formal.is_homogeneous and bound.setdefault(formal.type_str, kind) != kind:
            msg = f"opset {opset} wants {value.name!r} as {bound[formal.type_str]}, it is {kind}"
            raise Refusal(msg)


def _type_text(kind: ir.TypeProtocol) -> str:
    """Return a type as schemas write it: ``tensor(float)``, ``seq(tensor(int64))``."""
    if type(kind) is ir.TensorType:  # first, since instance checks of these classes are slow
        return _tensor_text(kind.dtype)
    if isinstance(kind, ir.SequenceType):
        return f"seq({_type_text(kind.elem_type)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({_type_text(kind.elem_type)})"
    return _tensor_text(kind.dtype)


@functools.cache
def _tensor_text(dtype: ir.DataType) -> str:
    return f"tensor({ir.DataType(dtype).name.lower()})"
