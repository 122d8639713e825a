"""onnxscript-optimize: run the optimiser of the onnxscript package as a pass.

Before::

    x -> Add(Mul(c1, c2)) -> Identity -> y

After::

    x -> Add(c3) -> y

Fires when:
    the optimiser finds anything to do: constant folding, inlining of functions, common
    subexpressions, its default rewrite rules.

Leaves alone:
    - constants that would be computed from more than ``input_size_limit`` bytes or would hold
      more than ``output_size_limit`` bytes.
    - functions, with ``inline=false``.

Numerics:
    Close: it computes constants in advance and rewrites by rules. The manager compares before and
    after.

References:
    - https://microsoft.github.io/onnxscript/tutorial/optimizer/index.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.bridges.tool import Bridge
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    import onnx_ir as ir


@register
@dataclass(frozen=True)
class OnnxscriptOptimize(Bridge):
    """Run the optimiser of the onnxscript package."""

    name: ClassVar[str] = "onnxscript-optimize"
    module: ClassVar[str] = "onnxscript"
    package: ClassVar[str] = "onnxscript"
    iterations: int = 2
    inline: bool = True
    input_size_limit: int = 8192  # The defaults of onnxscript 0.7.
    output_size_limit: int = 262144

    def transform(self, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        from onnxscript import optimizer

        from onnx_passes.core.model_io import clone

        copy = clone(model)
        optimizer.optimize_ir(
            copy,
            num_iterations=self.iterations,
            inline=self.inline,
            input_size_limit=self.input_size_limit,
            output_size_limit=self.output_size_limit,
        )
        return copy
