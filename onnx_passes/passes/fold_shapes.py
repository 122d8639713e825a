"""fold-shapes: compute now what follows from the recorded shapes.

Before::

    x [N, 3, 4, W] -> Shape -> Gather(0) -> Unsqueeze -> Concat(., [12, -1]) -> t
    x, t -> Reshape -> y [N, 12, W]

After::

    x, [0, 12, -1] -> Reshape -> y [N, 12, W]

Fires when:
    it is certain, in the main graph or in a sub-graph, of

    - an int32 or int64 tensor of at most 64 elements that Shape and Size, Gather, Concat, Slice,
      Cast, Squeeze, Unsqueeze, Reshape, Transpose, Expand, ConstantOfShape, Add, Sub, Mul, Div and
      Mod make of recorded extents: if each element is a number, an initializer takes its place,
      and what only led there goes. An axis of unknown extent does not hinder where it is not
      picked.
    - the target of a Reshape of x: if each element is a number, the extent of x at the same place
      (0 copies it), or one that is anything else (-1: the number of elements decides).
    - the shape of what a node makes that reads such a tensor, or reads what got a shape that way:
      it is recorded, as infer-shapes would, so that a Shape behind it is known in the same run.

Leaves alone:
    - a value that has no shape and gets none that way (run infer-shapes first), and all that
      follows.
    - a result that is a graph output: a name of the interface needs a node.
    - a target with two extents that are neither numbers nor those of x at the same place.
    - a new -1 beside an extent copied from x that is not static: if that is 0 when the model
      runs, onnxruntime cannot resolve -1.
    - a target with a literal 0 (``allowzero``).
    - a number that does not fit the type; Div and Mod by 0; Mod with ``fmod``; bodies of functions:
      each call may have other shapes; opsets below 7.

Numerics:
    Exact: integers. An extent is taken to fit into int32, as a Cast to it needs.

References:
    - https://onnx.ai/onnx/operators/onnx__Shape.html
    - https://onnx.ai/onnx/operators/onnx__Reshape.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.inference import is_invented, learn
from onnx_passes.core.node_inference import NodeInference
from onnx_passes.core.registry import register
from onnx_passes.core.shape_values import Axis, Element, Known, evaluate
from onnx_passes.core.spelling import Constants, extents, is_operator, remove_unread, set_inputs
from onnx_passes.core.values import constant, main_graphs

if TYPE_CHECKING:
    from collections.abc import Iterable

_SOURCES = ("Shape", "Size")
_LEAST_OPSET = 7  # Before, Cast, Reshape and the arithmetic had other attributes.


@register
@dataclass(frozen=True)
class FoldShapes(Pass):
    """Compute now what follows from the recorded shapes."""

    name: ClassVar[str] = "fold-shapes"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"Shape", "Size"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result, constants = PassResult(), Constants(model)
        if model.opset_imports.get("", 0) < _LEAST_OPSET:
            result.skipped.append(Note("model", f"its opset is below {_LEAST_OPSET}"))
            return result
        if not any(node.op_type in _SOURCES for graph in main_graphs(model) for node in graph):
            return result
        # A number that was computed may be the bound, the axis or the target of a node.
        while _round(model, constants, result):
            done = {note.node for note in result.rewritten}
            result.skipped = [note for note in result.skipped if note.node not in done]
        result.skipped = list(dict.fromkeys(result.skipped))
        return result


def _round(model: ir.Model, constants: Constants, result: PassResult) -> bool:
    """Fold once what the constants of now allow; return whether anything was folded."""
    before = len(result.rewritten)
    known: dict[ir.Value, Known] = {}
    derived: dict[ir.Node, None] = {}  # what computes with shapes, in order
    made: set[ir.Value] = set()  # by those
    shapes = _Shapes(model, known, result)
    for node in (node for graph in main_graphs(model) for node in graph):
        kind = node.op_type
        if kind in _SOURCES or not made.isdisjoint(node.inputs):
            _learn(node, known, derived, result)
            made.update(node.outputs if node in derived else ())
        if kind == "Reshape" and is_operator(node, kind):
            _retarget(node, known, constants, result, shapes)
        if node not in derived:
            shapes.follow(node)
    for node in reversed(derived):
        _fold(node, known, constants, result)
    return len(result.rewritten) > before


class _Shapes:
    """Records the shapes that follow from what was learnt, so that a later Shape is known."""

    def __init__(self, model: ir.Model, known: dict[ir.Value, Known], result: PassResult) -> None:
        self._inference = NodeInference(model)
        self._known, self._result = known, result
        self._learnt: set[ir.Value] = set()

    def follow(self, node: ir.Node) -> None:
        """Record what is known of the results of ``node``, if it may be more than before."""
        unsaid = any(_is_open(value) for value in node.outputs if value.name)
        if unsaid and self._may_tell(node):
            self._note(node, self._inference.refine(node, self._known))

    def reshaped(self, node: ir.Node, source: ir.Value, target: list[Element]) -> None:
        """Record the sizes and symbols that a Reshape of ``source`` takes from its target."""
        dims = [_symbol(item) if isinstance(item, Axis) else item for item in target]
        shape = ir.Shape([None if dim in {0, -1} else dim for dim in dims])
        if learn(node.outputs[0], ir.Value(type=source.type, shape=shape)):
            self._note(node, node.outputs)

    def _note(self, node: ir.Node, learnt: Iterable[ir.Value]) -> None:
        for value in learnt:
            self._learnt.add(value)
            text = f"{value.name!r} is {value.type} {value.shape}"
            self._result.rewritten.append(Note(label(node), text))

    def _may_tell(self, node: ir.Node) -> bool:
        """Return whether an input is better known than before, or all are known well."""
        inputs = [value for value in node.inputs if value is not None]
        if not self._learnt.isdisjoint(inputs) or not self._known.keys().isdisjoint(inputs):
            return True
        return not any(_is_open(value) and constant(value) is None for value in inputs)


def _symbol(axis: Axis) -> ir.SymbolicDim | None:
    shape = axis.value.shape
    dim = None if shape is None else shape[axis.axis]
    return dim if isinstance(dim, ir.SymbolicDim) else None


def _is_open(value: ir.Value) -> bool:
    """Return whether a size of ``value`` is neither a number nor a symbol."""
    return value.shape is None or any(is_invented(dim) for dim in value.shape)


def _learn(
    node: ir.Node, known: dict[ir.Value, Known], derived: dict[ir.Node, None], result: PassResult
) -> None:
    """Note what is certain of the result of ``node``, or why nothing is."""
    found = evaluate(node, known)
    if found is not None:
        known[node.outputs[0]] = found
        derived[node] = None
    elif is_operator(node, *_SOURCES) and node.inputs[0] is not None:
        text = f"the shape of {node.inputs[0].name!r} is unknown; infer shapes first"
        result.skipped.append(Note(label(node), text))


def _retarget(
    node: ir.Node,
    known: dict[ir.Value, Known],
    constants: Constants,
    result: PassResult,
    shapes: _Shapes,
) -> None:
    """Give a Reshape a constant target if that is certain."""
    source, target = node.inputs[:2]
    found = known.get(target) if target is not None else None
    if source is None or found is None or found.array() is not None:
        return
    elements = found.listed()
    if node.attributes.get_int("allowzero", 0) and 0 in elements:
        result.skipped.append(Note(label(node), "its target takes a 0 literally"))
        return
    written = [_written(item, source, place) for place, item in enumerate(elements)]
    if refusal := _why_not(written, elements, source):
        result.skipped.append(Note(label(node), refusal))
        return
    node.attributes.pop("allowzero", None)
    set_inputs(node, [source, constants.integers(node, "shape", written)])
    result.rewritten.append(Note(label(node), f"its target is {written}"))
    shapes.reshaped(node, source, elements)


def _written(item: Element, source: ir.Value, place: int) -> int:
    if isinstance(item, int):
        return item
    return 0 if item == Axis(source, place) else -1


def _why_not(written: list[int], elements: list[Element], source: ir.Value) -> str | None:
    """Return why these numbers may give another shape than the computed target, or None."""
    if written.count(-1) > 1:
        return f"{written.count(-1)} extents of its target are unknown"
    sizes = extents(source)
    copied = [i for i, size in enumerate(written) if size == 0]
    static = [i for i in copied if sizes is not None and i < len(sizes) and sizes[i]]
    if -1 in written and -1 not in elements and len(static) < len(copied):
        return "-1 cannot be resolved if an axis of unknown extent is empty"
    return None


def _fold(
    node: ir.Node, known: dict[ir.Value, Known], constants: Constants, result: PassResult
) -> None:
    """Remove a node that nothing reads any more, or put its certain result in its place."""
    value = node.outputs[0]
    note = Note(label(node), "what it led to is known")
    if remove_unread(node):
        result.rewritten.append(note)
        return
    array = known[value].array()
    if array is None:
        return
    if value.is_graph_output():
        result.skipped.append(Note(label(node), "it makes a graph output"))
        return
    value.replace_all_uses_with(constants.array(node, "known", array))
    remove_unread(node)
    result.rewritten.append(Note(label(node), f"it is {array.tolist()}"))
