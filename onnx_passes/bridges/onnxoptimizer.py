"""onnxoptimizer: run passes of the onnxoptimizer package as one pass.

Before::

    x -> Pad(zeros) -> Transpose -> Transpose(inverse) -> Identity -> y

After::

    x -> Identity -> y

Fires when:
    a pass in ``passes`` finds anything to do; without the option all its fusions and eliminations
    run. ``fixed_point=true`` repeats them until nothing changes.

Leaves alone:
    - everything, when a name in ``passes`` is misspelt: onnxoptimizer itself ends in an assertion
      of its C++ code.
    - models with functions: its own graph has no place for them.

Numerics:
    Close: it folds BatchNormalization into weights and fuses additions. The manager compares
    before and after.

References:
    - https://github.com/onnx/optimizer
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.bridges.tool import Bridge, in_memory, refuse_unknown
from onnx_passes.core.contract import Note, PassResult
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    import onnx_ir as ir


@register
@dataclass(frozen=True)
class Onnxoptimizer(Bridge):
    """Run passes of the onnxoptimizer package."""

    name: ClassVar[str] = "onnxoptimizer"
    module: ClassVar[str] = "onnxoptimizer"
    package: ClassVar[str] = "onnxoptimizer"
    passes: tuple[str, ...] = ()
    fixed_point: bool = False

    def __post_init__(self) -> None:
        """Refuse names that onnxoptimizer would crash on."""
        super().__post_init__()
        if self.passes:
            import onnxoptimizer

            known = onnxoptimizer.get_available_passes()
            refuse_unknown(self.passes, known, "onnxoptimizer has no pass")

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        if model.functions:
            reason = f"{len(model.functions)} functions, which onnxoptimizer would drop"
            return PassResult(skipped=[Note("model", reason)])
        return super().run(model)

    def transform(self, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        import onnx_ir as ir
        import onnxoptimizer

        names = list(self.passes) or onnxoptimizer.get_fuse_and_elimination_passes()
        proto = onnxoptimizer.optimize(in_memory(model), names, self.fixed_point)
        after: ir.Model = ir.from_proto(proto)
        return after
