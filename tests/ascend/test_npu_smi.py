"""Tables of npu-smi, whole, cut and worse; and the program when it fails, hangs or is not there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend import npu_smi
from ascend.errors import MissingToolError, ToolFailedError
from ascend.npu_smi import Device, list_devices, parse, version
from tests.ascend.standins.npu_smi import ONE, TABLES
from tests.ascend.standins.toolkit import make_toolkit

if TYPE_CHECKING:
    from pathlib import Path

THE_ONE = Device(2144, 0, 0, "310P3", "OK", "0000:86:00.0", None, 47.0, 0.0, 1807, 21527)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    home = make_toolkit(tmp_path, layout="cann")
    return {"PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def test_one_310p3_without_a_version_row_and_without_power() -> None:
    assert parse(ONE) == (THE_ONE,)
    assert THE_ONE.soc_version == "Ascend310P3"


def test_two_chips_on_a_card_and_a_table_of_processes_that_lists_no_device() -> None:
    first, second = parse(TABLES["duo"])
    assert (first.npu, first.chip, first.power_w, first.aicore_percent) == (1, 0, 17.6, 35)
    assert (second.npu, second.chip, second.power_w, second.temperature_c) == (1, 1, None, 43)
    assert (second.memory_used_mb, second.memory_total_mb) == (1620, 43693)


def test_high_bandwidth_memory_counts_where_a_chip_has_it() -> None:
    (device,) = parse(TABLES["hbm"].replace("| 0       910B4", "| 3       910B4"))
    assert device.soc_version == "Ascend910B4"
    assert (device.npu, device.chip, device.device, device.power_w) == (3, 0, 3, 86.5)
    assert (device.memory_used_mb, device.memory_total_mb) == (2785, 32768)


def test_the_layout_of_a3_cards_with_a_dash_for_power() -> None:
    devices = parse(TABLES["phy"])
    assert [(device.chip, device.power_w) for device in devices] == [(0, 178.5), (1, None)]
    assert [device.device for device in devices] == [0, 1]
    assert [device.bus_id for device in devices] == ["0000:9D:00.0", "0000:9F:00.0"]
    assert devices[0].soc_version is None  # the Name column does not tell which 910 it is


@pytest.mark.parametrize(("table", "expected"), [("one", None), ("duo", "22.0.2.3")])
def test_the_version_is_read_where_the_table_has_it(table: str, expected: str | None) -> None:
    assert version(TABLES[table]) == expected


def test_health_is_what_it_says() -> None:
    (device,) = parse(TABLES["unhealthy"])
    assert device.health == "Unhealthy"


def test_a_heading_without_devices_lists_none() -> None:
    assert parse(TABLES["none"]) == ()


def test_a_chip_that_is_cut_in_half_is_not_reported() -> None:
    assert parse(TABLES["truncated"]) == ()
    assert "2144" in TABLES["truncated"]


def test_a_table_cut_behind_the_first_chip_keeps_it() -> None:
    whole = TABLES["duo"]
    cut = whole[: whole.index("| 1       1 ")]
    assert parse(cut) == parse(whole)[:1]


def test_a_second_row_belongs_to_one_chip() -> None:
    *heading, first, second, rule = ONE.splitlines()
    assert parse("\n".join([*heading, first, second, second, rule])) == (THE_ONE,)


@given(st.text())
def test_any_text_is_parsed(text: str) -> None:
    assert isinstance(parse(text), tuple)
    version(text)


@given(
    st.lists(
        st.sampled_from([line for table in TABLES.values() for line in table.splitlines()])
        | st.text(alphabet="|+= /0123456789.:ABNPok\u0663-", max_size=40),
        max_size=12,
    )
)
def test_lines_of_tables_in_any_order_are_parsed(lines: list[str]) -> None:
    devices = parse("\n".join(lines))
    assert len(devices) <= sum(line.startswith("|") for line in lines) // 2


def test_the_program_is_run_with_the_given_environment(environ: dict[str, str]) -> None:
    assert list_devices(environ) == (THE_ONE,)


def test_a_driver_that_fails_is_a_failure_with_its_last_words(environ: dict[str, str]) -> None:
    with pytest.raises(ToolFailedError, match=r"status 255 .* 'dcmi .* ret is -8005'"):
        list_devices({**environ, "STANDIN_NPU_SMI_FAIL": "crash"})


def test_a_driver_that_hangs_is_a_failure(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(npu_smi, "_TIMEOUT_S", 0.3)
    with pytest.raises(ToolFailedError, match="did not end"):
        list_devices({**environ, "STANDIN_NPU_SMI_FAIL": "hang"})


def test_no_program_is_a_missing_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npu_smi, "FOLDERS", (str(tmp_path),))
    with pytest.raises(MissingToolError, match="no program 'npu-smi' on PATH or in"):
        list_devices({"PATH": ""})


def test_the_folder_of_the_driver_is_searched_when_path_lacks_it(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = environ["PATH"].split(os.pathsep)[0]
    monkeypatch.setattr(npu_smi, "FOLDERS", (folder,))
    assert list_devices({"PATH": ""}) == (THE_ONE,)
