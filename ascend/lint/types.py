"""Types and shapes of tensors: what the chip has no units for, and what nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from ascend.lint.finding import Finding, Subject
from ascend.op_support.node_query import dtype_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ascend.lint.finding import Level
    from ascend.op_support.table import OpSupport

# Inputs that hold indices, axes, sizes or counts; an int64 tensor that ends there only is no data.
_SECOND = (
    *("Gather", "GatherElements", "GatherND", "ScatterND", "ScatterElements", "Scatter", "Split"),
    *("Reshape", "Expand", "Tile", "TopK", "CumSum", "Trilu", "Squeeze", "Unsqueeze", "ReduceSum"),
    *("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
)
_INDEX_INPUTS: dict[str, frozenset[int]] = {
    **dict.fromkeys(_SECOND, frozenset({1})),
    **dict.fromkeys(("ConstantOfShape", "If", "Shape", "Size"), frozenset({0})),
    **dict.fromkeys(("Pad", "Slice"), frozenset({1, 2, 3, 4})),
    **dict.fromkeys(("Resize", "Upsample"), frozenset({2, 3})),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), frozenset({4})),
    "OneHot": frozenset({0, 1}),
}
# What kernels of the AI Core or the AI CPU are written for; other dtypes are in no table.
_KNOWN = {"float16", "float32", "float64", "bool"}
_KNOWN |= {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_DOUBLE = "information files of CANN 8.1.RC1: float64 kernels are the AI CPU's (source)"
_INT64 = "platform file of the 310P: no native int64 vector conversion (source)"
_TABLE = "information files of CANN 8.1.RC1 (calculated)"
_SEQUENCES = "not tried with ATC (unverified)"
_INFERENCE = "onnx's shape inference (calculated)"


def type_findings(model: ir.Model, support: OpSupport) -> Iterator[Finding]:
    """Yield what is to be said of the types and shapes of values."""
    for value in model.graph.inputs:
        yield from _of_dtype(Subject(f"input {value.name!r}", "input"), value, support)
    static_inputs = all(_has_sizes(value) for value in model.graph.inputs)
    data = _int64_data(model)
    for node in model.graph.all_nodes():
        subject = Subject.of(node)
        for value in node.outputs:
            yield from _of_dtype(subject, value, support)
            if value in data:
                why = "int64 data: it is read as numbers, not as an index or a shape"
                yield Finding("TY003", "info", subject, why, _INT64, "narrow-int64")
            if value.name and static_inputs and not _has_sizes(value):
                yield Finding("SH004", "info", subject, _unknown(value), _INFERENCE, "fold-shapes")


def _of_dtype(subject: Subject, value: ir.Value, support: OpSupport) -> Iterator[Finding]:
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        if subject.kind != "input":  # of which more is said elsewhere
            why = f"{type(value.type).__name__} is no tensor; only few operators take it"
            yield Finding("TY004", "warning", subject, why, _SEQUENCES)
        return
    dtype = dtype_name(value.dtype)
    level: Level = "warning" if support.engines_known else "info"
    if dtype == "float64":
        why = "float64 is for the AI CPU, for nearly all operators"
        yield Finding("TY002", level, subject, why, _DOUBLE, "drop-double")
    elif dtype is not None and dtype not in _KNOWN:
        why = f"no kernel of the table takes {dtype}"
        yield Finding("TY005", level, subject, why, _TABLE)


def _int64_data(model: ir.Model) -> set[ir.Value]:
    """Return the int64 values that some node or the caller reads as numbers.

    Arithmetic whose int64 result is an index is about indices: nodes are asked from the last on.
    """
    data = {value for value in model.graph.outputs if _is_int64(value)}
    for node in reversed(list(model.graph.all_nodes())):
        is_data = not node.outputs or any(not _is_int64(v) or v in data for v in node.outputs)
        if not is_data:
            continue
        indices = _INDEX_INPUTS.get(node.op_type, frozenset()) if not node.domain else frozenset()
        for position, value in enumerate(node.inputs):
            if value is not None and position not in indices and _is_int64(value):
                data.add(value)
    return data


def _is_int64(value: ir.Value) -> bool:
    return value.dtype == ir.DataType.INT64 and isinstance(value.type, ir.TensorType)


def _has_sizes(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.is_static()


def _unknown(value: ir.Value) -> str:
    return "its shape is not known" if value.shape is None else "its shape depends on data"
