"""What a figure was measured on is said as far as it is known, and never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ascend.toolkit import find_toolkit
from pipeline.hardware import cpu_text, device_text
from tests.ascend.standins.toolkit import make_toolkit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a toolkit that has npu-smi."""
    return find_toolkit(make_toolkit(tmp_path), {"PATH": "/usr/bin:/bin"}).environment()


@pytest.mark.parametrize(
    ("number", "settings", "text"),
    [
        pytest.param(0, {}, "310P3, device 0 of npu-smi", id="the only one"),
        pytest.param(
            1,
            {"SHOW": "duo"},
            "310P3, device 1 of npu-smi, driver 22.0.2.3",
            id="the second, with the driver",
        ),
        pytest.param(
            5, {}, "device 5, npu-smi shows 310P3 by other numbers", id="a number it does not show"
        ),
        pytest.param(0, {"SHOW": "none"}, "device 0, not in npu-smi", id="none at all"),
        pytest.param(0, {"FAIL": "crash"}, "device 0, unknown chip (", id="npu-smi that fails"),
    ],
)
def test_a_device_is_called_as_npu_smi_does(
    environ: dict[str, str], number: int, settings: dict[str, str], text: str
) -> None:
    chosen = {f"STANDIN_NPU_SMI_{name}": value for name, value in settings.items()}
    assert device_text(number, {**environ, **chosen}).startswith(text)


def test_a_processor_is_never_a_device() -> None:
    assert cpu_text(3).startswith("CPU (")
    assert cpu_text(3).endswith("3 threads, NOT a device figure")
