"""What this machine has of what the commands need, and how to get the rest.

A check never raises: what is missing or broken is its result. Devices and the toolkit are asked in
the same way as the commands compile, infer and bench ask them.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ascend import npu_smi
from ascend.ais_bench.failure import failure
from ascend.ais_bench.runner import find_ais_bench
from ascend.errors import AscendError, MissingToolError
from ascend.process import run_tool
from ascend.toolkit import Toolkit, find_toolkit
from pipeline.doctor_packages import EVERYTHING, Check, check_packages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ascend.npu_smi import Device

Need = Literal["compile", "infer", "all"]
COMPILE = ("compile",)
INFER = ("infer",)
BOTH = (*COMPILE, *INFER)
# What is checked for whom; a command that is not here needs nothing but our dependencies.
COMMANDS = {
    EVERYTHING: "list, explain, run, diff, bisect, precision, lint, cost and the others",
    "eval": "eval",
    "flow": "flow, which exports from Paddle",
    "compile": "compile",
    "infer": "infer, and bench of a .om",
}
_IMPORT = "import ais_bench.infer.interface"
_IMPORT_TIMEOUT_S = 120.0


@dataclass
class Report:
    """What was found.

    Attributes:
        checks: In the order they were made.
        devices: What npu-smi lists.
        soc_version: What ``--soc`` must be for the first device whose chip is known.
    """

    checks: list[Check] = field(default_factory=list)
    devices: tuple[Device, ...] = ()
    soc_version: str | None = None

    def lacking(self, command: str) -> list[Check]:
        """Return the checks that keep a key of `COMMANDS` from working."""
        return [check for check in self.checks if check.is_bad and check.is_for(command)]

    def exit_code(self, need: Need) -> int:
        """Return 3 if a tool that is needed failed, 4 if one is missing, otherwise 0."""
        commands = BOTH if need == "all" else (need,)
        states = {check.state for command in commands for check in self.lacking(command)}
        return 3 if "failed" in states else 4 if states else 0


def examine(
    explicit: Path | None = None,
    python: str = "python3",
    on_start: Callable[[str], None] = lambda _: None,
) -> Report:
    """Look at this machine.

    Args:
        explicit: Where the toolkit is, if the caller knows.
        python: The Python that ais_bench is installed in.
        on_start: Called with what is looked at next.
    """
    report = Report(check_packages())
    on_start("CANN toolkit")
    toolkit = _check_toolkit(report, explicit)
    environ = {**os.environ, **(toolkit.environment() if toolkit else {})}
    _check_atc(report, toolkit)
    on_start("npu-smi")
    _check_devices(report, environ)
    if toolkit:
        report.checks.append(_check_devlib(toolkit, environ, has_device=bool(report.devices)))
    on_start("ais_bench")
    report.checks.append(_check_ais_bench(python, toolkit))
    return report


def _check_toolkit(report: Report, explicit: Path | None) -> Toolkit | None:
    """Check the toolkit; return it if its environment can be had."""
    try:
        toolkit = find_toolkit(explicit)
    except AscendError as error:
        report.checks.append(_bad("CANN toolkit", error, BOTH))
        return None
    version = toolkit.version
    note = "" if version else "none of its files tells the version; give --cann to lint"
    report.checks.append(Check("CANN toolkit", "ok", version, str(toolkit.root), BOTH, note))
    script = str(toolkit.root / "set_env.sh")
    try:
        count = len(toolkit.environment())
    except AscendError as error:
        report.checks.append(_bad("set_env.sh", error, BOTH))
        return None
    note = f"sets {count} variables"
    report.checks.append(Check("set_env.sh", "ok", None, script, BOTH, note))
    return toolkit


def _check_atc(report: Report, toolkit: Toolkit | None) -> None:
    if toolkit is None:
        note = f"comes with the CANN toolkit: mend {report.checks[-1].name} first"
        report.checks.append(Check("atc", "missing", needed_for=COMPILE, note=note))
        return
    try:
        atc = str(toolkit.executable("atc"))
    except AscendError as error:
        report.checks.append(_bad("atc", error, COMPILE))
    else:
        report.checks.append(Check("atc", "ok", toolkit.version, atc, COMPILE))


def _check_devlib(toolkit: Toolkit, environ: dict[str, str], *, has_device: bool) -> Check:
    """Check the libraries that take the place of a driver on a host without a device."""
    devlib = toolkit.devlib
    if has_device:
        return Check("devlib", "ok", needed_for=COMPILE, note="not needed: a device is here")
    if devlib is None:
        fix = (
            f"atc needs <arch>-linux/devlib of {toolkit.home} on a host without a device, and it "
            "is not there; install the toolkit again, whole"
        )
        return Check("devlib", "missing", needed_for=COMPILE, fix=fix)
    here = {os.path.realpath(path) for path in environ.get("LD_LIBRARY_PATH", "").split(":")}
    note = "on LD_LIBRARY_PATH"
    if os.path.realpath(devlib) not in here:
        line = f"export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:{shlex.quote(str(devlib))}"
        note = f"compile adds it to LD_LIBRARY_PATH; to run atc by hand: {line}"
    return Check("devlib", "ok", None, str(devlib), COMPILE, note)


def _check_devices(report: Report, environ: dict[str, str]) -> None:
    try:
        program = npu_smi.find_npu_smi(environ)
        text = npu_smi.info(environ)
    except AscendError as error:
        report.checks.append(_bad("npu-smi", error, INFER))
        return
    report.devices = npu_smi.parse(text)
    version = npu_smi.version(text)
    report.checks.append(Check("npu-smi", "ok", version, str(program), INFER))
    healthy = [device for device in report.devices if device.health == npu_smi.HEALTHY]
    if not healthy:
        report.checks.append(_no_device(report.devices))
    report.checks += [_check_device(device, enough=bool(healthy)) for device in report.devices]
    known = (device.soc_version for device in report.devices if device.soc_version)
    report.soc_version = next(known, None)
    report.checks.append(_check_soc(report))


def _no_device(devices: tuple[Device, ...]) -> Check:
    if devices:
        fix = "no device is healthy: reset it or restart the host, and look into the driver's log"
    else:
        fix = "'npu-smi info' lists no device: check that the card sits in its slot (lspci), that "
        fix += "the driver fits it, and, in a container, that the device is passed into it"
    return Check("a healthy device", "missing", needed_for=INFER, fix=fix)


def _check_device(device: Device, *, enough: bool) -> Check:
    """Return a row for the device; a sick one is a note if another one is well."""
    healthy = device.health == npu_smi.HEALTHY
    used = {
        "{}/{} MB": (device.memory_used_mb, device.memory_total_mb),
        "{:g} C": (device.temperature_c,),
        "{:g} W": (device.power_w,),
        "AI cores {:g} %": (device.aicore_percent,),
    }
    said = [form.format(*values) for form, values in used.items() if None not in values]
    return Check(
        f"device {device.device}",
        "ok" if healthy else "note",
        device.name,
        f"NPU {device.npu} chip {device.chip}, {device.bus_id}",
        INFER,
        ", ".join([f"health {device.health}", *said]),
        "" if healthy or not enough else "not healthy; choose another one with --device",
    )


def _check_soc(report: Report) -> Check:
    if report.soc_version:
        note = f"from the Name column; compile with --soc {report.soc_version}"
        return Check("soc_version", "ok", report.soc_version, None, COMPILE, note)
    names = ", ".join(sorted({device.name for device in report.devices})) or "no device"
    note = f"not known from npu-smi ({names}); give it to compile and lint with --soc"
    return Check("soc_version", "note", needed_for=COMPILE, note=note)


def _check_ais_bench(python: str, toolkit: Toolkit | None) -> Check:
    """Check that ais_bench is there and, where it is a module, that it can be imported."""
    try:
        tool = find_ais_bench(python, toolkit)
        if not tool.dashed:
            command = [tool.python, "-c", _IMPORT]
            done = run_tool(command, timeout_s=_IMPORT_TIMEOUT_S, env=tool.environ)
            if done.returncode:
                raise failure(done, f" (command: {shlex.join(command)})")
    except AscendError as error:
        return _bad("ais_bench", error, INFER)
    where = shlex.join(tool.launcher) if tool.dashed else tool.python
    return Check("ais_bench", "ok", None, where, INFER)


def _bad(name: str, error: AscendError, needed_for: tuple[str, ...]) -> Check:
    """Return the check for an error; its message says what to do."""
    state: Literal["missing", "failed"] = "failed"
    if isinstance(error, MissingToolError):
        state = "missing"
    return Check(name, state, needed_for=needed_for, fix=str(error))
