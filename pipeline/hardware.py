"""On what a figure was measured, in words that stay with the figure."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eval.providers import Provider

NO_DEVICE = "NOT a device figure"


def device_text(number: int, environ: Mapping[str, str] | None = None) -> str:
    """Return what npu-smi calls a device; where it cannot tell, why.

    Args:
        number: The device, as ais_bench counts.
        environ: The variables to run npu-smi with; None for ours.
    """
    from ascend.errors import AscendError
    from ascend.npu_smi import info, parse, version

    try:
        text = info(environ)
    except AscendError as error:
        return f"device {number}, unknown chip ({error})"
    names = [device.name for device in parse(text) if device.device == number]
    driver = f", driver {version(text)}" if version(text) else ""
    if not names:
        # A container may count its devices from 0 whatever their ids are on the host.
        kinds = sorted({device.name for device in parse(text)})
        found = f"npu-smi shows {', '.join(kinds)} by other numbers" if kinds else "not in npu-smi"
        return f"device {number}, {found}{driver}"
    return f"{names[0]}, device {number} of npu-smi{driver}"


def runtime_text(provider: Provider, threads: int | None) -> str:
    """Return what onnxruntime runs on, with its version, for any provider."""
    import onnxruntime

    if provider.name == "cpu":
        return cpu_text(threads)
    runtime = f"onnxruntime {onnxruntime.__version__}, {provider.full_name}"
    if provider.on_device:
        return f"{device_text(provider.device)}, {runtime}"
    return f"{provider.name.upper()} device {provider.device}, {runtime}, {NO_DEVICE}"


def cpu_text(threads: int | None) -> str:
    """Return the processor, the runtime and its threads."""
    import onnxruntime

    count = f"{threads or os.cpu_count()} threads"
    return f"CPU ({_cpu()}), onnxruntime {onnxruntime.__version__}, {count}, {NO_DEVICE}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
