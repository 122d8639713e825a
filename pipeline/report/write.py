"""Write ``report.html`` and ``report.json`` of a flow, each whole or as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline.errors import FlowError
from pipeline.report.document import to_document
from pipeline.report.page import to_page
from pipeline.stages.state import write_whole

if TYPE_CHECKING:
    from pathlib import Path

HTML_NAME, JSON_NAME = "report.html", "report.json"


def write_report(work: Path) -> tuple[Path, Path]:
    """Write the report of the flow in ``work`` into ``work/report``; return both files.

    Raises:
        FlowError: If no flow has begun there, or the report cannot be written.
    """
    document = to_document(work)
    folder = work / "report"
    html, plain = folder / HTML_NAME, folder / JSON_NAME
    try:
        # ASCII only: a name may hold half a surrogate pair, which no encoding takes.
        write_whole(plain, json.dumps(document, indent=1) + "\n")
        write_whole(html, to_page(document))
    except OSError as error:
        msg = f"cannot write a report to {folder}: {error.strerror or error}"
        raise FlowError(msg) from error
    return html, plain
