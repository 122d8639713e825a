"""Presets: pass lists as text, for a device and its software.

The text names passes of ``onnx_passes`` and nothing else is known of them here; ``onnx-passes run
--passes @NAME`` puts the text in place of the name.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preset:
    """A pass list with a name.

    Attributes:
        name: Without the ``@``.
        passes: The pass list as text.
        summary: One sentence on what it is for.
        source: Where the needs that it meets are written down.
    """

    name: str
    passes: str
    summary: str
    source: str


_CLEAN_UP = "(fold-constants,drop-identity,merge-duplicates,drop-unused)*"
_CANN_DOCUMENTS = "https://www.hiascend.com/document/detail/en/canncommercial"

PRESETS = (
    Preset(
        "clean",
        f"onnxsim,{_CLEAN_UP}",
        "Make the graph smaller, for any device.",
        "https://github.com/daquexian/onnx-simplifier",
    ),
)
