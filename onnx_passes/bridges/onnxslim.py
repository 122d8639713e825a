"""onnxslim: run the optimiser of the onnxslim package as a pass.

Before::

    x -> Conv -> BatchNormalization -> Identity -> Reshape -> Reshape -> y

After::

    x -> Conv -> Reshape -> y

Fires when:
    onnxslim finds anything to do: constant folding, fusions, common subexpressions, equal weights.
    What it does not carry over is put back: metadata of nodes that keep their names, the declared
    shapes of inputs and outputs.

Leaves alone:
    - the optimizations named in ``skip`` (constant_folding, graph_fusion, ...) and the fusion
      patterns named in ``skip_patterns`` (FusionConvBN, ...); a misspelt name is refused, where
      onnxslim itself ignores it.
    - tensors that would get larger than ``size_threshold`` bytes by folding (0: no limit).

Numerics:
    Close: it folds BatchNormalization and scales into weights. It is asked for no check of its
    own, since the manager compares before and after.

References:
    - https://github.com/inisis/OnnxSlim
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.bridges.tool import Bridge, in_memory, refuse_unknown
from onnx_passes.core.contract import ToolError
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    import onnx_ir as ir


@register
@dataclass(frozen=True)
class Onnxslim(Bridge):
    """Run the optimiser of the onnxslim package."""

    name: ClassVar[str] = "onnxslim"
    module: ClassVar[str] = "onnxslim"
    package: ClassVar[str] = "onnxslim"
    skip: tuple[str, ...] = ()
    skip_patterns: tuple[str, ...] = ()
    size_threshold: int = 0

    def __post_init__(self) -> None:
        """Refuse names that onnxslim would silently ignore."""
        super().__post_init__()
        if self.skip:
            from onnxslim.core import OptimizationSettings

            refuse_unknown(self.skip, OptimizationSettings.keys(), "onnxslim has no optimization")
        if self.skip_patterns:
            from onnxslim.core.pattern.registry import DEFAULT_FUSION_PATTERNS

            refuse_unknown(self.skip_patterns, DEFAULT_FUSION_PATTERNS, "onnxslim has no pattern")

    def transform(self, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        import onnx_ir as ir
        import onnxslim

        slimmed = onnxslim.slim(
            in_memory(model),
            skip_optimizations=list(self.skip) or None,
            skip_fusion_patterns=list(self.skip_patterns) or None,
            size_threshold=self.size_threshold or None,
        )
        if slimmed is None:  # its way to say that something went wrong
            msg = "onnxslim gave no model back"
            raise ToolError(msg)
        after: ir.Model = ir.from_proto(slimmed)
        return after
