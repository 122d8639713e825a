"""Feeds for a check: given ones are validated, others generated from what the model declares.

A generated feed depends only on the model's declared inputs, the seed and the given shapes, so a
run can be repeated from what it prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_passes.core.contract import UsageError
from onnx_passes.numerics.ranges import integer_range

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.numerics.compare import Array
    from onnx_passes.numerics.runner import Arrays

Shapes = Mapping[str, Sequence[int]]

# Value metadata that declares the range of a float input: "0,1".
RANGE_KEY = "onnx_passes.range"
# Sizes for dimensions nobody bound: a batch of 2 shows errors a batch of 1 hides; 32 survives the
# five halvings of a usual image network.
DEFAULT_BATCH = 2
DEFAULT_SIZE = 32
# Width of the detail in a generated picture, in pixels.
IMAGE_GRAIN_PX = 4


def generate(
    model: ir.Model,
    *,
    seed: int = 0,
    shapes: Shapes | None = None,
    sizes: tuple[int, int] = (DEFAULT_BATCH, DEFAULT_SIZE),
) -> Arrays:
    """Return one array per graph input.

    Args:
        model: Its inputs declare dtype and shape; float inputs may declare a range in the value
            metadata ``onnx_passes.range`` ("low,high"), else they are N(0, 1), smooth where the
            shape is an image's. Integers stay within what their consumers index.
        seed: Seed of the generator; each input has its own stream.
        shapes: Sizes by input name; they bind the input's symbolic dimensions everywhere.
        sizes: For symbolic dimensions nobody bound: on the first axis, on any other.

    Raises:
        UsageError: If a shape does not fit, or an input's dtype or rank cannot be generated.
    """
    values = graph_inputs(model)
    static = resolve_shapes(values, shapes or {}, sizes)
    streams = np.random.default_rng(seed).spawn(len(values))
    try:
        return {
            _name(value): _array(value, static[_name(value)], rng)
            for value, rng in zip(values, streams, strict=True)
        }
    except (MemoryError, ValueError) as error:
        msg = f"feeds of shapes {static} cannot be generated: {error}"
        raise UsageError(msg) from error


def graph_inputs(model: ir.Model) -> list[ir.Value]:
    """Return the inputs a caller must feed: those without a default value."""
    initializers = model.graph.initializers
    return [value for value in model.graph.inputs if value.name not in initializers]


def resolve_shapes(
    values: Sequence[ir.Value],
    given: Shapes,
    sizes: tuple[int, int] = (DEFAULT_BATCH, DEFAULT_SIZE),
) -> dict[str, tuple[int, ...]]:
    """Return a static shape for every input; one symbol has one size everywhere.

    Raises:
        UsageError: If a given shape contradicts the model or another one.
    """
    names = [_name(value) for value in values]
    for name in given:
        if name not in names:
            msg = f"--shape names input {name!r}, the model has {', '.join(names) or 'no inputs'}"
            raise UsageError(msg)
        _refuse_bad_sizes(name, given[name])
    symbols: dict[str, int] = {}
    for value in values:
        if _name(value) in given:
            _bind(value, given[_name(value)], symbols)
    return {_name(value): _static_shape(value, given, symbols, sizes) for value in values}


def has_symbols(model: ir.Model) -> bool:
    """Return whether any graph input has a dimension without a fixed size."""
    return any(
        value.shape is not None and not all(isinstance(dim, int) for dim in value.shape)
        for value in graph_inputs(model)
    )


def narrows(original: ir.Model, model: ir.Model) -> bool:
    """Return whether an input of ``model`` has a fixed size that the original leaves open."""
    open_before = {_name(value): value.shape for value in graph_inputs(original)}
    for value in graph_inputs(model):
        old = open_before.get(_name(value), value.shape)
        if value.shape is not None and any(
            isinstance(dim, int) and (old is None or not isinstance(old[axis], int))
            for axis, dim in enumerate(value.shape)
        ):
            return True
    return False


def validate(model: ir.Model, feeds: Mapping[str, Any]) -> Arrays:
    """Return the feeds the model needs, checked for name, dtype, rank and fixed sizes.

    Raises:
        UsageError: Naming the input, what was given and what is expected.
    """
    values = graph_inputs(model)
    names = [_name(value) for value in values]
    if missing := [name for name in names if name not in feeds]:
        msg = f"feeds lack input {missing[0]!r}; the model needs {', '.join(names)}"
        raise UsageError(msg)
    if extra := sorted(set(feeds) - set(names)):
        msg = f"feeds hold {extra[0]!r}, which is no input; the model needs {', '.join(names)}"
        raise UsageError(msg)
    symbols: dict[str, int] = {}
    arrays: Arrays = {}
    for value in values:
        name = _name(value)
        array = np.asarray(feeds[name])
        if value.dtype is not None and array.dtype != value.dtype.numpy():
            msg = f"feed {name!r} is {array.dtype}, the model's input is {value.dtype.numpy()}"
            raise UsageError(msg)
        _bind(value, array.shape, symbols)
        arrays[name] = array
    return arrays


def describe(feeds: Mapping[str, Any]) -> str:
    """Return ``x float32 [2, 3, 32, 100], ids int64 [2]``."""
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in feeds.items())


def _refuse_bad_sizes(name: str, sizes: object) -> None:
    """Refuse what a recipe or a caller may write for a shape by mistake."""
    whole = isinstance(sizes, Sequence) and all(
        isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size >= 0
        for size in sizes
    )
    if not whole:
        msg = f"the shape of input {name!r} is {sizes!r}, expected sizes like [8, 3, 32, 100]"
        raise UsageError(msg)


def _static_shape(
    value: ir.Value, given: Shapes, symbols: dict[str, int], sizes: tuple[int, int]
) -> tuple[int, ...]:
    name = _name(value)
    if name in given:
        return tuple(int(dim) for dim in given[name])
    if value.shape is None:
        msg = f"input {name!r} has no declared rank; give --shape {name}=D0,D1,..."
        raise UsageError(msg)
    return tuple(_size(dim, sizes[axis > 0], symbols) for axis, dim in enumerate(value.shape))


def _size(dim: int | ir.SymbolicDim, default: int, symbols: dict[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    return symbols.setdefault(dim.value, default) if dim.value else default


def _bind(value: ir.Value, sizes: Sequence[int], symbols: dict[str, int]) -> None:
    """Check ``sizes`` against the declared shape and remember what each symbol is."""
    name, shape = _name(value), value.shape
    if shape is None:
        return
    wanted = "[" + ", ".join(str(getattr(dim, "value", dim) or "?") for dim in shape) + "]"
    if len(shape) != len(sizes):
        msg = f"input {name!r} is {wanted}, got {len(sizes)} sizes: {list(sizes)}"
        raise UsageError(msg)
    for dim, size in zip(shape, sizes, strict=True):
        if isinstance(dim, int):
            expected = dim
        else:
            expected = symbols.setdefault(dim.value, int(size)) if dim.value else int(size)
        if expected != size:
            msg = f"input {name!r} is {wanted}, got {list(sizes)}: {dim} is {expected}, not {size}"
            raise UsageError(msg)


def _array(value: ir.Value, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if value.dtype is None:
        msg = f"input {_name(value)!r} declares no dtype; give --feeds"
        raise UsageError(msg)
    if not value.dtype.is_floating_point() and not value.dtype.is_integer():
        if value.dtype.name == "BOOL":
            return rng.integers(0, 2, shape).astype(bool)
        msg = f"input {_name(value)!r} is {value.dtype.name}, which is not generated; give --feeds"
        raise UsageError(msg)
    if value.dtype.is_integer():
        low, high = integer_range(value)
        return rng.integers(low, high, shape).astype(value.dtype.numpy())
    return _floats(value, shape, rng).astype(value.dtype.numpy())


def _floats(value: ir.Value, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    declared = value.metadata_props.get(RANGE_KEY)
    if declared is None:
        return _image(shape, rng) if _is_image(shape) else rng.standard_normal(shape)
    try:
        low, high = (float(bound) for bound in declared.split(","))
    except ValueError:
        msg = f"input {_name(value)!r}: {RANGE_KEY} is {declared!r}, expected 'low,high'"
        raise UsageError(msg) from None
    return rng.uniform(low, high, shape)


def _is_image(shape: tuple[int, ...]) -> bool:
    """Return whether a shape reads as N C H W pictures."""
    rank, smallest = len("NCHW"), 4 * IMAGE_GRAIN_PX
    return len(shape) == rank and shape[1] in {1, 3, 4} and min(shape[2:]) >= smallest


def _image(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return random pictures whose detail is :data:`IMAGE_GRAIN_PX` wide.

    A picture's neighbouring pixels resemble each other; in white noise they do not, and a network
    that resamples its input then turns rounding errors into large ones.
    """
    coarse = [max(2, -(-size // IMAGE_GRAIN_PX)) for size in shape[2:]]
    pixels = rng.standard_normal((*shape[:2], *coarse))
    for axis, size in ((2, shape[2]), (3, shape[3])):
        places = np.linspace(0, pixels.shape[axis] - 1, size)
        low = np.minimum(places.astype(int), pixels.shape[axis] - 2)
        share = np.expand_dims(
            places - low, tuple(other for other in range(len(shape)) if other != axis)
        )
        below, above = np.take(pixels, low, axis), np.take(pixels, low + 1, axis)
        pixels = below * (1 - share) + above * share
    return np.asarray(pixels)


def _name(value: ir.Value) -> str:
    return value.name or ""
