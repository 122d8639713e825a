"""A finding of the lint, and the table of all codes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, NamedTuple

from ascend.op_support.node_query import label

if TYPE_CHECKING:
    import onnx_ir as ir

Level = Literal["error", "warning", "info"]
LEVELS: tuple[Level, ...] = ("error", "warning", "info")

# Code: what is wrong, in general. A code never changes its meaning, and is never used again.
CODES: dict[str, str] = {
    "CV001": "There is no data on this version of CANN; what its neighbours say is unverified.",
    "OP001": "The operator is not among those that ATC takes.",
    "OP002": "The operator is not registered for the model's opset, which counts for every node.",
    "OP003": "Whether ATC takes the operator is not known for this version of CANN.",
    "OP004": "The operator runs on the AI CPU, which is slow.",
    "OP005": "No engine has a kernel for the operator with these dtypes.",
    "OP006": "ATC takes the operator; which engine runs it is not known.",
    "OP007": "The engine depends on a shape, a dtype or a value that is not known.",
    "OP008": "An attribute or a constant input is outside of what is documented.",
    "ON001": "The model's opset is outside of what the version takes.",
    "GS001": "ATC of this version has no GridSample.",
    "GS002": "GridSample is not registered for the model's opset.",
    "GS003": "GridSample lacks an attribute, which the parser then reads as an empty text.",
    "GS004": "GridSample uses a spelling of opset 20, which the parser does not know.",
    "GS005": "GridSample runs on the AI CPU, which is slow.",
    "GS006": "GridSample runs on the AI Core, point by point, between changes of layout.",
    "SG001": "An operator other than If has a sub-graph.",
    "CD001": "The operator is of a custom domain.",
    "FN001": "The node calls a function of the model.",
    "SH001": "An input has a dynamic size, and no size or gears are given.",
    "SH002": "The gears do not fit the inputs.",
    "SH003": "An input has a dynamic size that gears serve.",
    "SH004": "A shape is known only when the model runs, or not inferred.",
    "TY001": "An input or output of the graph is no tensor.",
    "TY002": "A tensor is float64.",
    "TY003": "An int64 tensor is data, neither an index nor a shape.",
    "TY004": "A value inside the graph is no tensor.",
    "TY005": "A tensor has a dtype that no kernel of the table takes.",
    "NM001": "A name holds a character that ATC's flags give a meaning to.",
    "NM002": "Several nodes have the same name (E19009).",
    "NM003": "A node has no name.",
    "NM004": "The name of the file holds a character that ATC refuses.",
    "EX001": "The weights are in files beside the model.",
    "EX002": "The model is larger than one file can be (2 GiB).",
}


class Subject(NamedTuple):
    """What a finding is about.

    Attributes:
        text: A node by operator and first output, an input, the model.
        kind: The operator, or what else it is.
        node: The name of the node, if it is one that has a name.
    """

    text: str
    kind: str
    node: str = ""

    @staticmethod
    def of(node: ir.Node) -> Subject:
        """Return a node as a subject."""
        return Subject(label(node), node.op_type, node.name or "")


MODEL = Subject("model", "model")


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that ATC will stumble over, or that a person should know.

    Attributes:
        code: A key of ``CODES``.
        level: What it means for the compilation.
        subject: What it is about.
        why: One sentence without a full stop.
        source: Where that is written down, and how certain it is.
        fix: The pass that cures it, as text of a pass list; empty if there is none.
        advice: What to do where no pass helps.
    """

    code: str
    level: Level
    subject: Subject
    why: str
    source: str
    fix: str = ""
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Group:
    """Findings that say the same of several subjects.

    Attributes:
        finding: The first of them.
        count: How many there are.
        kinds: How many of each kind.
    """

    finding: Finding
    count: int
    kinds: dict[str, int]


def grouped(findings: list[Finding]) -> list[Group]:
    """Return the findings with equal ones together, the worst first."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for each in findings:
        key = (each.level, each.code, each.why, each.source, each.fix, each.advice)
        groups.setdefault(key, []).append(each)
    ordered = sorted(groups.values(), key=lambda members: LEVELS.index(members[0].level))
    return [_group(members) for members in ordered]


def _group(members: list[Finding]) -> Group:
    kinds: dict[str, int] = {}
    for each in members:
        kinds[each.subject.kind] = kinds.get(each.subject.kind, 0) + 1
    return Group(members[0], len(members), kinds)
