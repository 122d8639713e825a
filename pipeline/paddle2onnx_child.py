"""The part of the export that may end its process: a child process of ``pipeline.export``.

paddle2onnx 2.1 aborts on an operator that it does not know and does not say which. Its list of
known operators uses Paddle's old names, the saved program uses the new ones; Paddle itself can
translate.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

OPSET = 16  # the first with GridSample
UNSUPPORTED = "unsupported operators:"
LEAST_SHARED_BYTES = 4096  # a matrix; numbers and shapes are not worth a change
_DIALECT = "1."  # of Paddle's operators in a saved program; "0." and "p" are its frame
_FRAME = frozenset({"data", "fetch"})


def main(program: str, parameters: str, target: str) -> None:
    """Convert ``program`` and ``parameters`` into the ONNX file ``target``."""
    import onnx
    import onnx_graphsurgeon as gs
    import paddle2onnx

    if names := _unsupported(program):
        sys.stderr.write(f"{UNSUPPORTED} {', '.join(names)}\n")
        sys.stderr.flush()
    # Its own optimizers may install packages or fail quietly; graphsurgeon folds the constants.
    data = paddle2onnx.export(program, parameters, opset_version=OPSET, optimize_tool="none")
    graph = gs.import_onnx(onnx.load_from_string(data)).fold_constants()
    _share_constants(graph)
    onnx.save(gs.export_onnx(graph.cleanup().toposort()), target)


def _share_constants(graph: Any) -> None:  # noqa: ANN401  graphsurgeon has no types
    """Store equal matrices once: of a loop, folding makes a transposed matrix for each turn."""
    first: dict[tuple[str, tuple[int, ...], bytes], Any] = {}
    for node in graph.nodes:
        for place, tensor in enumerate(node.inputs):
            values = getattr(tensor, "values", None)  # a variable has none
            if values is not None and values.nbytes >= LEAST_SHARED_BYTES:
                key = (values.dtype.str, values.shape, hashlib.sha256(values.tobytes()).digest())
                node.inputs[place] = first.setdefault(key, tensor)


def _unsupported(program: str) -> list[str]:
    """Return the operators of a saved program that paddle2onnx does not list, in order."""
    import paddle
    import paddle2onnx

    listed = paddle2onnx.utils.get_all_supported_operators_pir()
    # Private, but the only translation there is; the extra pins Paddle below 3.4.
    renamed = [paddle.base.core._get_phi_kernel_name(name) for name in listed]
    known = _FRAME.union(name.rstrip("_") for name in (*listed, *renamed))
    used = _operators(json.loads(Path(program).read_text(encoding="utf-8"))["program"])
    names = (name.removeprefix(_DIALECT) for name in used if name.startswith(_DIALECT))
    return [name for name in dict.fromkeys(names) if name.rstrip("_") not in known]


def _operators(operation: dict[str, Any]) -> Iterator[str]:
    """Yield the operator names inside ``operation``, bodies of loops and branches included."""
    for region in operation.get("regions", ()):
        for block in region["blocks"]:
            for inner in block["ops"]:
                yield inner["#"]
                yield from _operators(inner)
