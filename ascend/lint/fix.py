"""The passes that cure the findings, in the order in which they help each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ascend.lint.finding import Finding

# The opset late, because passes speak the one the model has; pin-shape needs sizes from the user.
ORDER = (
    "fold-shapes",
    "drop-double",
    "unroll-loop",
    "decompose-affine-grid",
    "decompose-einsum",
    "decompose-is-nan",
    "decompose-reflect-pad",
    "decompose-grid-sample",
    "set-opset",
    "narrow-int64",
)


def fix_passes(findings: Iterable[Finding]) -> list[str]:
    """Return the passes, each once, with their options."""
    texts = {each.fix.partition("{")[0]: each.fix for each in findings}
    return [texts[name] for name in ORDER if name in texts]
