"""``onnx-passes doctor`` on a laptop, with a toolkit, with a device, and with broken ones."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from ascend import npu_smi, toolkit
from tests.ascend.standins import npu_smi as standin
from tests.ascend.standins.toolkit import ARCH, make_toolkit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer

    Doctor = Callable[..., Answer]


@pytest.fixture(autouse=True)
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what this machine may have."""
    for name in (*toolkit.VARIABLES, "LD_LIBRARY_PATH", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(toolkit, "ROOT", tmp_path / "usr_local")
    monkeypatch.setattr(npu_smi, "FOLDERS", ())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a toolkit with a device."""
    return make_toolkit(tmp_path / "opt")


@pytest.fixture
def doctor(call: Doctor) -> Doctor:
    """Return ``doctor(...)``, which looks for ais_bench in this Python."""
    return lambda *arguments: call("doctor", "--python", sys.executable, *arguments)


def states(answer: Answer) -> dict[str, str]:
    return {check["name"]: check["state"] for check in answer.document["checks"]}


def lacking(answer: Answer) -> dict[str, list[str]]:
    return {command: names for command, names in answer.document["commands"].items() if names}


def test_a_laptop_with_nothing_learns_what_works_and_what_to_do(doctor: Doctor) -> None:
    answer = doctor()
    assert answer.code == 4
    assert "bisect, precision, lint, cost and the others: yes" in answer.out
    assert "  compile: no, it lacks CANN toolkit, atc\n" in answer.out
    assert "of a .om: no, it lacks CANN toolkit, npu-smi, ais_bench\n" in answer.out
    for step in (
        "1. CANN toolkit (for compile, infer): ",
        "https://www.hiascend.com/cann",
        "2. npu-smi (for infer): ",
        "3. ais_bench (for infer): ",
        "mend CANN toolkit first",
    ):
        assert step in answer.out
    assert "exit code 4" in answer.out
    assert answer.err == ""


@pytest.mark.parametrize("need", ["compile", "infer", "all"])
def test_all_is_there(doctor: Doctor, root: Path, need: str) -> None:
    answer = doctor("--toolkit", root, "--need", need, "--json")
    assert answer.code == answer.document["exit_code"] == 0
    assert lacking(answer) == {}
    assert answer.document["soc_version"] == "Ascend310P3"
    assert answer.document["checks"][-1]["where"] == sys.executable
    (device,) = answer.document["devices"]
    assert (device["npu"], device["memory_used_mb"], device["power_w"]) == (2144, 1807, None)


def test_versions_and_paths_are_shown(doctor: Doctor, root: Path) -> None:
    text = doctor("--toolkit", root).out
    for shown in (
        "8.1.RC1",
        str(root / "latest/bin/atc"),
        "NPU 2144 chip 0",
        "health OK, 1807/21527 MB, 47 C, AI cores 0 %",
        "--soc Ascend310P3",
        "All that compile and infer need is there",
    ):
        assert shown in text.replace(" │\n│", "")
    assert "What to do" not in text


def test_the_variables_of_a_sourced_set_env_are_enough(
    doctor: Doctor, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASCEND_TOOLKIT_HOME", str(root / "latest"))
    assert doctor().code == 0


def test_a_host_without_a_device_can_compile_but_not_infer(
    doctor: Doctor, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "latest/bin/npu-smi").unlink()
    devlib = root / "latest" / ARCH / "devlib"
    answer = doctor("--toolkit", root, "--json")
    assert answer.code == 4
    assert lacking(answer) == {"infer": ["npu-smi"]}
    assert f"by hand: export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:{devlib}" in answer.out
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/x:{devlib}")
    answer = doctor("--toolkit", root, "--need", "compile")
    assert answer.code == 0
    assert "on LD_LIBRARY_PATH" in answer.out
    assert "by hand" not in answer.out


def test_a_toolkit_without_devlib_is_not_whole(doctor: Doctor, root: Path) -> None:
    (root / "latest/bin/npu-smi").unlink()
    (root / "latest" / ARCH / "devlib").rmdir()
    answer = doctor("--toolkit", root, "--need", "compile")
    assert answer.code == 4
    assert "atc needs <arch>-linux/devlib of " in answer.out


def test_a_toolkit_without_atc_lacks_it(doctor: Doctor, root: Path) -> None:
    (root / "latest/bin/atc").unlink()
    answer = doctor("--toolkit", root, "--json")
    assert answer.code == 4
    assert lacking(answer) == {"compile": ["atc"]}


def test_a_set_env_that_fails_is_a_failure_and_keeps_its_secret(doctor: Doctor, root: Path) -> None:
    (root / "set_env.sh").write_text("echo hunter2; return 3\n")
    answer = doctor("--toolkit", root)
    assert answer.code == 3
    assert "mend set_env.sh first" in answer.out
    assert f"run 'bash -x {root / 'set_env.sh'}' to see why" in answer.out
    assert "hunter2" not in answer.out + answer.err


def test_a_folder_without_a_toolkit_is_named(doctor: Doctor, tmp_path: Path) -> None:
    answer = doctor("--toolkit", tmp_path / "nowhere")
    assert answer.code == 4
    assert f"no set_env.sh in {tmp_path / 'nowhere'}" in answer.out


def test_a_version_that_no_file_tells_is_no_obstacle(doctor: Doctor, tmp_path: Path) -> None:
    answer = doctor("--toolkit", make_toolkit(tmp_path / "opt", version_files=[]))
    assert answer.code == 0
    assert "none of its files tells the version" in answer.out


def test_a_driver_that_fails_matters_to_infer_only(
    doctor: Doctor, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_NPU_SMI_FAIL", "crash")
    answer = doctor("--toolkit", root)
    assert answer.code == 3
    assert "ret is -8005" in answer.out
    assert doctor("--toolkit", root, "--need", "compile").code == 0


@pytest.mark.parametrize("show", ["none", "truncated", "garbage", "unhealthy"])
def test_without_a_healthy_device_infer_cannot_work(
    doctor: Doctor, root: Path, monkeypatch: pytest.MonkeyPatch, show: str
) -> None:
    monkeypatch.setenv("STANDIN_NPU_SMI_SHOW", show)
    answer = doctor("--toolkit", root, "--need", "infer", "--json")
    assert answer.code == 4
    assert lacking(answer)["infer"] == ["a healthy device"]


def test_a_sick_chip_is_a_note_when_another_one_is_well(
    doctor: Doctor, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sick = standin.DUO.replace("OK       ", "Unhealthy", 1)
    program = root / "latest/bin/npu-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{sick}END\n")
    answer = doctor("--toolkit", root, "--json")
    assert answer.code == 0
    found = states(answer)
    assert (found["device 0"], found["device 1"]) == ("note", "ok")
    assert "choose another one with --device" in doctor("--toolkit", root).out


def test_a_chip_that_is_not_known_must_be_named_by_hand(
    doctor: Doctor, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_NPU_SMI_SHOW", "phy")
    answer = doctor("--toolkit", root)
    assert answer.code == 0
    assert (
        "not known from npu-smi (Ascend910); give it to compile and lint with --soc" in answer.out
    )


def test_what_a_program_prints_cannot_steer_the_terminal(doctor: Doctor, root: Path) -> None:
    table = standin.ONE.replace("310P3", "\x1b]0;[red]x\x07").replace("OK  ", "[b]Odd")
    (root / "latest/bin/npu-smi").write_text(f"#!/bin/sh\ncat <<'END'\n{table}END\n")
    text = doctor("--toolkit", root).out
    assert "\x1b" not in text
    assert "[red]x" in text


def test_an_ais_bench_that_lacks_a_part_is_missing(
    doctor: Doctor, root: Path, tmp_path: Path
) -> None:
    package = tmp_path / "broken" / "ais_bench"
    (package / "infer").mkdir(parents=True)
    (package / "infer/interface.py").write_text("import aclruntime\n")
    with (root / "set_env.sh").open("a") as script:
        script.write(f"export PYTHONPATH={package.parent}\n")
    answer = doctor("--toolkit", root)
    assert answer.code == 4
    assert "No module named 'aclruntime'" in answer.out


def test_an_ais_bench_that_crashes_has_failed(doctor: Doctor, root: Path, tmp_path: Path) -> None:
    package = tmp_path / "broken" / "ais_bench"
    (package / "infer").mkdir(parents=True)
    (package / "infer/interface.py").write_text("import os; os.kill(os.getpid(), 9)\n")
    with (root / "set_env.sh").open("a") as script:
        script.write(f"export PYTHONPATH={package.parent}\n")
    answer = doctor("--toolkit", root, "--need", "infer")
    assert answer.code == 3
    assert "was ended by SIGKILL" in answer.out


def test_the_successor_of_ais_bench_is_as_good(doctor: Doctor, root: Path) -> None:
    with (root / "set_env.sh").open("a") as script:
        script.write("export PYTHONPATH=/no/such\n")
    msit = root / "latest/bin/msit"
    msit.write_text("#!/bin/sh\nexit 1\n")
    msit.chmod(0o755)
    answer = doctor("--toolkit", root, "--json")
    assert answer.code == 0
    assert answer.document["checks"][-1]["where"] == f"{msit} benchmark"


def test_a_python_that_is_not_there_is_named(call: Doctor, root: Path) -> None:
    answer = call("doctor", "--toolkit", root, "--python", "python0")
    assert answer.code == 4
    assert "no Python 'python0' on PATH" in answer.out


def test_help_says_which_command_needs_what(call: Doctor) -> None:
    text = " ".join(call("doctor", "--help").out.split())
    assert "compile needs the toolkit and atc; infer, and bench of a .om, need" in text
    assert "everything works but compile and infer" in text
