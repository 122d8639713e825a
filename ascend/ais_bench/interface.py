"""What a compiled model takes and gives, in bytes: asked of ais_bench itself before a long run.

An .om has no documented format, so a child in ais_bench's own Python loads it, see
:mod:`ascend.ais_bench.probe`. A size is believed only if it is 1, 2, 4 or 8 bytes for each element
of the shape; otherwise it counts as unknown, and the checks that need it are left to ais_bench.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from ascend.ais_bench.probe import MARK

_ELEMENT_BYTES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Tensor:
    """An input or output of a compiled model; the size is None if it is not known."""

    name: str
    shape: tuple[int, ...]
    size_bytes: int | None


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of a compiled model; empty if they are not known."""

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    @property
    def input_bytes(self) -> list[int] | None:
        """Return the size of each input; None if one is not known."""
        sizes = [one.size_bytes for one in self.inputs if one.size_bytes is not None]
        return sizes if sizes and len(sizes) == len(self.inputs) else None


def parse_interface(text: str) -> Interface:
    """Return what the probe printed; whatever it is, it is read without an error."""
    lines = [line for line in text.splitlines() if line.startswith(MARK)]
    try:
        document = json.loads(lines[-1].removeprefix(MARK)) if lines else {}
    except (ValueError, RecursionError):
        return Interface()
    if not isinstance(document, dict):
        return Interface()
    return Interface(_tensors(document.get("inputs")), _tensors(document.get("outputs")))


def _tensors(found: object) -> tuple[Tensor, ...]:
    if not isinstance(found, list):
        return ()
    tensors = []
    for one in found:
        shape = one.get("shape") if isinstance(one, dict) else None
        if not isinstance(shape, list) or not all(type(dim) is int for dim in shape):
            return ()
        tensors.append(Tensor(str(one.get("name")), tuple(shape), _size(shape, one.get("bytes"))))
    return tuple(tensors)


def _size(shape: list[int], size: object) -> int | None:
    """Return ``size`` if it fits the shape."""
    elements = math.prod(shape)
    if type(size) is not int or any(dim < 1 for dim in shape):
        return None
    return size if size in {elements * each for each in _ELEMENT_BYTES} else None
