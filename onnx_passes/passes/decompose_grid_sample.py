"""decompose-grid-sample: replace GridSample by a gather and arithmetic, bit for bit.

Before::

    x [N, C, H, W], grid [N, Ho, Wo, 2] -> GridSample -> y [N, C, Ho, Wo]

After::

    grid -> pixel coordinates (float32) -> taps and weights -> index (int32)
    x -> frame of zeros -> Gather or GatherElements of each corner -> weighted sum -> y

Fires when:
    the node is ``ai.onnx::GridSample`` of any spelling (opset 16, 20 or 22, and the opset 11 that
    exporters for older CANN write), any mode, padding and align_corners, x and grid of rank 3, 4
    or 5 in float32, float64, float16 or bfloat16, with static or dynamic extents, anywhere in the
    model: main graph, If and Loop bodies, functions.

Leaves alone:
    - an unknown rank or type of x or grid, or a type that is not floating-point;
    - a rank other than 3, 4 or 5, different ranks or batches, or an extent of 0;
    - an attribute that is out of range, or set by the caller of a function;
    - an opset below 11 (no GatherElements), or below 13 with bfloat16.

Numerics:
    Bit-equal to ONNX Runtime's kernel with graph optimisation off, signed zeros, NaN, infinite and
    huge coordinates included. float16 and bfloat16 are computed in float32 and rounded once, as
    ONNX Runtime does. Cubic on rank 5, which it lacks, equals the reference evaluator within
    4 float32 eps of the largest pixel.

References:
    - https://onnx.ai/onnx/operators/onnx__GridSample.html
    - https://ieeexplore.ieee.org/document/1163711 (cubic convolution)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError, label
from onnx_passes.core.emit import Emitter, Names, scopes
from onnx_passes.core.registry import register
from onnx_passes.grid_sample import forms
from onnx_passes.grid_sample.problem import why_not
from onnx_passes.grid_sample.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

_FORMS = {"elements": forms.elements, "rows": forms.rows}


@register
@dataclass(frozen=True)
class DecomposeGridSample(Pass):
    """Replace GridSample by a gather and arithmetic.

    Attributes:
        form: How the pixels are fetched, see docs/grid_sample.md.
        opset: The highest opset whose operators may be emitted; 0 is the model's own.
    """

    name: ClassVar[str] = "decompose-grid-sample"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "target"

    form: str = "auto"
    opset: int = 0

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        nodes = list(_grid_samples(model))
        names = Names(model) if nodes else None
        for node, opset in nodes:
            note = label(node)
            if refusal := why_not(node, min(opset, self.opset or opset)):
                result.skipped.append(Note(note, refusal))
            elif names is not None:
                result.rewritten.append(Note(note, self._replace(node, names)))
        return result

    def _replace(self, node: ir.Node, names: Names) -> str:
        """Put the decomposition in the place of ``node`` and say which form it has."""
        form = "elements" if self.form == "auto" else self.form
        if form not in _FORMS:
            msg = f"form {form!r} is not one of {', '.join(_FORMS)}"
            raise UsageError(msg)
        emit = Emitter(node, names)
        emit.replace(node, _FORMS[form](Site(emit, node)))
        return f"form {form}, {len(emit.nodes)} nodes"


def _grid_samples(model: ir.Model) -> Iterator[tuple[ir.Node, int]]:
    """Yield every GridSample with the opset that its scope imports."""
    for scope in scopes(model):
        opset = scope.opset_imports.get("", model.opset_imports.get("", 0))
        for node in scope:
            if node.op_type == "GridSample" and node.domain in {"", "ai.onnx"}:
                yield node, opset
