"""onnxsim: run the simplifier of the onnxsim package as a pass.

Before::

    x -> Conv -> BatchNormalization -> Identity -> Reshape(Concat(Shape...)) -> y

After::

    x -> Conv -> Reshape(constant) -> y

Fires when:
    onnxsim finds anything to simplify: constant folding, fusions, no-ops, common subexpressions.
    The model is converted to ``onnx.ModelProto`` and back; what onnxsim does not carry over is
    put back: the metadata of the model, of its inputs and outputs, and of every node that still
    has the same name and operator, and the declared shapes of inputs and outputs. What onnxsim
    writes about itself into the model's metadata is dropped.

Leaves alone:
    - the optimizers named in ``skip``, constant folding with ``fold=false``, BatchNormalization
      with ``fuse_bn=false``.
    - the metadata of nodes that are gone: a note names each.
    - the whole model where onnxsim folds an input with a default value away.

Numerics:
    Close: it folds BatchNormalization into weights and reorders sums. It is asked for no check of
    its own, since the manager compares before and after.

References:
    - https://github.com/onnxsim/onnxsim
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.bridges.tool import Bridge, in_memory, refuse_unknown
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    import onnx_ir as ir


@register
@dataclass(frozen=True)
class Onnxsim(Bridge):
    """Run the simplifier of the onnxsim package."""

    name: ClassVar[str] = "onnxsim"
    module: ClassVar[str] = "onnxsim"
    package: ClassVar[str] = "onnxsim"
    skip: tuple[str, ...] = ()
    fold: bool = True
    fuse_bn: bool = True

    def __post_init__(self) -> None:
        """Refuse names in ``skip`` that onnxsim would silently ignore."""
        super().__post_init__()
        if self.skip:
            refuse_unknown(self.skip, _optimizers(), "onnxsim has no optimizer")

    def transform(self, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        import onnx_ir as ir
        import onnxsim

        proto = in_memory(model)
        defaults = {tensor.name for tensor in proto.graph.initializer}
        simplified = onnxsim.simplify(
            proto,
            skipped_optimizers=list(self.skip),
            skip_constant_folding=not self.fold,
            skip_fuse_bn=not self.fuse_bn,
            mutable_initializer=any(value.name in defaults for value in proto.graph.input),
        )[0]
        after: ir.Model = ir.from_proto(simplified)
        return after


def _optimizers() -> list[str]:
    """Return the names that onnxsim's ``skipped_optimizers`` knows; it ignores all others."""
    from onnxsim import onnxsim_cpp2py_export

    return list(onnxsim_cpp2py_export._list_optimizers())  # noqa: SLF001, RUF100  no public one
