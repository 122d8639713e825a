"""Findings as SARIF 2.1.0, the format that code review tools show beside a file.

Levels: error, warning and, for info, note. A model has no lines, so a result points at the file
and, as a logical location, at the node.
"""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING, Any

from ascend.lint.finding import CODES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import PurePath

    from ascend.lint.finding import Finding, Level

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS: dict[Level, str] = {"error": "error", "warning": "warning", "info": "note"}


def to_sarif(findings: Iterable[Finding], model: PurePath, version: str) -> dict[str, Any]:
    """Return a SARIF log of one run.

    Args:
        findings: What lint found.
        model: The file, as the user gave it.
        version: Of this package.
    """
    index = {code: number for number, code in enumerate(CODES)}
    uri = urllib.parse.quote(model.as_posix())
    driver = {
        "name": "onnx-passes lint",
        "version": version,
        "rules": [{"id": code, "shortDescription": {"text": text}} for code, text in CODES.items()],
    }
    results = [_result(each, uri, index[each.code]) for each in findings]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
        ],
    }


def _result(finding: Finding, uri: str, rule: int) -> dict[str, Any]:
    subject = finding.subject
    help_text = "; ".join(filter(None, (finding.fix and f"pass {finding.fix}", finding.advice)))
    message = f"{subject.text}: {finding.why}" + (
        f" (what helps: {help_text})" if help_text else ""
    )
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.level],
        "message": {"text": message},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": uri}},
                "logicalLocations": [
                    {
                        "name": subject.node or subject.text,
                        "fullyQualifiedName": subject.text,
                        "kind": "object",
                    }
                ],
            }
        ],
        "properties": {"source": finding.source, "fix": finding.fix},
    }
