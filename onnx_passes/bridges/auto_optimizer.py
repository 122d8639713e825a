"""auto-optimizer: run a rule of Huawei's auto-optimizer as a pass.

Before::

    x [N, C, L] -> Conv (1-D) -> Relu -> y        and rule=KnowledgeConv1d2Conv2d

After::

    x -> Unsqueeze -> Conv (2-D) -> Relu -> Squeeze -> y

Fires when:
    the rule named by ``rule`` matches. A rule is a class of the installed package; those of other
    vendors count as soon as they register with its ``KnowledgeFactory``. The README beside this
    file says how to install it.

Leaves alone:
    - everything, when ``rule`` is misspelt or the rule raises.
    - the package's own habit of reporting success whatever came out: a rule that writes an
      invalid model or other numbers fails here, by name.

Numerics:
    Close is what is checked. auto-optimizer itself compares nothing.

References:
    - https://gitee.com/ascend/msit
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from onnx_passes.bridges.tool import Bridge, refuse_unknown
from onnx_passes.core.contract import MissingToolError, UsageError
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    import onnx_ir as ir

_WHERE = "not installed: see onnx_passes/bridges/README.md (Huawei's msit, from source)"


@register
@dataclass(frozen=True)
class AutoOptimizer(Bridge):
    """Run a rule of Huawei's auto-optimizer."""

    name: ClassVar[str] = "auto-optimizer"
    module: ClassVar[str] = "auto_optimizer"
    package: ClassVar[str] = "auto-optimizer"
    optimises: ClassVar[bool] = False  # without a rule it does nothing
    rule: str = ""

    def __post_init__(self) -> None:
        """Refuse a rule that the installed package does not have."""
        super().__post_init__()
        known = rules()
        if not self.rule:
            msg = f"pass 'auto-optimizer' needs a rule, one of {', '.join(known)}"
            raise UsageError(msg)
        refuse_unknown([self.rule], known, "auto_optimizer has no rule")

    @classmethod
    def missing(cls) -> str:
        """Return how to get the package: it is in no registry."""
        return _WHERE if super().missing() else ""

    def transform(self, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        import onnx_ir as ir
        from auto_optimizer import OnnxGraph

        from onnx_passes.core.model_io import clone, load, save

        with tempfile.TemporaryDirectory(prefix="onnx-passes-") as name:
            folder = Path(name)
            save(clone(model), folder / "in.onnx")
            graph = OnnxGraph.parse(str(folder / "in.onnx"))
            changed = _apply(_knowledge(self.rule), graph)
            if not changed:
                return clone(model)
            graph.save(str(folder / "out.onnx"))
            return ir.external_data.load_to_model(load(folder / "out.onnx"))


def rules() -> list[str]:
    """Return the names of the rules of the installed package, sorted.

    Raises:
        MissingToolError: If the package is there and has no rules: another one of that name.
    """
    try:
        from auto_optimizer import KnowledgeFactory

        return sorted(KnowledgeFactory.get_knowledge_pool())
    except (ImportError, AttributeError) as error:
        msg = f"the installed auto_optimizer is not Huawei's ({error}); {_WHERE}"
        raise MissingToolError(msg) from error


def _knowledge(rule: str) -> Any:  # noqa: ANN401  a class of the package
    from auto_optimizer import KnowledgeFactory

    knowledge = KnowledgeFactory.get_knowledge(rule)
    knowledge.reset()
    return knowledge


def _apply(knowledge: Any, graph: Any) -> bool:  # noqa: ANN401  classes of the package
    """Apply each pattern of a rule wherever it matches; return whether it did anything."""
    changed = False
    knowledge.pre_process(graph)
    while knowledge.has_next_pattern():
        knowledge.next_pattern()
        for match in knowledge.match_pattern(graph):
            changed = bool(knowledge.apply(graph, match)) or changed
    knowledge.post_process(graph)
    return changed
