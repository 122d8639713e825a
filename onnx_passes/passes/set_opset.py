"""set-opset: write the model for another opset of the default domain, down or up.

Before::

    opset 16: x -> HardSwish -> h, (h, axes [1]) -> Squeeze -> y

After::

    opset 11: x -> HardSigmoid(1/6, 1/2) -> g, (x, g) -> Mul -> h -> Squeeze(axes=[1]) -> y

Fires when:
    the model, or a function in it, imports another opset than ``version``, both are in 11 to 20,
    and every node has a form in the new one. A node needs no new form where no version of its
    operator lies between the two opsets, or where those versions only widened it and the node
    uses nothing of that. What has a rule: axes and sizes as attribute or input (Squeeze,
    Unsqueeze, Split, the reductions, Dropout), Softmax, LogSoftmax and Hardmax (below 13 they
    take all axes from ``axis`` on as one), HardSwish, LayerNormalization, Gelu, GreaterOrEqual,
    LessOrEqual, GridSample's mode names, BatchNormalization, Reshape, Shape, Pad, Resize,
    RoiAlign, AveragePool, QuantizeLinear, DequantizeLinear, Constant.

Leaves alone:
    the whole model, if one node has no form without loss; each such node is named with its reason:

    - an operator that the opset lacks (GridSample below 16, AffineGrid below 20, Einsum below 12).
    - axes, sizes or pads that are computed, where the opset needs constants.
    - an attribute, a type or a mode that the opset lacks, a type or rank that is not known.
    - BatchNormalization and Dropout in training mode.
    - an operator whose meaning changed without a rule here.
    - an attribute that the caller of a function sets, where a rule must read it.

    Softmax and its kin of 12, brought up over several axes of unknown extent, take no empty input.
    Operators of other domains stay as they are. Opsets outside of 11 to 20 are refused.

Numerics:
    Close: exact but for three rules. LayerNormalization below 17 over n elements, with eps of
    float32 (float16 is computed in float32, and rounded as before), deviation s = sqrt(var +
    epsilon), M = max(1, max|x| / s) and z the normalized value:
    ``|y - y_before| <= |scale| (n + 8) eps M^2 (1 + |z|) + eps |y|``. Sums of n terms err by n
    eps / 2 of the largest term, on both sides, and a variance taken as mean square minus square of
    the mean by M^2 as much. Gelu below 20: ``|y - y_before| <= 8 eps |x|``: two operations on x,
    an addition in [0, 2], and the error of erf. AveragePool across 19 over k elements: onnxruntime
    adds them up in another order, ``k eps max|x|``.

References:
    - https://onnx.ai/onnx/repo-docs/Versioning.html
    - https://onnx.ai/onnx/operators/index.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, UsageError
from onnx_passes.core.registry import register
from onnx_passes.opsets.convert import NEWEST, OLDEST, convert

if TYPE_CHECKING:
    import onnx_ir as ir


@register
@dataclass(frozen=True)
class SetOpset(Pass):
    """Write the model for another opset.

    Attributes:
        version: The opset to write the model for. 11 is the one that every CANN reads.
    """

    name: ClassVar[str] = "set-opset"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    version: int = 11

    def __post_init__(self) -> None:
        """Refuse an opset that the rules do not cover."""
        if not OLDEST <= self.version <= NEWEST:
            msg = f"option version is {self.version}, expected {OLDEST} to {NEWEST}"
            raise UsageError(msg)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring. All nodes change at once: one opset counts for all of them."""
        result = PassResult()
        sources = _sources(model)
        if sources <= {self.version}:
            return result
        if refusal := _why_not(sources):
            result.skipped.append(Note("model", refusal))
            return result
        done = convert(model, self.version)
        if done.refused:
            result.skipped.extend(done.refused)
            return result
        changes = sorted(done.rewritten.items())
        counts = ", ".join(f"{kind} {count}" for kind, count in changes if count)
        path = f"opset {', '.join(map(str, sorted(sources)))} -> {self.version}"
        result.rewritten.append(Note("model", f"{path}; rewritten: {counts or 'no node'}"))
        return result


def _sources(model: ir.Model) -> set[int]:
    """Return the opsets of the default domain that the model and its functions import."""
    imports = [model.opset_imports, *(f.opset_imports for f in model.functions.values())]
    return {table[""] for table in imports if "" in table}


def _why_not(sources: set[int]) -> str | None:
    outside = sorted(source for source in sources if not OLDEST <= source <= NEWEST)
    return f"opset {outside[0]}: the rules cover {OLDEST} to {NEWEST}" if outside else None
