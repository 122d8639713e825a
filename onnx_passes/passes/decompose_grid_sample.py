"""decompose-grid-sample: replace GridSample by a gather and arithmetic, bit for bit.

Before::

    x [N, C, H, W], grid [N, Ho, Wo, 2] -> GridSample -> y [N, C, Ho, Wo]

After::

    grid -> pixel coordinates (float32) -> taps and weights -> index (int32)
    x -> frame of zeros -> GatherND, Gather or GatherElements of each corner -> weighted sum -> y

docs/grid_sample.md has the formulas, the forms and what they cost.

Fires when:
    the node is ``ai.onnx::GridSample`` of any spelling (opset 16, 20 or 22, and the opset 11 that
    exporters for older CANN write), any mode, padding and align_corners, x and grid of rank 3, 4
    or 5 in float32, float64, float16 or bfloat16, with static or dynamic extents, anywhere in the
    model: main graph, If and Loop bodies, functions.

Leaves alone:
    - an unknown rank or type of x or grid, or a type that is not floating-point;
    - a rank other than 3, 4 or 5, different ranks or batches, an extent of 0, or 2^31 pixels;
    - an attribute that is out of range, or set by the caller of a function;
    - an opset below 11 (no GatherElements), or below 13 with bfloat16;
    - what the form asked for cannot do: ``tent`` is for linear with zeros or border.

    A dynamic extent must not be 0 when the model runs: the tables of pixels cannot be reshaped.

Numerics:
    Bit-equal to ONNX Runtime's kernel with graph optimisation off, signed zeros, NaN, infinite and
    huge coordinates included. float16 and bfloat16 are computed in float32 and rounded once, as
    ONNX Runtime does. What it cannot run (rank 3, cubic on rank 5) equals the reference evaluator
    within 4 float32 eps of the largest pixel. The forms ``packed`` and ``tent``, and
    ``zeros=value``, are close: 4 float32 eps of the largest pixel, for finite pixels.

References:
    - https://onnx.ai/onnx/operators/onnx__GridSample.html
    - https://ieeexplore.ieee.org/document/1163711 (cubic convolution)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.known_inputs import complete_inputs, forget
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.values import graphs
from onnx_passes.grid_sample import forms, matmul
from onnx_passes.grid_sample.choice import choose
from onnx_passes.grid_sample.problem import Problem, why_not
from onnx_passes.grid_sample.producers import mark_producers
from onnx_passes.grid_sample.site import Options, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

_FORMS = {
    "elements": forms.elements,
    "rows": forms.rows,
    "packed": matmul.packed,
    "tent": matmul.tent,
}
_CHOICES = {
    "form": ("auto", *_FORMS),
    "zeros": ("signed", "value"),
    "target": ("cpu", "ascend310p"),
}


@register
@dataclass(frozen=True)
class DecomposeGridSample(Pass):
    """Replace GridSample by a gather and arithmetic.

    Attributes:
        form: How the pixels are fetched: auto, elements, rows, packed or tent.
        zeros: ``signed`` keeps the sign of every zero; ``value`` puts masks into the weights.
        chunk: Number of points of each picture to treat at a time; 0 is all of them.
        max_bytes: Bound on what a run of points keeps in memory beside x and y; 0 is none.
        target: What ``auto`` chooses for: cpu or ascend310p. On cpu, rows of a volume are fetched
            by GatherND.
        opset: The highest opset whose operators may be used; 0 is the model's own.
    """

    name: ClassVar[str] = "decompose-grid-sample"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"

    form: str = "auto"
    zeros: str = "signed"
    chunk: int = 0
    max_bytes: int = 0
    target: str = "cpu"
    opset: int = 0

    def __post_init__(self) -> None:
        """Refuse an option out of range, and claim less for a form that promises less."""
        for option, known in _CHOICES.items():
            if (value := getattr(self, option)) not in known:
                msg = f"option {option} is {value!r}, expected one of {', '.join(known)}"
                raise UsageError(msg)
        for option in ("chunk", "max_bytes", "opset"):
            if (number := getattr(self, option)) < 0:
                msg = f"option {option} is {number}, expected 0 or more"
                raise UsageError(msg)
        if self.form in {"packed", "tent"} or self.zeros == "value":
            object.__setattr__(self, "exactness", "close")

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        nodes = list(_grid_samples(model))
        before = complete_inputs(model, [node for node, _ in nodes])
        names = Names(model) if nodes else None
        for node, opset in nodes:
            note = label(node)
            if refusal := self._why_not(node, opset):
                result.skipped.append(Note(note, refusal))
            elif names is not None and node.inputs[1] is not None:
                mark_producers(node.inputs[1], names)
                result.rewritten.append(
                    Note(note, self._replace(node, Emitter(node, names, opset)))
                )
        if not result.rewritten:
            forget(before)
        return result

    def _why_not(self, node: ir.Node, opset: int) -> str | None:
        """Return the reason to leave ``node`` alone, or None to rewrite it."""
        if refusal := why_not(node, min(opset, self.opset or opset)):
            return refusal
        problem = Problem.of(node)
        if self.form == "tent" and (problem.mode, problem.padding) not in matmul.TENT:
            return f"form tent cannot do {problem.mode} with {problem.padding}; use form auto"
        return None

    def _replace(self, node: ir.Node, emit: Emitter) -> str:
        """Put the decomposition in the place of ``node`` and say which form it has and why."""
        problem = Problem.of(node)
        choice = choose(problem, self.form, self.target, self.chunk, self.max_bytes)
        site = Site(emit, node, Options(choice.chunk, self.zeros, choice.fetch))
        emit.replace(node, _FORMS[choice.form](site))
        runs = f" in runs of {choice.chunk} points" if choice.chunk else ""
        reason = f": {choice.reason}" if choice.reason else ""
        return f"form {choice.form}{runs}, {len(emit.nodes)} nodes{reason}"


def _grid_samples(model: ir.Model) -> Iterator[tuple[ir.Node, int]]:
    """Yield every GridSample with the opset that its graph imports."""
    for graph in graphs(model):
        opset = graph.opset_imports.get("", model.opset_imports.get("", 0))
        for node in graph:
            if node.op_type == "GridSample" and node.domain in {"", "ai.onnx"}:
                yield node, opset
