"""What ATC needs of a model as a whole: sizes of its inputs, tensors, one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from ascend.atc.shapes import DYNAMIC, Gears, largest, why_not_gears
from ascend.lint.finding import MODEL, Finding, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = (1 << 31) - 1  # protobuf's limit for one message
_SIZES = "ATC, --input_shape and E10001 (documented)"
_GEARS = "ATC, --dynamic_batch_size, --dynamic_image_size, --dynamic_dims (documented)"
_TENSORS = "ATC, --input_shape: an input has a shape (documented)"
_PROTOBUF = "protobuf's limit for one message (documented)"
_NOT_TRIED = "not tried with ATC (unverified)"


def input_findings(model: ir.Model, gears: Gears | None) -> Iterator[Finding]:
    """Yield what is to be said of inputs, outputs and the file."""
    yield from _sizes(model, gears)
    sides = (("input", model.graph.inputs), ("output", model.graph.outputs))
    for side, values in sides:
        for value in values:
            if value.type is not None and not isinstance(value.type, ir.TensorType):
                kind = type(value.type).__name__
                why = f"{kind} is no tensor"
                yield Finding("TY001", "error", _subject(side, value), why, _TENSORS)
    yield from _file(model)


def shapes_at_largest(model: ir.Model, gears: Gears) -> dict[str, tuple[int, ...]]:
    """Return the sizes of the dynamic inputs at the largest gear; empty if the gears do not fit."""
    if _why_not(gears, model):
        return {}
    gear = largest(gears)
    # For dims a gear has one number for each dynamic size of all inputs; else inputs share it.
    numbers = iter(gear)
    shapes = {}
    for value in _fed(model):
        numbers = numbers if gears.kind == "dims" else iter(gear)
        if not _is_static(value):
            sizes = [next(numbers) if size == DYNAMIC else size for size in _spelled(value)]
            shapes[value.name or ""] = tuple(sizes)
    return shapes


def _why_not(gears: Gears, model: ir.Model) -> str:
    shapes = tuple((value.name or "", _spelled(value)) for value in _fed(model))
    if unknown := [value.name for value in _fed(model) if value.shape is None]:
        return f"the rank of input {unknown[0]!r} is not known"
    return why_not_gears(gears, shapes, "ND" if gears.kind == "dims" else "NCHW")


def _sizes(model: ir.Model, gears: Gears | None) -> Iterator[Finding]:
    if gears is not None and (reason := _why_not(gears, model)):
        yield Finding("SH002", "error", MODEL, reason, _GEARS)
        return
    for value in _fed(model):
        if _is_static(value):
            continue
        subject = _subject("input", value)
        if gears is None:
            yield Finding("SH001", "warning", subject, _dynamic(value), _SIZES, "pin-shape")
        else:
            why = f"{_dynamic(value)}; gears for {gears.kind} serve it"
            yield Finding("SH003", "info", subject, why, _GEARS)


def _fed(model: ir.Model) -> list[ir.Value]:
    """Return the inputs without those that have a default: old files list their weights."""
    return [value for value in model.graph.inputs if value.const_value is None]


def _is_static(value: ir.Value) -> bool:
    return value.shape is not None and value.shape.is_static()


def _spelled(value: ir.Value) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else DYNAMIC for dim in value.shape or ())


def _dynamic(value: ir.Value) -> str:
    if value.shape is None:
        return "its rank is not known; ATC needs sizes"
    return f"{value.shape} is dynamic; ATC needs sizes or gears"


def _subject(side: str, value: ir.Value) -> Subject:
    return Subject(f"{side} {value.name!r}", side)


def _file(model: ir.Model) -> Iterator[Finding]:
    tensors = [
        value.const_value
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    ]
    total = sum(tensor.nbytes for tensor in tensors)
    if total > MOST_BYTES:
        why = f"its weights have {total} bytes, one file holds {MOST_BYTES}"
        yield Finding("EX002", "warning", MODEL, why, _PROTOBUF)
    outside = [tensor for tensor in tensors if isinstance(tensor, ir.ExternalTensor)]
    if outside:
        why = f"{len(outside)} tensors are in files beside it; keep them together"
        yield Finding("EX001", "info", MODEL, why, _NOT_TRIED)
