"""What ATC will say of a model, before ATC is asked: one finding for each node and each trouble.

The model should carry the shapes that inference finds: some operators go to another engine by size.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ascend.lint.finding import MODEL, Finding
from ascend.lint.inputs import input_findings
from ascend.lint.names import name_findings
from ascend.lint.nodes import node_findings
from ascend.lint.types import type_findings
from ascend.op_support.table import OpSupport

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from ascend.atc.shapes import Gears


@dataclasses.dataclass(frozen=True)
class Target:
    """What the model is compiled for, and how.

    Attributes:
        cann: As 8.1.RC1.
        soc: As Ascend310P3.
        keep_float32: Whether all of it stays float32 (ATC's must_keep_origin_dtype).
        gears: The sizes that dynamic dimensions will have.
    """

    cann: str
    soc: str
    keep_float32: bool = False
    gears: Gears | None = None


def lint(model: ir.Model, target: Target, *, declared: ir.Model | None = None) -> list[Finding]:
    """Return what is to be said of a model, in the order: version, inputs, nodes, values, names.

    Args:
        model: With the shapes it will have on the device; it is not changed.
        target: What it is compiled for.
        declared: The model before its inputs were given sizes (None: the same); it is asked for
            what is dynamic.

    Raises:
        AscendError: If the version is none, or a data file cannot be used.
    """
    support = OpSupport(target.cann, target.soc)
    return [
        *_of_version(support),
        *input_findings(declared or model, target.gears),
        *node_findings(model, support, keep_float32=target.keep_float32),
        *type_findings(model, support),
        *name_findings(model),
    ]


def _of_version(support: OpSupport) -> Iterator[Finding]:
    if neighbours := support.known.neighbours:
        why = f"no data on CANN {support.cann}; that on {' and '.join(neighbours)} is used instead"
        yield Finding("CV001", "info", MODEL, why, "neighbouring versions (unverified)")
