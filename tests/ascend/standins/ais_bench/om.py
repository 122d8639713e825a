"""Compiled models for tests that need no compiler: what the stand-in atc would write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx
import onnx.parser

from tests.ascend.standins.ais_bench.infer.model import MAGIC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Two values for each row: their sum and the row itself, so that a mixed-up row is seen.
ROWS = """<ir_version: 8, opset_import: ["" : 13]>
rows (float[N, 4] x) => (float[N, 1] total, float[N, 4] same) {
    axes = Constant <value_ints = [1]> ()
    total = ReduceSum(x, axes)
    same = Identity(x)
}"""
PAIR = """<ir_version: 8, opset_import: ["" : 13]>
pair (float[N, 2] a, int64[N, 1] b) => (float[N, 2] y) {
    c = Cast <to = 1> (b)
    y = Add(a, c)
}"""


def write_om(
    path: Path,
    inputs: Mapping[str, Sequence[int]],
    *,
    text: str = ROWS,
    gears: Mapping[str, Sequence[Sequence[int]]] | None = None,
) -> Path:
    """Write an .om with these input shapes and return its path."""
    header = {
        "soc_version": "Ascend310P3",
        "inputs": {name: list(shape) for name, shape in inputs.items()},
        "gears": gears,
        "precision_mode": "force_fp16",
    }
    content = onnx.parser.parse_model(text).SerializeToString()
    path.write_bytes(MAGIC + b"\n" + json.dumps(header).encode() + b"\n" + content)
    return path
