"""Which nodes must stay float32, told by metadata and, after tools that drop it, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.emit import PRECISION_KEY, PRECISION_SEGMENT
from onnx_passes.core.values import graphs

if TYPE_CHECKING:
    import onnx_ir as ir


def restore_precision_marks(model: ir.Model) -> int:
    """Mark again the nodes whose name says that they must stay float32.

    Tools that rebuild nodes (onnxsim does) keep names and drop metadata.

    Returns:
        The number of nodes that were marked.
    """
    count = 0
    for graph in graphs(model):
        for node in graph:
            if PRECISION_SEGMENT in (node.name or "") and PRECISION_KEY not in node.metadata_props:
                node.metadata_props[PRECISION_KEY] = "float32"
                count += 1
    return count
