"""Random small graphs: a sketch to which makers add nodes, with every concrete shape known.

A graph is right by construction at the sizes it is drawn with. Which of its dimensions are declared
as symbols, which shapes are recorded, which values are outputs, and how a constant is spelled, is
drawn too: that is what passes go wrong about. Numbers are small integers, so that sums are exact in
any order; what is made by rounding is ``rough``, and nothing that jumps may read it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
F32, F64, I32, I64, BOOL = map(np.dtype, ("float32", "float64", "int32", "int64", "bool"))
DOMAIN = "local"
# How a constant is spelled; a default is an initializer that is a graph input too.
SPELLINGS = (*["initializer"] * 6, *["node"] * 2, "default", "fed")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A value of the graph at the sizes it is drawn with."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    rough: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclasses.dataclass
class Book:
    """What a graph shares with the graphs inside it."""

    opset: int
    inputs: dict[str, tuple[Tensor, Array | None]] = dataclasses.field(default_factory=dict)
    defaults: list[onnx.TensorProto] = dataclasses.field(default_factory=list)
    functions: list[onnx.FunctionProto] = dataclasses.field(default_factory=list)
    count: int = 0


class Sketch:
    """A graph in the making: the main one, a branch, a body of a Loop or of a function."""

    def __init__(
        self,
        draw: st.DrawFn,
        book: Book,
        *,
        around: Sketch | None = None,
        makers: Sequence[Callable[[Sketch], None]] = (),
        in_function: bool = False,
    ) -> None:
        self.draw, self.book, self.makers = draw, book, makers
        self.prefix: str = "v" if around is None else f"{around.prefix}b"
        self.is_main = around is None and not in_function
        self.in_function = in_function
        self.depth: int = 0 if around is None else around.depth + 1
        self.values: list[Tensor] = [] if around is None else list(around.values)
        self.made: list[Tensor] = []
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.count = 0

    @property
    def opset(self) -> int:
        return self.book.opset

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def one_of(self, *options: Any) -> Any:  # noqa: ANN401  whatever is offered
        return options[self.number(0, len(options) - 1)]

    def flip(self, one_in: int = 2) -> bool:
        """Return True once in so many draws; False is the simpler example."""
        return self.number(0, one_in - 1) == one_in - 1

    def sizes(self, rank: int, low: int = 1, high: int = 4) -> Shape:
        return tuple(self.number(low, high) for _ in range(rank))

    def fresh(self) -> str:
        self.count += 1
        return f"{self.prefix}{self.count - 1}"

    def add(
        self,
        op_type: str,
        inputs: Sequence[str | Tensor],
        *outputs: tuple[np.dtype[Any], Shape],
        rough: bool = False,
        **attributes: Any,  # noqa: ANN401  whatever an operator takes
    ) -> Tensor:
        """Append a node and return the first of what it makes."""
        names = [item if isinstance(item, str) else item.name for item in inputs]
        rough = rough or any(isinstance(item, Tensor) and item.rough for item in inputs)
        made = [Tensor(self.fresh(), dtype, shape, rough) for dtype, shape in outputs]
        name = f"n{len(self.nodes)}" if self.flip(3) else ""
        self.nodes.append(
            helper.make_node(op_type, names, [value.name for value in made], name, **attributes)
        )
        self.made += made
        self.values += made
        return made[0]

    def like(self, op_type: str, x: Tensor, *more: str | Tensor, **attributes: Any) -> Tensor:  # noqa: ANN401
        """Append a node that makes a tensor like its first input."""
        return self.add(op_type, [x, *more], (x.dtype, x.shape), **attributes)

    def pick(
        self,
        fits: Callable[[Tensor], bool] = lambda _: True,
        *,
        dtype: np.dtype[Any] = F32,
        shape: Callable[[], Shape] | None = None,
    ) -> Tensor:
        """Return a value that ``fits``, more likely a new one; else a new input."""
        fitting = [v for v in self.values if fits(v)]
        if not fitting or self.flip(8):
            if self.is_main:
                return self.input(
                    dtype, self.sizes(self.number(1, 4)) if shape is None else shape()
                )
            if not fitting:
                return self.filled(dtype, self.sizes(2) if shape is None else shape())
        recent = fitting[-3:] if not self.flip(3) else fitting
        return recent[-1 - self.number(0, len(recent) - 1)]

    def floats(self, low: int = 0, high: int = 4) -> Tensor:
        """Return a float32 value of a rank in this range."""
        return self.pick(
            lambda v: v.dtype == F32 and low <= v.rank <= high,
            shape=lambda: self.sizes(self.number(max(low, 1), high)),
        )

    def input(self, dtype: np.dtype[Any], shape: Shape, given: Array | None = None) -> Tensor:
        """Add a graph input, of given values or of any."""
        value = Tensor(f"x{len(self.book.inputs)}", dtype, shape)
        self.book.inputs[value.name] = value, given
        if given is None:
            self.values.append(value)
        return value

    def constant(self, array: Array, *, certain: bool = False) -> str:
        """Return the name of a constant, or of what only looks like one."""
        spelling = "node" if self.in_function else self.one_of(*SPELLINGS)
        if not self.is_main and spelling not in {"initializer", "node"}:
            spelling = "initializer"
        if certain and spelling in {"default", "fed"}:
            spelling = "initializer"
        if spelling == "fed":
            return self.input(array.dtype, array.shape, array).name
        name = self.fresh()
        tensor = numpy_helper.from_array(array, name)
        if spelling == "node":
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.initializers.append(tensor)
        if spelling == "default":
            self.book.defaults.append(tensor)
        return name

    def ints(self, *numbers: int) -> str:
        """Return a constant int64 list, often called for as axes or sizes."""
        return self.constant(np.array(numbers, np.int64))

    def numbers(self, dtype: np.dtype[Any], shape: Shape) -> Array:
        """Return small integers; few seeds, so that constants are equal now and then."""
        rng = np.random.default_rng(self.number(0, 3))
        array = np.asarray(rng.integers(-2, 3, shape)).astype(dtype)
        return -array if dtype.kind == "f" and self.flip() else array  # with -0.0 among them

    def weight(self, shape: Shape, dtype: np.dtype[Any] = F32) -> Tensor:
        """Return a constant that a node may compute with."""
        return Tensor(self.constant(self.numbers(dtype, shape)), dtype, shape)

    def filled(self, dtype: np.dtype[Any], shape: Shape) -> Tensor:
        """Return a constant as a value that later nodes may read."""
        value = self.weight(shape, dtype)
        self.values.append(value)
        return value

    def grow(self, steps: int) -> None:
        """Let that many makers add to the graph."""
        for _ in range(steps):
            self.makers[self.number(0, len(self.makers) - 1)](self)

    def inner(self) -> Sketch:
        """Return a sketch for a graph inside this one, which sees what this one has."""
        return Sketch(self.draw, self.book, around=self, makers=self.makers)

    def result(self, like: Tensor) -> str:
        """Return what this inner graph makes that is like a value; else make it."""
        fitting = [v for v in self.made if (v.dtype, v.shape) == (like.dtype, like.shape)]
        if fitting and not self.flip(4):
            return fitting[-1].name
        return self.like("Identity", like).name

    def proto(self, name: str, outputs: Sequence[str], like: Sequence[Tensor]) -> onnx.GraphProto:
        """Return the graph; its outputs have the types of others."""
        infos = [
            helper.make_tensor_value_info(
                output, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.rank
            )
            for output, value in zip(outputs, like, strict=True)
        ]
        return helper.make_graph(self.nodes, name, [], infos, self.initializers)
