"""A compiled model as the stand-in atc writes it: a line, a line of JSON, then the ONNX file."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

Array = np.ndarray[Any, Any]

MAGIC = b"STANDIN-OM"


class AclError(RuntimeError):
    """What the runtime of the device raises."""


@dataclass(frozen=True)
class Description:
    """An input or output as the session tells it."""

    name: str
    datatype: str
    shape: list[int]
    size: int
    realsize: int


class Model:
    """A model on the "device"."""

    def __init__(self, device: int, path: str) -> None:
        """Open the device and load the model, or fail as the real one does."""
        if os.environ.get("STANDIN_AIS_BENCH_FAIL") == "open-device" or device > 7:
            fail(f"acl open device {device} failed", "[1][ACL: device is not there]")
        self.header, content = _split(Path(path))
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4
        try:
            self.session = ort.InferenceSession(content, options, ["CPUExecutionProvider"])
        except Exception:  # the runtime's errors share no base class
            fail("load model from file failed", "[1][ACL: invalid model]")
        self.times_ms: list[float] = []

    @property
    def gears(self) -> list[int]:
        """The batches of which one is chosen for each run; none if there is only one."""
        groups = (self.header.get("gears") or {}).get("dynamic_batch_size", [])
        return [batch for (batch,) in groups]

    def inputs(self, batch: int | None = None) -> list[Description]:
        """Return the inputs, at a gear's batch if the model has gears."""
        found = []
        for value in self.session.get_inputs():
            shape = [int(dim) for dim in self.header["inputs"][value.name]]
            if batch is not None:
                shape[0] = batch
            found.append(_describe(value.name, value.type, shape))
        return found

    def outputs(self) -> list[Description]:
        """Return the outputs, whose shapes a run shows."""
        arrays = self.run([np.zeros(one.shape, one.datatype) for one in self.inputs()])
        self.times_ms.clear()
        names = [value.name for value in self.session.get_outputs()]
        return [
            Description(name, str(array.dtype), list(array.shape), array.nbytes, array.nbytes)
            for name, array in zip(names, arrays, strict=True)
        ]

    def run(self, arrays: list[Array]) -> list[Array]:
        """Compute, and note the time."""
        names = [value.name for value in self.session.get_inputs()]
        start = time.perf_counter()
        outputs = self.session.run(None, dict(zip(names, arrays, strict=True)))
        self.times_ms.append(1000 * (time.perf_counter() - start))
        return [np.asarray(output) for output in outputs]


def fail(line: str, reason: str) -> NoReturn:
    """Print a line of the documented form and raise what the runtime raises."""
    print(f"[ERROR] {line}", file=sys.stderr, flush=True)  # noqa: T201  it is a program
    raise AclError(reason)


def _split(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        magic, header, content = path.read_bytes().split(b"\n", 2)
        document = json.loads(header)
    except (OSError, ValueError):
        fail("load model from file failed", "[1][ACL: invalid file]")
    if magic != MAGIC or os.environ.get("STANDIN_AIS_BENCH_FAIL") == "load-model":
        fail("load model from file failed", "[1][ACL: invalid file]")
    return document, content


def _describe(name: str, kind: str, shape: list[int]) -> Description:
    dtype = np.dtype({"float": "float32", "double": "float64"}.get(kind[7:-1], kind[7:-1]))
    size = int(np.prod(shape)) * dtype.itemsize
    return Description(name, dtype.name, shape, size, size)
