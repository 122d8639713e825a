"""ir-script: run onnx-ir code or onnxscript rewrite rules as a pass.

Before::

    x -> Neg -> Neg -> y        and rules.py, which says that Neg(Neg(x)) is x

After::

    x -> Identity -> y

Fires when:
    the script changes the model. It defines ``edit(model)``, which changes an ``onnx_ir.Model`` or
    returns another one; or ``rules``: a ``RewriteRule``, a ``RewriteRuleSet`` or a list of rules
    of ``onnxscript.rewriter``, which are applied to the whole model.

    The script is your own code. It runs only when you name it, with your rights, in a child
    process that ends after ``timeout_s`` seconds. Weights in files stay there until they are read.

Leaves alone:
    - the model, when the script raises, defines neither name or does not end in time: the pass
      fails and names the reason.

Numerics:
    Close is what is checked: a script that means to change the numbers needs ``--on-fail keep``,
    and one that means to rename inputs or outputs too.

References:
    - https://microsoft.github.io/onnxscript/tutorial/rewriter/rewrite_patterns.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from onnx_passes.bridges.script import Script
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir


@register
@dataclass(frozen=True)
class IrScript(Script):
    """Run your own onnx-ir code or onnxscript rewrite rules."""

    name: ClassVar[str] = "ir-script"
    module: ClassVar[str] = "onnx_ir"
    package: ClassVar[str] = "onnx-ir"

    @classmethod
    def apply(cls, script: Path, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        from onnx_passes.bridges.scripts import child as tools

        names = tools.names_of(script)
        if "edit" in names:
            return names["edit"](model) or model
        if "rules" in names:
            return _rewritten(model, names["rules"])
        msg = "it defines neither edit(model) nor rules"
        raise RuntimeError(msg)


def _rewritten(model: ir.Model, rules: Any) -> ir.Model:  # noqa: ANN401  onnxscript is optional
    from onnxscript import rewriter

    if isinstance(rules, rewriter.RewriteRule):
        rules = [rules]
    after: ir.Model = rewriter.rewrite(model, pattern_rewrite_rules=rules)
    return after
