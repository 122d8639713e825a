"""``onnx-passes doctor``: what is here, what is missing, and the step that brings it."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.console import emit_json, out, progress

if TYPE_CHECKING:
    from pipeline.doctor import Need, Report
    from pipeline.doctor_packages import Check

_STYLES = {"ok": "green", "missing": "yellow", "failed": "bold red", "note": "cyan"}


@click.command()
@click.option(
    "--toolkit",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The CANN toolkit: its folder, one above, or set_env.sh. Otherwise it is looked for where "
    "ASCEND_TOOLKIT_HOME and ASCEND_HOME_PATH say, and in /usr/local/Ascend and ~/Ascend.",
)
@click.option(
    "--python",
    default="python3",
    show_default=True,
    metavar="NAME",
    help="The Python that ais_bench is installed in.",
)
@click.option(
    "--need",
    type=click.Choice(["compile", "infer", "all"]),
    default="all",
    show_default=True,
    help="What the exit code is about: compile needs the toolkit and atc; infer, and bench of a "
    ".om, need the toolkit, a healthy device and ais_bench; all is both.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def doctor(toolkit: Path | None, python: str, need: Need, *, as_json: bool) -> int:
    """Look for all that the commands need, and say how to get what is missing.

    \b
    Example:
      onnx-passes doctor
      onnx-passes doctor --need compile --toolkit /usr/local/Ascend/ascend-toolkit

    Without CANN and without a device everything works but compile and infer on the device.

    Exit codes, by --need: 0 all is there; 3 a tool that is needed ran and failed; 4 something that
    is needed is missing.
    """
    from pipeline.doctor import examine

    with progress("Python packages") as meter:
        report = examine(toolkit, python, meter.describe)
    if as_json:
        emit_json(_document(report, need))
    else:
        _show(report, need)
    return report.exit_code(need)


def _document(report: Report, need: Need) -> dict[str, object]:
    from dataclasses import asdict

    from pipeline.doctor import COMMANDS

    return {
        "need": need,
        "exit_code": report.exit_code(need),
        "commands": {
            command: [check.name for check in report.lacking(command)] for command in COMMANDS
        },
        "soc_version": report.soc_version,
        "devices": [asdict(device) for device in report.devices],
        "checks": [asdict(check) for check in report.checks],
    }


def _show(report: Report, need: Need) -> None:
    from rich.table import Column, Table
    from rich.text import Text

    from pipeline.doctor import COMMANDS

    table = Table("what", "state", "version", Column("where, and more", overflow="fold"))
    for check in report.checks:
        cells = (check.name, check.state, check.version or "", _more(check))
        styles = ("", _STYLES[check.state], "", "")
        table.add_row(
            *(Text(_plain(cell), style) for cell, style in zip(cells, styles, strict=True))
        )
    out.print(table)
    _say("What works here:")
    for command, text in COMMANDS.items():
        lacking = ", ".join(check.name for check in report.lacking(command))
        _say(f"  {text}: {'no, it lacks ' + lacking if lacking else 'yes'}")
    _show_steps(report)
    _say(_verdict(report, need))


def _show_steps(report: Report) -> None:
    """Print what to do, one step a check."""
    steps = [check for check in report.checks if check.fix]
    if steps:
        _say("What to do:")
    for number, check in enumerate(steps, 1):
        needed = f" (for {', '.join(check.needed_for)})" if check.needed_for else ""
        _say(f"  {number}. {check.name}{needed}: {check.fix}")


def _verdict(report: Report, need: Need) -> str:
    code = report.exit_code(need)
    wanted = "compile and infer need" if need == "all" else f"{need} needs"
    said = {
        0: f"All that {wanted} is there",
        3: f"A tool that {wanted} ran and failed",
        4: f"Something that {wanted} is missing",
    }
    other = (
        "; --need compile or --need infer asks for one of them" if need == "all" and code else ""
    )
    return f"{said[code]} (--need {need}{other}): exit code {code}."


def _more(check: Check) -> str:
    """Return path and note; the folder where all packages are is not worth a line each."""
    usual = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    where = check.where if check.where not in usual else None
    return "; ".join(filter(None, (where, check.note)))


def _say(text: str) -> None:
    out.print(_plain(text), markup=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Return ``text``, some of which another program printed, without control characters."""
    return "".join(char if char.isprintable() else "?" for char in text)
