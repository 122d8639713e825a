"""The devices of this host, as ``npu-smi info`` lists them.

Two rows a chip, after a line of ``+====`` below a heading that has Name and Health. Three layouts
are known, and all may start with a row that tells the version of npu-smi:

    - 310P3: ``Chip Device | Bus-Id | AICore(%) Memory-Usage(MB)``, NPU ids such as 2144, power NA
    - 910B4: ``Chip | Bus-Id | AICore(%) Memory-Usage(MB) HBM-Usage(MB)``
    - Ascend910: as the second with ``Chip Phy-ID``; two chips a card, power ``-`` for one of them

References:
    - https://github.com/vllm-project/vllm-ascend/issues/2795 (310P3)
    - https://github.com/vllm-project/vllm-ascend/issues/152 (910B1)
    - https://github.com/vllm-project/vllm-ascend/issues/2534 (Ascend910)
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ascend.errors import AscendError, MissingToolError, ToolFailedError
from ascend.process import run_tool
from ascend.soc import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

# The driver brings it; containers get it from one of these folders of their host.
FOLDERS = ("/usr/local/bin", "/usr/local/sbin")
HEALTHY = "OK"
_TIMEOUT_S = 60.0
_MAX_LINES = 10_000
_FIRST = re.compile(r"\|\s*(\d{1,9})\s+(\S+)\s*\|\s*(\S+)\s*\|([^|]*)")
_SECOND = re.compile(r"\|\s*(\d{1,9})(?:\s+(\d{1,9}))?\s*\|\s*(\S+)\s*\|([^|]*)")
_VERSION = re.compile(r"\|\s*npu-smi\b[^|]*\bVersion:\s*(\S{1,40})")
_USAGE = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9})")


@dataclass(frozen=True)
class Device:
    """A chip; what npu-smi did not say, or said as NA, is None.

    Attributes:
        npu: Id of the card.
        chip: Number of the chip on its card.
        device: Number of the chip on the host, by which programs choose it; the id of the card
            where the table has no column for it (one chip a card).
        name: As in the Name column, such as 310P3.
        health: ``OK`` or what else npu-smi says.
        bus_id: PCI address.
        power_w: Power, in watts.
        temperature_c: Temperature, in degrees Celsius.
        aicore_percent: Use of the AI cores.
        memory_used_mb: Memory in use; high-bandwidth memory where the chip has it.
        memory_total_mb: All of it.
    """

    npu: int
    chip: int
    device: int
    name: str
    health: str
    bus_id: str
    power_w: float | None
    temperature_c: float | None
    aicore_percent: float | None
    memory_used_mb: int | None
    memory_total_mb: int | None

    @property
    def soc_version(self) -> str | None:
        """What ATC calls the chip; None if its name is none that is known."""
        try:
            return normalise(self.name)
        except AscendError:
            return None


def find_npu_smi(environ: Mapping[str, str] | None = None) -> Path:
    """Return the program, from PATH or where drivers put it.

    Raises:
        MissingToolError: If it is not there.
    """
    path = (os.environ if environ is None else environ).get("PATH", "")
    folders = [*filter(None, path.split(os.pathsep)), *FOLDERS]
    found = shutil.which("npu-smi", path=os.pathsep.join(folders))
    if found is None:
        msg = (
            f"no program 'npu-smi' on PATH or in {' or '.join(FOLDERS)}; install the driver of "
            "the card (https://www.hiascend.com/hardware/firmware-drivers), or, in a container, "
            "mount it from the host"
        )
        raise MissingToolError(msg)
    return Path(found)


def list_devices(environ: Mapping[str, str] | None = None) -> tuple[Device, ...]:
    """Return the chips of this host, see :func:`info`; an empty tuple if there are none."""
    return parse(info(environ))


def info(environ: Mapping[str, str] | None = None) -> str:
    """Run ``npu-smi info`` and return what it prints.

    Args:
        environ: The variables to run it with; None for ours.

    Raises:
        MissingToolError: If npu-smi is not there.
        ToolFailedError: If it fails or does not end.
    """
    program = find_npu_smi(environ)
    done = run_tool([str(program), "info"], timeout_s=_TIMEOUT_S, env=environ)
    if done.timed_out or done.returncode:
        how = "did not end" if done.timed_out else f"ended with status {done.returncode}"
        last = next((line for line in reversed(done.output.splitlines()) if line.strip()), "")
        msg = (
            f"'{program} info' {how} after {done.seconds:.0f} s and said {last[:200]!r}; expected "
            "a table of devices: check the driver, and that no other container holds the device"
        )
        raise ToolFailedError(msg)
    return done.output


def version(text: str) -> str | None:
    """Return the version in ``npu-smi info``, which is that of the driver; None without one."""
    found = _VERSION.search(text)
    return found[1] if found else None


def parse(text: str) -> tuple[Device, ...]:
    """Return the chips of ``npu-smi info``; rows that are no chip are passed over."""
    devices: list[Device] = []
    listing = heading = False
    first: re.Match[str] | None = None
    for line in text.splitlines()[:_MAX_LINES]:
        if line.startswith("+="):
            listing, heading = listing or heading, False
        elif _is_heading(line):
            listing, heading, first = False, "Health" in line, None
        elif listing and first and (second := _SECOND.match(line)):
            devices.append(_device(first, second))
            first = None
        elif listing and not line.startswith("+"):
            first = _FIRST.match(line)
    return tuple(devices)


def _is_heading(line: str) -> bool:
    """Return whether ``line`` starts a table: that of the devices, or that of processes."""
    return bool(re.match(r"\|\s*NPU\s", line))


def _device(first: re.Match[str], second: re.Match[str]) -> Device:
    power, temperature = (*first[4].split(), "", "")[:2]
    usage = [(int(used), int(total)) for used, total in _USAGE.findall(second[4])]
    memory = max(usage, key=lambda pair: pair[1], default=(None, None))
    return Device(
        npu=int(first[1]),
        chip=int(second[1]),
        device=int(second[2] or first[1]),
        name=first[2],
        health=first[3],
        bus_id=second[3],
        power_w=_number(power),
        temperature_c=_number(temperature),
        aicore_percent=_number((*second[4].split(), "")[0]),
        memory_used_mb=memory[0],
        memory_total_mb=memory[1],
    )


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) else None
