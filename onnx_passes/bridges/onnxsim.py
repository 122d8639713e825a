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

Numerics:
    Close: it folds BatchNormalization into weights and reorders sums. It is asked for no check of
    its own, since the manager compares before and after.

References:
    - https://github.com/onnxsim/onnxsim
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onnx_passes.core.contract import (
    Exactness,
    MissingToolError,
    Note,
    Pass,
    PassResult,
    ToolError,
    UsageError,
    label,
)
from onnx_passes.core.registry import did_you_mean, register

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


@register
@dataclass(frozen=True)
class Onnxsim(Pass):
    """Run the simplifier of the onnxsim package."""

    name: ClassVar[str] = "onnxsim"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "bridge"
    isolated: ClassVar[bool] = True
    skip: tuple[str, ...] = ()
    fold: bool = True
    fuse_bn: bool = True

    def __post_init__(self) -> None:
        """Refuse names in ``skip`` that onnxsim would silently ignore."""
        known = _optimizers() if self.skip else ()
        for name in self.skip:
            if name not in known:
                near = did_you_mean(name, known)
                msg = f"onnxsim has no optimizer {name!r}{near} (it has {len(known)} in all)"
                raise UsageError(msg)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        import onnx_ir as ir

        before = ir.to_proto(ir.external_data.load_to_model(model.clone()))
        simplified = ir.from_proto(self._simplify(before))
        _restore_interface(model, simplified)
        result = PassResult(skipped=_restore_metadata(model, simplified))
        if _content(ir.to_proto(simplified)) != _content(before):
            text = f"{_count(model)} nodes before, {_count(simplified)} after"
            _take_over(model, simplified)
            result.rewritten.append(Note("model", text))
        return result

    def _simplify(self, proto: onnx.ModelProto) -> onnx.ModelProto:
        onnxsim = _onnxsim()
        defaults = {tensor.name for tensor in proto.graph.initializer}
        try:
            simplified: onnx.ModelProto = onnxsim.simplify(
                proto,
                skipped_optimizers=list(self.skip),
                skip_constant_folding=not self.fold,
                skip_fuse_bn=not self.fuse_bn,
                mutable_initializer=any(value.name in defaults for value in proto.graph.input),
            )[0]
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            msg = f"onnxsim failed: {reason}"
            raise ToolError(msg) from error
        return simplified


def _onnxsim() -> Any:  # noqa: ANN401  a module without types
    try:
        import onnxsim
    except ImportError as error:
        msg = "onnxsim is not installed; pip install onnxsim"
        raise MissingToolError(msg) from error
    return onnxsim


def _optimizers() -> list[str]:
    """Return the names that onnxsim's ``skipped_optimizers`` knows; it ignores all others."""
    _onnxsim()
    from onnxsim import onnxsim_cpp2py_export

    return sorted(onnxsim_cpp2py_export._list_optimizers())  # noqa: SLF001, RUF100  no public one


def _restore_interface(model: ir.Model, simplified: ir.Model) -> None:
    """Give inputs and outputs their types, shapes and metadata back.

    Raises:
        ToolError: If onnxsim renamed, dropped or added one.
    """
    for kind in ("inputs", "outputs"):
        before, after = getattr(model.graph, kind), getattr(simplified.graph, kind)
        names = [value.name for value in before], [value.name for value in after]
        if names[0] != names[1]:
            msg = f"onnxsim changed the graph {kind} from {names[0]} to {names[1]}"
            raise ToolError(msg)
        for old, new in zip(before, after, strict=True):
            new.type, new.shape = old.type, old.shape
            new.metadata_props.update(old.metadata_props)


def _restore_metadata(model: ir.Model, simplified: ir.Model) -> list[Note]:
    """Give nodes name and metadata back; return a note on each node whose metadata is lost.

    A node is found again by its name and operator, or by its operator and first output.
    """
    found: dict[tuple[str, str], ir.Node] = {}
    for node in simplified.graph.all_nodes():
        for name in _names(node):
            found.setdefault((node.op_type, name), node)
    lost = []
    for node in model.graph.all_nodes():
        twins = [found[key] for name in _names(node) if (key := (node.op_type, name)) in found]
        if twins:
            twins[0].name = node.name
            twins[0].metadata_props.update(node.metadata_props)
        elif node.metadata_props:
            keys = ", ".join(sorted(node.metadata_props))
            lost.append(Note(label(node), f"it is gone, and its metadata with it: {keys}"))
    return lost


def _names(node: ir.Node) -> list[str]:
    return [name for name in (node.name, label(node)) if name]


def _content(proto: onnx.ModelProto) -> tuple[list[Any], ...]:
    """Return what is compared to see a change: shapes that onnxsim wrote down are none."""
    return list(proto.graph.node), list(proto.graph.initializer), list(proto.functions)


def _take_over(model: ir.Model, simplified: ir.Model) -> None:
    model.graph, model.ir_version = simplified.graph, simplified.ir_version
    model.functions.clear()
    model.functions.update(simplified.functions)


def _count(model: ir.Model) -> int:
    return sum(1 for _ in model.graph.all_nodes())
