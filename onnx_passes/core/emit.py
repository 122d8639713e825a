"""Build the typed, named nodes that replace one node.

An operand is an :class:`onnx_ir.Value`, computed when the model runs, or a NumPy array, known now.
Arithmetic between arrays happens now and emits nothing, so the same lines of a rewrite serve static
and dynamic shapes: a static extent is an array, a dynamic one the output of a Shape node.

Every operator emitted here exists from opset 11 on. Split and ReduceSum, whose spelling changed,
are written for the opset of the model; Squeeze and Unsqueeze are left out: Reshape serves.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np
import onnx_ir as ir

from onnx_passes.core.new_node import new_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from onnx_passes.core.names import Names

Operand: TypeAlias = "ir.Value | npt.NDArray[np.generic]"
Dims: TypeAlias = "list[int | str | None]"

PRECISION_KEY = "onnx_passes.precision"
PRECISION_SEGMENT = "/float32/"

_FOLD: dict[str, Callable[..., npt.NDArray[np.generic]]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.true_divide,
    "Max": np.maximum,
    "Min": np.minimum,
}
# Opsets that moved an attribute to an input, or required one.
_SPLIT_SIZES_ARE_INPUT = 13
_REDUCE_AXES_ARE_INPUT = 13
_BOOLEAN = frozenset({"Less", "Greater", "Equal", "And", "Or", "Not"})


class Emitter:
    """Collects the nodes that will stand before ``anchor``, in order."""

    def __init__(self, anchor: ir.Node, names: Names, opset: int) -> None:
        """Name everything after ``anchor``: its node name, or its output's if it has none.

        Args:
            anchor: The node to replace.
            names: The names of the model.
            opset: The opset that the graph of ``anchor`` imports, at least 11.
        """
        self.opset = opset
        self.nodes: list[ir.Node] = []
        self.initializers: list[ir.Value] = []
        self._names = names
        self._prefix = anchor.name or anchor.outputs[0].name or anchor.op_type
        self._in_function = anchor.graph in names.function_bodies
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self._shapes: dict[ir.Value, ir.Value] = {}
        self._stacks: dict[tuple[ir.Value, ...], ir.Value] = {}
        self._precise = False

    @contextlib.contextmanager
    def precise(self) -> Iterator[None]:
        """Mark the nodes emitted inside: they must stay float32 on any target."""
        before, self._precise = self._precise, True
        try:
            yield
        finally:
            self._precise = before

    def value(self, operand: Operand) -> ir.Value:
        """Return ``operand`` as a value, making a constant of an array; equal ones are shared."""
        if isinstance(operand, ir.Value):
            return operand
        array = np.ascontiguousarray(operand).reshape(operand.shape)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._constant(array)
        return self._constants[key]

    def op(
        self,
        op_type: str,
        *inputs: Operand | None,
        hint: str = "",
        dtype: ir.DataType | None = None,
        dims: Sequence[int | str | None] | None = None,
        **attributes: int | list[int] | str,
    ) -> ir.Value:
        """Emit one node and return its output.

        Args:
            op_type: An operator of the default domain.
            inputs: Values, arrays (made constants), or None for an omitted input.
            hint: The readable last part of the name; the operator's name by default.
            dtype: Type of the output; by default that of the last input, or bool for a predicate.
            dims: Shape of the output; by default the broadcast of the inputs.
            attributes: Attributes of the node.
        """
        values = [None if operand is None else self.value(operand) for operand in inputs]
        present = [value for value in values if value is not None]
        if dtype is None:
            dtype = ir.DataType.BOOL if op_type in _BOOLEAN else present[-1].dtype
        if dims is None:
            dims = _broadcast([value.shape for value in present])
        name = self._fresh(hint or op_type.lower())
        output = _output(name, dtype, dims)
        self._append(new_node(op_type, values, attributes, [output], name))
        return output

    def _append(self, node: ir.Node) -> None:
        if self._precise:
            node.metadata_props[PRECISION_KEY] = "float32"
        self.nodes.append(node)

    def _fresh(self, hint: str) -> str:
        segment = PRECISION_SEGMENT if self._precise else "/"
        return self._names.fresh(f"{self._prefix}{segment}{hint}")

    def math(self, op_type: str, *inputs: Operand, hint: str = "") -> Operand:
        """Emit Add, Sub, Mul, Div, Max or Min, or compute it now if every input is an array."""
        if all(isinstance(operand, np.ndarray) for operand in inputs):
            with np.errstate(all="ignore"):  # as the model would: infinity, not a warning
                return _FOLD[op_type](*inputs)
        return self.op(op_type, *inputs, hint=hint)

    def cast(self, operand: Operand, dtype: ir.DataType, hint: str = "") -> Operand:
        """Convert to ``dtype``; nothing is emitted where nothing changes."""
        if isinstance(operand, np.ndarray):
            return operand.astype(dtype.numpy())
        if operand.dtype == dtype:
            return operand
        return self.op("Cast", operand, hint=hint, dtype=dtype, dims=_dims(operand), to=dtype.value)

    def reshape(self, operand: Operand, sizes: Sequence[Operand], hint: str = "") -> Operand:
        """Reshape to the product of ``sizes``, each an int64 [1] array or value."""
        static = [_static(size) for size in sizes]
        if isinstance(operand, np.ndarray):
            return operand.reshape([size for size in static if size is not None])
        return self.op(
            "Reshape", operand, self.stack(sizes), hint=hint, dtype=operand.dtype, dims=static
        )

    def transpose(self, value: ir.Value, perm: list[int], hint: str = "") -> ir.Value:
        """Permute the axes of ``value``."""
        dims = _dims(value)
        shape = None if dims is None else [dims[axis] for axis in perm]
        return self.op("Transpose", value, hint=hint, dims=shape, perm=perm)

    def split(
        self, operand: Operand, axis: int, sizes: Sequence[int], hint: str = "part"
    ) -> list[Operand]:
        """Cut along ``axis`` into parts of the given sizes; one part is no node."""
        if len(sizes) == 1:
            return [operand]
        value = self.value(operand)
        inputs, dims = [value], _dims(value)
        attributes: dict[str, int | list[int]] = {"axis": axis}
        if self.opset >= _SPLIT_SIZES_ARE_INPUT:
            inputs.append(self.value(np.array(sizes, np.int64)))
        else:
            attributes["split"] = list(sizes)
        name = self._fresh(hint)
        parts = [None if dims is None else [*dims[:axis], n, *dims[axis + 1 :]] for n in sizes]
        outputs = [_output(self._fresh(hint), value.dtype, part) for part in parts]
        self._append(new_node("Split", inputs, attributes, outputs, name))
        return [*outputs]

    def concat(self, parts: Sequence[Operand], axis: int, hint: str = "joined") -> Operand:
        """Join along ``axis``; one part is no node."""
        if len(parts) == 1:
            return parts[0]
        values = [self.value(part) for part in parts]
        dims = _dims(values[0])
        if dims is not None:
            lengths = [None if value.shape is None else value.shape[axis] for value in values]
            known = [length for length in lengths if isinstance(length, int)]
            dims[axis] = sum(known) if len(known) == len(values) else None
        return self.op("Concat", *values, hint=hint, dims=dims, axis=axis)

    def reduce_sum(self, value: ir.Value, axis: int, hint: str = "total") -> ir.Value:
        """Sum over ``axis`` and drop it."""
        dims = _dims(value)
        shape = None if dims is None else [*dims[:axis], *dims[axis + 1 :]]
        if self.opset >= _REDUCE_AXES_ARE_INPUT:
            axes = np.array([axis], np.int64)
            return self.op(
                "ReduceSum", value, axes, hint=hint, dtype=value.dtype, dims=shape, keepdims=0
            )
        return self.op("ReduceSum", value, hint=hint, dims=shape, axes=[axis], keepdims=0)

    def stack(self, sizes: Sequence[Operand]) -> Operand:
        """Concatenate int64 [1] operands into one int64 [n] operand."""
        if all(isinstance(size, np.ndarray) for size in sizes):
            return np.concatenate([np.asarray(size) for size in sizes])
        values = tuple(self.value(size) for size in sizes)
        if values not in self._stacks:
            self._stacks[values] = self.op(
                "Concat", *values, hint="sizes", dims=[len(sizes)], axis=0
            )
        return self._stacks[values]

    def sizes(self, value: ir.Value, axes: Sequence[int]) -> Operand:
        """Return the extents of some axes, int64 [n]: an array if all of them are static."""
        static = [value.shape[axis] for axis in axes] if value.shape is not None else [None]
        if all(isinstance(size, int) for size in static):
            return np.array(static, np.int64)
        if value not in self._shapes:
            rank = None if value.shape is None else len(value.shape)
            self._shapes[value] = self.op(
                "Shape", value, hint="shape", dtype=ir.DataType.INT64, dims=[rank]
            )
        return self.op(
            "Gather",
            self._shapes[value],
            np.array(axes, np.int64),
            hint="size",
            dtype=ir.DataType.INT64,
            dims=[len(axes)],
            axis=0,
        )

    def _constant(self, array: npt.NDArray[np.generic]) -> ir.Value:
        name = self._names.fresh(f"{self._prefix}/constant")
        tensor = ir.tensor(array, name=name)
        value = _output(name, tensor.dtype, array.shape)
        value.const_value = tensor
        if self._in_function:  # a function has no initializers
            self.nodes.append(
                ir.node("Constant", [], {"value": tensor}, outputs=[value], name=name)
            )
        else:
            self.initializers.append(value)
        return value

    def replace(self, anchor: ir.Node, result: ir.Value) -> None:
        """Put the collected nodes in the place of ``anchor``; ``result`` takes over its output.

        ``result`` must be the output of a collected node. Name, type and shape of the output stay.
        """
        old = anchor.outputs[0]
        graph = cast("ir.Graph", anchor.graph)
        result.name, old.name = old.name, None
        result.type = old.type or result.type
        result.shape = old.shape or result.shape
        result.metadata_props.update(old.metadata_props)
        old.replace_all_uses_with(result, replace_graph_outputs=True)
        for value in self.initializers:
            graph.register_initializer(value)
        graph.insert_before(anchor, self.nodes)
        graph.remove(anchor, safe=True)


def _output(
    name: str, dtype: ir.DataType | None, dims: Sequence[int | str | None] | None
) -> ir.Value:
    return ir.Value(
        name=name,
        type=None if dtype is None else ir.TensorType(dtype),
        shape=None if dims is None else ir.Shape(dims),
    )


def _static(operand: Operand) -> int | None:
    return int(operand.reshape(())[()]) if isinstance(operand, np.ndarray) else None


def _dims(value: ir.Value) -> Dims | None:
    return None if value.shape is None else _dims_of(value.shape)


def _dims_of(shape: ir.Shape) -> Dims:
    return [dim if isinstance(dim, int) else dim.value for dim in shape]


def _broadcast(shapes: list[ir.Shape | None]) -> Dims | None:
    """Return the broadcast of some shapes; an axis that cannot be told is None."""
    if any(shape is None for shape in shapes):
        return None
    known = [_dims_of(shape) for shape in shapes if shape is not None]
    rank = max(len(dims) for dims in known)
    ones: Dims = [1]
    columns = zip(*(ones * (rank - len(dims)) + dims for dims in known), strict=True)
    return [_join(column) for column in columns]


def _join(column: tuple[int | str | None, ...]) -> int | str | None:
    wide = {dim for dim in column if dim != 1}
    if not wide:
        return 1
    numbers = [dim for dim in wide if isinstance(dim, int)]
    return numbers[0] if numbers else (wide.pop() if len(wide) == 1 else None)
