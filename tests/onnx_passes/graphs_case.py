"""From a sketch to a case: a model, its declared interface, and the feeds to compare it on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from hypothesis import reject
from hypothesis import strategies as st
from onnx import helper

from tests.onnx_passes.graphs import DOMAIN, Array, Book, Sketch, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypothesis.vendor.pretty import RepresentationPrinter

    Maker = Callable[[Sketch], None]

Feeds = dict[str, Array]
# Where a window is larger than its input, or a sequence or an axis of Einsum empty, onnxruntime
# pools what is not there, aborts or does not end.
_NEEDS_ROOM = (b"AveragePool", b"Conv", b"Einsum", b"LSTM", b"GRU", b"RNN")
# Passes say on their pages that these take no empty input of unknown extents any more.
_NOT_EMPTY = (b"oftmax", b"Hardmax", b"GridSample")
OPSETS = (16, 11, 12, 13, 14, 15, 17, 18, 19, 20)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and its feeds; the later sets are for other sizes, which the model may refuse."""

    model: onnx.ModelProto
    feeds: list[Feeds]

    def _repr_pretty_(self, printer: RepresentationPrinter, cycle: bool) -> None:
        """Let hypothesis print the model as text."""
        arrays = {name: array.tolist() for name, array in self.feeds[0].items()}
        printer.text(f"{onnx.printer.to_text(self.model)}\nfed with {arrays}")


@st.composite
def cases(
    draw: st.DrawFn, makers: Sequence[Maker], *, most: int = 6, opsets: Sequence[int] = OPSETS
) -> Case:
    """Draw a case from a vocabulary."""
    book = Book(opset=draw(st.sampled_from(opsets)))
    sketch = Sketch(draw, book, makers=makers)
    while not sketch.made:
        sketch.grow(sketch.number(1, most))
    dims = {name: _declared(sketch, value) for name, (value, _) in book.inputs.items()}
    model = _model(sketch, dims)
    _record(sketch, model)
    onnx.checker.check_model(model, full_check=True)
    return Case(model, _feeds(sketch, model, dims))


def _declared(sketch: Sketch, value: Tensor) -> list[int | str | None]:
    """Draw how each dimension of an input is declared; one symbol always has one size."""
    styles = ("number",) if not sketch.flip(2) else ("symbol", "symbol", "number", "other", "none")
    written: dict[str, Callable[[int], int | str | None]] = {
        "number": lambda size: size,
        "symbol": lambda size: f"D{size}",
        "other": lambda size: f"E{size}",
        "none": lambda _: None,
    }
    return [written[sketch.one_of(*styles)](size) for size in value.shape]


def _model(sketch: Sketch, dims: dict[str, list[int | str | None]]) -> onnx.ModelProto:
    book, last = sketch.book, sketch.made[-1]
    others = [value for value in sketch.made[:-1] if sketch.flip(4)]
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), dims[name]
        )
        for name, (value, _) in book.inputs.items()
    ]
    inputs += [
        helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in book.defaults
    ]
    outputs = [
        helper.make_tensor_value_info(
            v.name, helper.np_dtype_to_tensor_dtype(v.dtype), [None] * v.rank
        )
        for v in [*others, last]
    ]
    graph = helper.make_graph(sketch.nodes, "g", inputs, outputs, sketch.initializers)
    imports = [helper.make_opsetid("", book.opset)]
    if book.functions:
        imports.append(helper.make_opsetid(DOMAIN, 1))
    return helper.make_model(graph, ir_version=9, opset_imports=imports, functions=book.functions)


def _record(sketch: Sketch, model: onnx.ModelProto) -> None:
    """Write down the shapes that onnx infers, all or some, and the outputs' shapes or not."""
    kept = sketch.one_of("all", "all", "some", "none")
    inferred = _inferred(model)
    if kept != "none":
        infos = [info for info in inferred.graph.value_info if kept == "all" or sketch.flip()]
        model.graph.value_info.extend(infos)
    for mine, known in zip(model.graph.output, inferred.graph.output, strict=True):
        if known.type.tensor_type.HasField("shape") and not sketch.flip(6):
            mine.CopyFrom(known)
            for dim in mine.type.tensor_type.shape.dim:
                if dim.dim_param.startswith("unk__"):
                    dim.ClearField("dim_param")


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError:  # two branches with a Shape of one name, say
        pass
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        reject()  # onnx is wrong about an unknown rank


def _feeds(
    sketch: Sketch, model: onnx.ModelProto, dims: dict[str, list[int | str | None]]
) -> list[Feeds]:
    """Return feeds at the drawn sizes, with special numbers, and at two other sizes."""
    seed, inputs = sketch.number(0, 3), sketch.book.inputs
    sets = [_feed(inputs, {}, seed, special=special, dims=dims) for special in (False, True)]
    symbols = {dim for row in dims.values() for dim in row if not isinstance(dim, int)}
    text = model.SerializeToString()
    sizes: tuple[int, ...] = (1, 5) if any(name in text for name in _NOT_EMPTY) else (0, 1, 5)
    sizes = (9,) if any(name in text for name in _NEEDS_ROOM) else sizes
    for size in sizes if symbols else ():
        moved = {symbol: size for symbol in symbols if symbol is not None}
        other = _feed(inputs, moved, seed, special=False, dims=dims)
        sets += [other] if _is_legal(model, other) else []
    return sets


def _is_legal(model: onnx.ModelProto, feeds: Feeds) -> bool:
    """Return whether onnx finds no fault at these sizes; onnxruntime joins what does not fit."""
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    del bound.graph.value_info[:]
    for value in bound.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(
            dims, feeds[value.name].shape if value.name in feeds else (), strict=False
        ):
            dim.dim_value = size
    for value in bound.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    try:
        onnx.shape_inference.infer_shapes(bound, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True


def _feed(
    inputs: dict[str, tuple[Tensor, Array | None]],
    sizes: dict[str, int],
    seed: int,
    *,
    special: bool,
    dims: dict[str, list[int | str | None]],
) -> Feeds:
    rng = np.random.default_rng(seed)
    feeds: Feeds = {}
    for name, (value, given) in inputs.items():
        shape = [
            sizes.get(dim, old) if isinstance(dim, str) else old
            for dim, old in zip(dims[name], value.shape, strict=True)
        ]
        same = given is not None and tuple(shape) == given.shape
        feeds[name] = (
            given if same and given is not None else _array(rng, value.dtype, shape, special)
        )
    return feeds


def _array(
    rng: np.random.Generator, dtype: np.dtype[Any], shape: Sequence[int], special: bool
) -> Array:
    array = np.asarray(rng.integers(-3, 4, shape))
    if dtype.kind == "b":
        return array > 0
    made = array.astype(dtype)
    if dtype.kind != "f":
        return made
    made = np.where(array == 0, np.copysign(0, rng.standard_normal(shape)), made).astype(dtype)
    odd = rng.choice(np.array([np.nan, np.inf, -np.inf, -0.0, 1e30]), shape)
    return np.where(rng.random(shape) < 0.3, odd, made).astype(dtype) if special else made
