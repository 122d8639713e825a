"""Names and sizes held against the model, before ATC runs for minutes and then refuses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ascend.atc.known import nearest
from ascend.atc.shapes import DYNAMIC, parse_dims
from ascend.errors import AscendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from ascend.atc.shapes import Dims, GearKind, InputShape, Size

_IMAGE_RANK = 4
_VIDEO_RANK = 5


def inputs_of(model: ir.Model) -> dict[str, ir.Value]:
    """Return the inputs that must be fed: those that are no weights."""
    weights = model.graph.initializers
    return {value.name or "": value for value in model.graph.inputs if value.name not in weights}


def default_batch(model: ir.Model, given: Mapping[str, tuple[str, ...]]) -> int:
    """Return the batch size that the given sizes or the model fix; 1 if there is a choice."""
    sizes = [texts[0] for texts in given.values() if texts]
    own = [value.shape[0] for name, value in inputs_of(model).items() if value.shape]
    if any(not isinstance(size, int) for size in own):
        own = []
    fixed = [int(str(size)) for size in (*sizes, *own) if str(size).isdecimal()]
    return fixed[0] if fixed else 1


def input_shapes(
    model: ir.Model,
    batch: int,
    given: Mapping[str, tuple[str, ...]],
    gears: GearKind | None = None,
) -> InputShape:
    """Return the sizes of all inputs: as given, else as in the model, with the batch put in.

    Args:
        model: The model to compile.
        batch: The size of the first axis where the model leaves it open; -1 for gears.
        given: Sizes of inputs that the caller names, as a user writes them (see `parse_dims`).
        gears: With gears the sizes that they cover are -1.

    Raises:
        AscendError: If a name is unknown, a size contradicts the model, or one stays open.
    """
    inputs = inputs_of(model)
    for name in given:
        if name not in inputs:
            msg = (
                f"--shape names input {name!r}, the model has {', '.join(inputs) or 'none'}"
                f"{nearest(name, inputs)} (ATC: E10016)"
            )
            raise AscendError(msg)
    leading = [value.shape[0] for value in inputs.values() if value.shape]
    symbols = {size.value for size in leading if not isinstance(size, int)} - {None}
    shapes = []
    for name, value in inputs.items():
        if name in given:
            dims = parse_dims(given[name], batch)
            _refuse_contradiction(value, dims)
        else:
            dims = _own_dims(value, batch, {str(symbol) for symbol in symbols}, gears)
        shapes.append((name, dims))
    _refuse_no_batch(shapes, batch)
    return tuple(shapes)


def input_format(shapes: InputShape, gears: GearKind | None) -> str:
    """Return the --input_format for inputs of these ranks."""
    ranks = {len(dims) for _, dims in shapes}
    if gears != "dims" and ranks == {_VIDEO_RANK}:
        return "NCDHW"
    return "NCHW" if gears != "dims" and _IMAGE_RANK in ranks else "ND"


def refuse_out_nodes(model: ir.Model, out_nodes: Sequence[str]) -> None:
    """Refuse names that are neither an output of the model nor ``node:index``.

    Raises:
        AscendError: With the nearest name.
    """
    nodes = {node.name: len(node.outputs) for node in model.graph if node.name}
    outputs = {value.name or "" for value in model.graph.outputs}
    for text in out_nodes:
        name, _, index = text.rpartition(":")
        if text in outputs or (index.isdecimal() and int(index) < nodes.get(name, 0)):
            continue
        if name in nodes:
            why = f"asks for an output that node {name!r} has not: it has {nodes[name]}, from 0"
        else:
            hint = nearest(name or text, [*nodes, *outputs])
            why = f"is no output of the model and no NODE:INDEX{hint}"
        msg = f"--out-nodes {text!r} {why} (ATC: E10016)"
        raise AscendError(msg)


def _own_dims(value: ir.Value, batch: int, symbols: set[str], gears: GearKind | None) -> Dims:
    """Return the sizes of an input that the caller does not name."""
    if value.shape is None:
        msg = f"input {value.name!r} has no known rank; give --shape {value.name}=N,..."
        raise AscendError(msg)
    dims: list[Size] = []
    for axis, size in enumerate(value.shape):
        if isinstance(size, int):
            dims.append(size)
        elif axis == 0 or str(size.value) in symbols:
            dims.append(batch if gears != "dims" else DYNAMIC)
        elif gears == "dims" or (gears == "image" and axis in {2, 3}):
            dims.append(DYNAMIC)
        else:
            msg = (
                f"input {value.name!r} has no fixed size at {axis} ({size.value or '?'}); give "
                f"--shape {value.name}={_template(value)} (ATC: E10001)"
            )
            raise AscendError(msg)
    return tuple(dims)


def _template(value: ir.Value) -> str:
    """Return sizes for a user to complete."""
    dims = enumerate(value.shape or ())
    return ",".join(str(d) if isinstance(d, int) else "SIZE" if axis else "N" for axis, d in dims)


def _refuse_contradiction(value: ir.Value, dims: Dims) -> None:
    if value.shape is None:
        return
    wrong = len(dims) != len(value.shape) or any(
        isinstance(own, int) and own != size for own, size in zip(value.shape, dims, strict=True)
    )
    if wrong:
        shown = ",".join(map(str, dims))
        msg = (
            f"--shape {value.name}={shown} contradicts the model, where {value.name!r} is "
            f"{value.shape}; give sizes that fit"
        )
        raise AscendError(msg)


def _refuse_no_batch(shapes: list[tuple[str, Dims]], batch: int) -> None:
    """Refuse a batch size that no input has."""
    leading = {name: dims[0] for name, dims in shapes if dims}
    if leading and batch not in leading.values() and all(_is_fixed(s) for s in leading.values()):
        name, size = next(iter(leading.items()))
        want = "gears for batch need -1 there" if batch == DYNAMIC else f"no input has {batch}"
        msg = (
            f"input {name!r} has batch {size}, {want}; give --batch {size}, put N in its --shape, "
            "or export the model with a dynamic batch"
        )
        raise AscendError(msg)


def _is_fixed(size: Size) -> bool:
    return isinstance(size, int) and size != DYNAMIC
