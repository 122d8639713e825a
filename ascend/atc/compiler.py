"""Run ATC: in a folder of its own, with a time limit, and believe no single sign of success.

The folder lies beside the target, so the compiled model is moved into place at once or not at all:
an earlier one stays until then. What a failed run printed and was told stays in ``NAME.failed/``.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ascend.atc.command import KEEP_FILE, command_text, exports, keep_text
from ascend.atc.report import Report, parse_report
from ascend.errors import AscendError
from ascend.process import run_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ascend.atc.flags import Flags
    from ascend.process import Finished
    from ascend.toolkit import Toolkit

Verdict = Literal["compiled", "failed", "crashed", "timed out"]

LOG = "atc.log"
COMMAND = "command.sh"
ENVIRONMENT = "environment.sh"
_RECORD = (LOG, COMMAND, ENVIRONMENT, KEEP_FILE)
_CANNOT_RUN = (126, 127)  # of a shell: not executable, not found


@dataclass(frozen=True)
class Job:
    """One model to compile.

    Attributes:
        flags: What ATC is told; `flags.output` is the name of the file, without a folder.
        folder: Where the compiled model goes.
        keep: The lines of the file behind --keep_dtype; none for no such file.
    """

    flags: Flags
    folder: Path
    keep: tuple[str, ...] = ()

    @property
    def failed(self) -> Path:
        """Where a failed run leaves its log, its command and its environment."""
        return self.folder / f"{self.flags.output}.failed"


@dataclass(frozen=True)
class Compiled:
    """How a job ended.

    Attributes:
        job: The job.
        verdict: ``compiled`` only if ATC ended with 0, said success and left a model.
        reason: Why it is not compiled, in one sentence; or empty.
        file: The compiled model, under the name that ATC gave it; None if there is none.
        seconds: Wall time.
        report: What ATC printed, in parts.
        output: What ATC printed.
    """

    job: Job
    verdict: Verdict
    reason: str
    file: Path | None
    seconds: float
    report: Report
    output: str

    @property
    def size_bytes(self) -> int | None:
        """The size of the compiled model."""
        return self.file.stat().st_size if self.file else None


def compile_model(
    job: Job,
    toolkit: Toolkit,
    *,
    timeout_s: float,
    on_line: Callable[[str], None] | None = None,
    on_wait: Callable[[], None] | None = None,
) -> Compiled:
    """Compile one model; a failure is an answer, not an exception.

    Args:
        job: What to compile.
        toolkit: Whose ATC.
        timeout_s: Wall time it may take, in seconds.
        on_line: Called with each line that ATC prints.
        on_wait: Called now and then; what it raises ends ATC.

    Raises:
        MissingToolError: If the toolkit has no ATC, or it cannot be run.
        AscendError: If the target folder cannot be written.
    """
    program = toolkit.executable("atc")
    environment = atc_environment(toolkit)
    with _work_folder(job) as work:
        _write_record(work, job, str(program), environment)
        done = run_tool(
            [str(program), *job.flags.arguments()],
            timeout_s=timeout_s,
            env={**toolkit.environ, **environment},
            cwd=work,
            log=work / LOG,
            on_line=on_line,
            on_wait=on_wait,
        )
        report = parse_report(done.output)
        made = _made(work, job.flags.output)
        verdict, reason = _judge(done, report, made, timeout_s)
        if verdict == "compiled" and made is not None:
            file: Path | None = _publish(made, job)
        else:
            file = None
            _keep_record(work, job)
    return Compiled(job, verdict, reason, file, done.seconds, report, done.output)


def atc_environment(toolkit: Toolkit) -> dict[str, str]:
    """Return what set_env.sh sets, and what stands in for the driver where there is none.

    Last on its path, so that the libraries of a driver that is there are found first.
    """
    environment = toolkit.environment()
    if toolkit.devlib is not None:
        before = environment.get("LD_LIBRARY_PATH", toolkit.environ.get("LD_LIBRARY_PATH", ""))
        parts = [part for part in (before.rstrip(":"), str(toolkit.devlib)) if part]
        environment["LD_LIBRARY_PATH"] = ":".join(parts)
    return environment


def _judge(
    done: Finished, report: Report, made: Path | None, timeout_s: float
) -> tuple[Verdict, str]:
    """Hold the three signs of success against each other; return the verdict and the reason."""
    if done.timed_out:
        return "timed out", f"atc did not end within {timeout_s:g} s and was stopped (--timeout)"
    if done.returncode < 0:
        return "crashed", f"atc was ended by {_signal_name(-done.returncode)}"
    signs = {
        f"it ended with {done.returncode}, not 0": done.returncode == 0,
        "it did not print its line of success": report.success and not report.failure,
        "it left no compiled model": made is not None,
    }
    missing = [sign for sign, there in signs.items() if not there]
    if not missing:
        return "compiled", ""
    if report.errors:
        return "failed", f"{report.errors[0].code}: {report.errors[0].text}"
    last = f"; its last line: {_last_line(done.output)}" if not report.success else ""
    if done.returncode in _CANNOT_RUN and not report.failure:
        return "failed", f"atc could not start{last}"
    return "failed", f"atc reported no error, but {' and '.join(missing)}{last}"


def _made(work: Path, name: str) -> Path | None:
    """Return the compiled model: ``NAME.om``, or ``NAME_<os>_<arch>.om`` of the same run."""
    pattern = re.compile(re.escape(name) + r"(_[a-z]+_[a-z0-9_]+)?\.om")
    found = [path for path in sorted(work.iterdir()) if pattern.fullmatch(path.name)]
    return next((path for path in found if path.is_file() and path.stat().st_size > 0), None)


@contextlib.contextmanager
def _work_folder(job: Job) -> Iterator[Path]:
    """Yield a hidden folder beside the target, gone at the end."""
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{job.flags.output}.", dir=job.folder))
    except OSError as error:
        msg = f"cannot write into {job.folder}: {error.strerror or error}; choose another folder"
        raise AscendError(msg) from error
    try:
        yield work
    except OSError as error:
        msg = f"cannot write {error.filename or job.folder}: {error.strerror or error}"
        raise AscendError(msg) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_record(work: Path, job: Job, program: str, environment: dict[str, str]) -> None:
    """Write down what ATC is told, before it runs."""
    if job.keep:
        (work / KEEP_FILE).write_text(keep_text(job.keep), encoding="utf-8")
    script = f". ./{ENVIRONMENT}\n{command_text(program, job.flags)}\n"
    (work / COMMAND).write_text(f"# Run in this folder: bash {COMMAND}\n{script}", encoding="utf-8")
    text = f"# What set_env.sh sets\n{exports(environment)}"
    (work / ENVIRONMENT).write_text(text, encoding="utf-8", errors="surrogateescape")


def _publish(made: Path, job: Job) -> Path:
    """Move the compiled model to the target; a record of an earlier failure goes."""
    file = made.replace(job.folder / made.name)
    _drop_record(job.failed)
    return file


def _keep_record(work: Path, job: Job) -> None:
    """Put log, command and environment where a person finds them; an earlier record goes."""
    _drop_record(job.failed)
    job.failed.mkdir(exist_ok=True)
    for name in _RECORD:
        if (work / name).exists():
            (work / name).replace(job.failed / name)


def _drop_record(folder: Path) -> None:
    """Remove the files of an earlier failure, and the folder if nothing else is in it."""
    for name in _RECORD:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return repr(lines[-1][:200]) if lines else "(none)"
