"""A kernel that the device would start, and its amounts of everything that takes time."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ascend.cost.prices import Work

if TYPE_CHECKING:
    from ascend.cost.chip import Chip
    from ascend.cost.engine import Place
    from ascend.cost.site import Demand
    from ascend.cost.tensors import Form


@dataclasses.dataclass
class Kernel:
    """One kernel: a node, what joined it, and what it moves.

    Attributes:
        label: The node that starts it, or what a conversion is for.
        operator: Its operator; TransData or Cast for a conversion.
        place: Where it is thought to run, and why.
        demand: What its first node asks for.
        form: The form of what it writes.
        fused: The labels of the nodes that joined it.
        vector_cycles: Of all its nodes.
        read_bytes: What it reads.
        written_bytes: What it writes.
        written_elements: Likewise.
    """

    label: str
    operator: str
    place: Place
    demand: Demand
    form: Form
    fused: list[str] = dataclasses.field(default_factory=list)
    vector_cycles: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    written_elements: int = 0

    def work(self, chip: Chip) -> Work:
        """Return the amounts of this kernel."""
        if self.place.engine == "AI CPU":
            return Work(cpu_launches=1, cpu_elements=self.written_elements)
        demand = self.demand
        return Work(
            launches=demand.launches,
            peak_us=max(self._peaks_us(chip).values()),
            copies=demand.copies,
            row_copies=demand.row_copies,
            fetches=demand.fetches,
        )

    def bound(self, chip: Chip) -> str:
        """Return which of cube, vector unit and memory needs the most time at its peak."""
        peaks = self._peaks_us(chip)
        return max(peaks, key=lambda unit: peaks[unit])

    def _peaks_us(self, chip: Chip) -> dict[str, float]:
        moved = self.demand.moved_bytes or self.read_bytes + self.written_bytes
        return {
            "cube": chip.cycles_us(self.demand.cube_cycles),
            "vector": chip.cycles_us(self.vector_cycles),
            "memory": chip.memory_us(moved),
        }


@dataclasses.dataclass
class Kernels:
    """What a model is thought to become.

    Attributes:
        started: The kernels, in order.
        not_counted: Label and reason of each node whose cost is not known.
        refused: Label and reason of each node that ATC refuses; counted as if it did not.
        constant: How many nodes are computed at compile time.
        free: How many nodes start no kernel.
    """

    started: list[Kernel] = dataclasses.field(default_factory=list)
    not_counted: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    refused: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    constant: int = 0
    free: int = 0
