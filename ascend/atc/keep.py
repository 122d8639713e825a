"""The list of nodes that keep float32: from marks in the model, or from a file.

A line of ATC's --keep_dtype file is the name of a node, or ``OpType::`` and a type of ATC's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ascend.atc.known import nearest
from ascend.errors import AscendError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

PRECISION_KEY = "onnx_passes.precision"  # node metadata; its value is the dtype to keep
_KEPT = "float32"
_BY_TYPE = re.compile(r"OpType::\w{1,100}")
_MAX_BYTES = 4 * 2**20
_SHOWN = 100  # characters of a name in a message


def marked_nodes(model: ir.Model) -> tuple[str, ...]:
    """Return the names of the nodes whose metadata says that they must stay float32.

    Raises:
        AscendError: If one has no name, or one that a line cannot hold.
    """
    nodes = [node for node in model.graph.all_nodes() if _is_marked(node)]
    inside = [node for body in model.functions.values() for node in body if _is_marked(node)]
    for node in (*nodes, *inside):
        output = next((value.name for value in node.outputs if value.name), "")
        if node in inside or not node.name or "\n" in node.name:
            why = "stands in a function" if node in inside else "has no name that a line can hold"
            msg = (
                f"{node.op_type} -> {output!r} is marked to stay float32 but {why}, so "
                "--keep_dtype cannot name it; name or inline it, or give --keep-dtype none"
            )
            raise AscendError(msg)
    return tuple(dict.fromkeys(node.name or "" for node in nodes))


def listed_nodes(path: Path, model: ir.Model) -> tuple[str, ...]:
    """Return the lines of a list that ``onnx-passes precision`` or a person wrote.

    Raises:
        AscendError: If it cannot be read, is empty, or names a node that the model has not.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"--keep-dtype {path} cannot be read ({error}); give a text file, one node a line"
        raise AscendError(msg) from error
    names = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    if not names or len(text) > _MAX_BYTES:
        found = "names no node" if not names else f"has more than {_MAX_BYTES} bytes"
        msg = f"--keep-dtype {path} {found}; give one node a line, or --keep-dtype none"
        raise AscendError(msg)
    known = {node.name for node in model.graph.all_nodes() if node.name}
    for name in names:
        if name not in known and not _BY_TYPE.fullmatch(name):
            hint = nearest(name[:_SHOWN], known)
            msg = f"--keep-dtype {path} names node {name[:_SHOWN]!r}, which is not there{hint}"
            raise AscendError(msg)
    return tuple(dict.fromkeys(names))


def _is_marked(node: ir.Node) -> bool:
    return node.metadata_props.get(PRECISION_KEY) == _KEPT
