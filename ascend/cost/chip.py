"""What the cost model knows of the Ascend 310P3 without measuring: sizes, rates, counts.

Each constant is a field with its unit and its source. ``documented`` and ``calculated`` ones come
from the chip's platform file and arithmetic on it; an ``assumed`` one has no source, and says why
it was chosen. What was fitted to published timings is in :mod:`ascend.cost.prices`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLATFORM = "platform file of the 310P3"


def _constant(value: float, unit: str, kind: str, source: str) -> Any:  # noqa: ANN401  a field
    """Return a dataclass field that carries unit, kind and source."""
    return dataclasses.field(default=value, metadata={"unit": unit, "kind": kind, "source": source})


@dataclasses.dataclass(frozen=True)
class Chip:
    """Sizes and rates of one chip; :meth:`constants` lists them with unit and source."""

    cores: int = _constant(8, "AI cores", "documented", _PLATFORM)
    clock_mhz: float = _constant(1060.0, "cycles/us", "documented", _PLATFORM)
    cube_edge: int = _constant(
        16, "float16 elements", "documented", f"{_PLATFORM}: one 16x16x16 product a cycle and core"
    )
    lanes_2_bytes: int = _constant(
        128, "elements/cycle/core", "documented", f"{_PLATFORM}: vector unit, float16"
    )
    lanes_4_bytes: int = _constant(
        64, "elements/cycle/core", "calculated", "half of the float16 lanes"
    )
    lanes_8_bytes: int = _constant(
        1,
        "elements/cycle/core",
        "assumed",
        "no vector conversion of int64 (platform file), so the scalar unit, one element a cycle",
    )
    unified_buffer_bytes: int = _constant(256 << 10, "bytes/core", "documented", _PLATFORM)
    l2_bytes: int = _constant(16 << 20, "bytes", "documented", _PLATFORM)
    l2_bytes_per_us: float = _constant(967e3, "bytes/us", "calculated", f"{_PLATFORM}: 967 GB/s")
    memory_bytes_per_us: float = _constant(
        144e3, "bytes/us", "calculated", f"{_PLATFORM}: 144 GB/s from the AI cores"
    )
    burst_bytes: int = _constant(
        32, "bytes", "assumed", "a strided copy moves blocks of 32 bytes, as operator limits round"
    )

    def constants(self) -> Iterator[dict[str, Any]]:
        """Yield name, value, unit, kind and source of each constant."""
        for field in dataclasses.fields(self):
            yield {"name": field.name, "value": getattr(self, field.name), **field.metadata}

    def cube_cycles(self, rows: int, inner: int, columns: int, count: int = 1) -> int:
        """Return the cycles of ``count`` products [rows, inner] x [inner, columns] on the cubes.

        Each extent is padded to 16. A 16x16 piece of the result belongs to one core, which walks
        along ``inner``; the core with the most pieces decides.
        """
        edge = self.cube_edge
        pieces = count * math.ceil(rows / edge) * math.ceil(columns / edge)
        return math.ceil(pieces / self.cores) * math.ceil(inner / edge)

    def vector_cycles(self, elements: int, lanes: int, operations: int) -> int:
        """Return the cycles of ``operations`` lane operations on each element."""
        return math.ceil(math.ceil(elements / lanes) / self.cores) * operations

    def shared(self, pieces: int) -> int:
        """Return how many of ``pieces`` the core with the most of them gets."""
        return math.ceil(pieces / self.cores)

    def cycles_us(self, cycles: int) -> float:
        """Return the time of some cycles."""
        return cycles / self.clock_mhz

    def memory_us(self, size_bytes: int) -> float:
        """Return the time to move what one kernel reads and writes: L2 serves what fits into it."""
        inside = min(size_bytes, self.l2_bytes)
        outside = size_bytes - inside
        return inside / self.l2_bytes_per_us + outside / self.memory_bytes_per_us

    def in_bursts(self, runs: int, run_bytes: int) -> int:
        """Return the bytes moved for ``runs`` separate pieces of ``run_bytes`` each."""
        return runs * math.ceil(run_bytes / self.burst_bytes) * self.burst_bytes


ASCEND_310P3 = Chip()

# Lane operations for each element: how many vector instructions the usual series or comparison
# takes. Assumed (nobody published them); an operator of this table is element-wise.
ELEMENTWISE = {
    **dict.fromkeys(("Abs", "Add", "And", "Cast", "Ceil", "Floor", "Max", "Mean", "Min", "Mul"), 1),
    **dict.fromkeys(("Neg", "Not", "Or", "Relu", "Round", "Sign", "Sub", "Sum", "Xor", "Sqrt"), 1),
    **dict.fromkeys(("BatchNormalization", "Clip", "Div", "Equal", "Greater", "Less"), 2),
    **dict.fromkeys(("GreaterOrEqual", "LessOrEqual", "LeakyRelu", "Reciprocal", "Where"), 2),
    **dict.fromkeys(("Exp", "IsInf", "IsNaN", "Log", "PRelu"), 3),
    **dict.fromkeys(("HardSigmoid", "Mod", "Sigmoid"), 4),
    **dict.fromkeys(("Elu", "HardSwish", "Softplus", "Selu"), 5),
    **dict.fromkeys(("Pow", "Tanh"), 6),
    **dict.fromkeys(("Cos", "Erf", "Gelu", "Sin"), 16),
}
# Lane operations for each element that is read, assumed likewise.
REDUCTIONS = {
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), 1),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceSumSquare", "ArgMax", "ArgMin", "CumSum"), 2),
    **dict.fromkeys(("Softmax", "LogSoftmax", "ReduceLogSumExp"), 6),
    **dict.fromkeys(("InstanceNormalization", "LayerNormalization"), 8),
}
