"""A node from text: ``Gather{indices=[0,2],axis=1}`` behind a tensor.

The keys are attributes and inputs as the operator calls them at the model's opset. An input is a
number or a list (a new constant), ``@file.npy`` (a constant from a file), or the name of a tensor.
The tensor that the node is put behind goes into the first input without a key.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from onnx_passes.core.contract import UsageError
from onnx_passes.core.passlist import parse_call
from onnx_passes.core.registry import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx.defs import OpSchema

_KINDS = {"b": ("bool",), "i": ("int64", "int32", "float"), "f": ("float", "float16", "double")}


@dataclasses.dataclass(frozen=True)
class Operator:
    """What a text says of a node.

    Attributes:
        kind: Its operator.
        inputs: The tensors it reads: names, arrays for new constants, None for one left out.
        labels: What the operator calls these inputs.
        attributes: Its attributes.
        outputs: How many outputs it must have.
    """

    kind: str
    inputs: tuple[str | np.ndarray[Any, Any] | None, ...]
    labels: tuple[str, ...]
    attributes: tuple[ir.Attr, ...]
    outputs: int


def read_operator(text: str, tensor: ir.Value, dtype: ir.DataType | None, opset: int) -> Operator:
    """Return the node that ``text`` describes, behind ``tensor``.

    Args:
        text: ``NAME{key=value,...}``.
        tensor: What the node is put behind.
        dtype: Of the tensor; None if it is not known.
        opset: Of the model's default domain.

    Raises:
        UsageError: For an unknown operator or key, a missing one, or a value that does not fit.
    """
    kind, options = parse_call(text, "operator")
    schema = _schema(kind, opset)
    _refuse_unknown(schema, options)
    inputs, labels = _inputs(schema, options, tensor.name or "", dtype)
    attributes = tuple(
        _attribute(kind, schema.attributes[key], value)
        for key, value in options.items()
        if key in schema.attributes
    )
    return Operator(kind, inputs, labels, attributes, max(1, schema.min_output))


def _schema(kind: str, opset: int) -> OpSchema:
    try:
        return onnx.defs.get_schema(kind, opset)
    except onnx.defs.SchemaError:
        names = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
        msg = f"opset {opset} has no operator {kind!r}{did_you_mean(kind, sorted(names - {kind}))}"
        raise UsageError(msg) from None


def _refuse_unknown(schema: OpSchema, options: Mapping[str, Any]) -> None:
    """Refuse keys the operator does not have, and the lack of attributes it needs."""
    known = [*(formal.name for formal in schema.inputs), *schema.attributes]
    for key in options:
        if key not in known:
            near = did_you_mean(key, known)
            msg = f"{schema.name} has no input or attribute {key!r}{near} (it takes {known})"
            raise UsageError(msg)
    for key, attribute in schema.attributes.items():
        if attribute.required and key not in options:
            msg = f"{schema.name} needs attribute {key!r}, as in {schema.name}{{{key}=...}}"
            raise UsageError(msg)


def _inputs(
    schema: OpSchema, options: Mapping[str, Any], tensor: str, dtype: ir.DataType | None
) -> tuple[tuple[str | np.ndarray[Any, Any] | None, ...], tuple[str, ...]]:
    """Return the inputs in the operator's order, and what it calls them."""
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic
    formals = list(schema.inputs)
    place = next((f for f in formals if f.name not in options or f.option == variadic), None)
    if place is None:
        msg = f"{schema.name} has no input left for {tensor!r}; drop one of its keys"
        raise UsageError(msg)
    inputs: list[str | np.ndarray[Any, Any] | None] = []
    labels: list[str] = []
    for formal in formals:
        found: list[Any] = [tensor] if formal is place else []
        if formal.name in options:
            value = options[formal.name]
            several = formal.option == variadic and isinstance(value, tuple)
            same = dtype if formal.type_str == place.type_str else None
            found += [_operand(schema, formal, v, same) for v in (value if several else (value,))]
        inputs += found or [None]
        labels += [formal.name] * len(found or [None])
    while inputs and inputs[-1] is None:
        inputs.pop()
    return _complete(schema, inputs, labels)


def _complete(
    schema: OpSchema, inputs: list[str | np.ndarray[Any, Any] | None], labels: list[str]
) -> tuple[tuple[str | np.ndarray[Any, Any] | None, ...], tuple[str, ...]]:
    """Refuse an operator that lacks an input it needs."""
    for index in range(schema.min_input):
        if index >= len(inputs) or inputs[index] is None:
            name = schema.inputs[min(index, len(schema.inputs) - 1)].name
            msg = f"{schema.name} needs input {name!r}, as in {schema.name}{{{name}=...}}"
            raise UsageError(msg)
    return tuple(inputs), tuple(labels[: len(inputs)])


def _operand(
    schema: OpSchema,
    formal: OpSchema.FormalParameter,
    value: Any,  # noqa: ANN401  any literal
    dtype: ir.DataType | None,
) -> str | np.ndarray[Any, Any]:
    """Return the name of a tensor, or the array of a new constant.

    Args:
        schema: Of the operator.
        formal: The input.
        value: What the text gives for it.
        dtype: What it must be; None lets the values choose among what the operator takes.
    """
    where = f"input {formal.name!r} of {schema.name}"
    if isinstance(value, str) and not value.startswith("@"):
        return value
    array = _from_file(value[1:], where) if isinstance(value, str) else _from_text(value, where)
    dtype = dtype or _choose(_allowed(schema, formal), array)
    cast = array.astype(dtype.numpy())
    if cast.dtype.kind in "biu" and not np.array_equal(cast, array):
        msg = f"{where} is {value!r}, which is no {dtype.name.lower()}"
        raise UsageError(msg)
    return cast


def _choose(allowed: list[str], array: np.ndarray[Any, Any]) -> ir.DataType:
    """Return the dtype in which an operator that allows several takes a constant."""
    names = [name.removeprefix("tensor(").removesuffix(")") for name in allowed]
    fits = [name for name in _KINDS[array.dtype.kind] if name in names] or names
    return ir.DataType.FLOAT if fits[0] == "float" else ir.DataType[fits[0].upper()]


def _allowed(schema: OpSchema, formal: OpSchema.FormalParameter) -> list[str]:
    for constraint in schema.type_constraints:
        if constraint.type_param_str == formal.type_str:
            return list(constraint.allowed_type_strs)
    return [formal.type_str]


def _from_text(value: Any, where: str) -> np.ndarray[Any, Any]:  # noqa: ANN401  any literal
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in _KINDS:
        msg = f"{where} is {value!r}, expected numbers, @file.npy or the name of a tensor"
        raise UsageError(msg)
    return array


def _from_file(path: str, where: str) -> np.ndarray[Any, Any]:
    try:
        array = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        msg = f"{where}: {path} cannot be read as a .npy file: {error}"
        raise UsageError(msg) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS:
        msg = f"{where}: {path} is no .npy file with one array of numbers"
        raise UsageError(msg)
    return array


def _attribute(kind: str, attribute: OpSchema.Attribute, value: Any) -> ir.Attr:  # noqa: ANN401  any literal
    """Return ``value`` as the type that the attribute has."""
    name, wanted = attribute.name, str(attribute.type).rpartition(".")[2]
    if wanted.endswith("S") and not isinstance(value, tuple):
        value = (value,)
    if kind in {"Cast", "CastLike"} and name == "to" and isinstance(value, str):
        value = getattr(ir.DataType, value.upper(), value)
    if wanted in {"INT", "INTS"} and _all(value, int):
        return ir.Attr(name, ir.AttributeType[wanted], _each(value, int))
    if wanted in {"FLOAT", "FLOATS"} and _all(value, (int, float)):
        return ir.Attr(name, ir.AttributeType[wanted], _each(value, float))
    if wanted in {"STRING", "STRINGS"} and _all(value, str):
        return ir.Attr(name, ir.AttributeType[wanted], value)
    msg = f"attribute {name!r} of {kind} is {value!r}, expected {wanted}"
    raise UsageError(msg)


def _all(value: Any, kind: type | tuple[type, ...]) -> bool:  # noqa: ANN401  any literal
    return all(isinstance(one, kind) for one in (value if isinstance(value, tuple) else (value,)))


def _each(value: Any, kind: type) -> Any:  # noqa: ANN401  any literal
    return tuple(map(kind, value)) if isinstance(value, tuple) else kind(value)
