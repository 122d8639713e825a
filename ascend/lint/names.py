"""Names that ATC stumbles over."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from ascend.lint.finding import Finding, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

# Between entries and parts of --input_shape, --out_nodes and --keep_dtype; ATC reads no quotes.
_SEPARATORS = re.compile(r"[:;\s\x00-\x1f\x7f]")
_FILE = re.compile(r"[A-Za-z0-9_.-]+")
_FLAGS = "ATC, --input_shape, --out_nodes, --keep_dtype (documented)"
_PATHS = "ATC, --model and --output (documented)"
_DUPLICATES = "ATC, E19009 (documented)"
_RENAME = "onnx-passes edit MODEL -o OUT --rename OLD=NEW"
_ANOTHER_NAME = "export it with names, or give one by hand"


def name_findings(model: ir.Model) -> Iterator[Finding]:
    """Yield what is to be said of names of inputs, outputs and nodes."""
    for side, values in (("input", model.graph.inputs), ("output", model.graph.outputs)):
        for value in values:
            if found := _SEPARATORS.search(value.name or ""):
                subject = Subject(f"{side} {value.name!r}", side)
                why = f"its name holds {found[0]!r}"
                yield Finding("NM001", "warning", subject, why, _FLAGS, advice=_RENAME)
    nodes = list(model.graph.all_nodes())
    counts = Counter(node.name for node in nodes if node.name)
    for node in nodes:
        yield from _of_node(node, counts[node.name or ""])


def file_findings(name: str) -> Iterator[Finding]:
    """Yield what is to be said of the name of the model's file, without its folder."""
    if not _FILE.fullmatch(name):
        why = "ATC takes letters, digits and _ - . in paths"
        subject = Subject(f"file {name!r}", "file")
        yield Finding("NM004", "error", subject, why, _PATHS, advice="rename it")


def _of_node(node: ir.Node, count: int) -> Iterator[Finding]:
    subject, name = Subject.of(node), node.name or ""
    if not name:
        why = "it has no name, so --keep_dtype and reports cannot name it"
        yield Finding("NM003", "info", subject, why, _FLAGS, advice=_ANOTHER_NAME)
    elif count > 1:
        why = f"{count} nodes are named {name!r}"
        yield Finding("NM002", "error", subject, why, _DUPLICATES, advice=_ANOTHER_NAME)
    if found := _SEPARATORS.search(name):
        why = f"its name holds {found[0]!r}"
        yield Finding("NM001", "info", subject, why, _FLAGS, advice=_RENAME)
