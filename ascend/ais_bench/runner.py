"""ais_bench: find it, compute results for files, measure the time of a run.

It runs as ``python3 -m ais_bench`` in the environment of the toolkit, in the Python that it is
installed in, or as its successor ``msit benchmark``. Success is not believed: every result must be
there with its size, and a measurement must hold a time.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ascend.ais_bench import probe
from ascend.ais_bench.command import Request, arguments
from ascend.ais_bench.failure import failure, known_failure, missing_part
from ascend.ais_bench.figures import Figures, read_figures
from ascend.ais_bench.files import Inputs, check_results, result_sizes
from ascend.ais_bench.interface import Interface, parse_interface
from ascend.errors import AscendError, MissingToolError
from ascend.process import Finished, run_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ascend.toolkit import Toolkit

RESULTS = "results"
_SHORT_TIMEOUT_S = 120.0  # for a question to Python
_FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ais_bench') is None)"
# By path: the folder of this package does not come onto the search path of ais_bench's Python.
_PROBE = "import runpy, sys; runpy.run_path(sys.argv[1])['main'](*sys.argv[2:])"


@dataclass(frozen=True)
class AisBench:
    """How ais_bench is started.

    Attributes:
        launcher: The command before the options.
        python: The Python that it is installed in.
        environ: The environment that it runs in.
        dashed: Whether its options are spelled with dashes, as of ``msit benchmark``.
    """

    launcher: tuple[str, ...]
    python: str
    environ: Mapping[str, str] = field(repr=False)
    dashed: bool = False


@dataclass(frozen=True)
class Job:
    """A model to run, and how.

    Attributes:
        model: The .om file.
        device: Number of the device.
        batch: Items in a run, if the caller knows: then the model must agree.
        gears: Whether the model was compiled with several batches, of which ``batch`` is one.
        timeout_s: Wall time for one run of ais_bench.
    """

    model: Path
    device: int = 0
    batch: int | None = None
    gears: bool = False
    timeout_s: float = 3600.0

    @property
    def gear(self) -> int | None:
        """The value of ``--dymBatch``.

        Raises:
            AscendError: If the model has gears and no batch is given.
        """
        if self.gears and self.batch is None:
            msg = f"{self.model} has several batches; say which one with --batch"
            raise AscendError(msg)
        return self.batch if self.gears else None


@dataclass(frozen=True)
class Inference:
    """What came of running a model on files.

    Attributes:
        files: Results for how many inputs.
        items_per_run: Files in a run; None if ais_bench did not tell the model's sizes.
        result_bytes: Size of a result, by the number of the output.
        figures: Times that ais_bench tells, of whole runs.
    """

    files: int
    items_per_run: int | None
    result_bytes: dict[int, int]
    figures: Figures


def find_ais_bench(python: str = "python3", toolkit: Toolkit | None = None) -> AisBench:
    """Find ais_bench.

    Args:
        python: The Python that it is installed in, a path or a name on PATH.
        toolkit: Whose environment it needs; None if this process already has it.

    Raises:
        MissingToolError: If that Python is not there or lacks ais_bench, and there is no msit.
    """
    environ = {**os.environ, **(toolkit.environment() if toolkit else {})}
    found = shutil.which(python, path=environ.get("PATH"))
    if found is None:
        msg = f"no Python {python!r} on PATH; name the one that has ais_bench with --python"
        raise MissingToolError(msg)
    # Not resolved: a link into a virtual environment is what makes it one.
    interpreter = str(Path(found).absolute())
    asked = run_tool([interpreter, "-c", _FIND], timeout_s=_SHORT_TIMEOUT_S, env=environ)
    if asked.returncode == 0:
        return AisBench((interpreter, "-m", "ais_bench"), interpreter, environ)
    if msit := shutil.which("msit", path=environ.get("PATH")):
        return AisBench((msit, "benchmark"), interpreter, environ, dashed=True)
    reason = missing_part(f"No module named 'ais_bench' in {interpreter}")
    msg = f"ais_bench is not there: {reason}"
    raise MissingToolError(msg)


def read_interface(tool: AisBench, job: Job) -> Interface:
    """Ask ais_bench for the sizes of the model's inputs and outputs; it may not know.

    Raises:
        ToolFailedError: If the model cannot be loaded or the device cannot be opened.
        MissingToolError: If ais_bench lacks a part.
    """
    question = [probe.__file__, str(job.device), str(job.model.absolute())]
    command = [tool.python, "-c", _PROBE, *question]
    done = run_tool(command, timeout_s=job.timeout_s, env=tool.environ)
    if done.returncode and (known_failure(done.output) or _lacks_part(tool, done)):
        raise failure(done, f" (asking for the inputs of {job.model})")
    return Interface() if job.gears else parse_interface(done.output)


def infer(
    tool: AisBench,
    job: Job,
    inputs: Inputs,
    into: Path,
    log: Path,
    on_line: Callable[[str], None] | None = None,
) -> Inference:
    """Compute the results of all files and put them into a folder.

    Args:
        tool: Where ais_bench is.
        job: The model.
        inputs: The files, see :func:`ascend.ais_bench.files.list_inputs`.
        into: An empty folder; ais_bench works beside it, on the same file system.
        log: File that receives what ais_bench prints; gone if all is well.
        on_line: Called with each line that it prints.

    Raises:
        AscendError: If the files do not go into the model.
        ToolFailedError: If ais_bench fails, or results are missing or have another size.
        MissingToolError: If ais_bench lacks a part.
    """
    items, sizes = _plan(tool, job, inputs)
    folders = tuple(files[0].parent for files in inputs.files)
    with tempfile.TemporaryDirectory(dir=into.parent, prefix="raw") as raw:
        request = Request(job.model, Path(raw), RESULTS, folders, device=job.device, gear=job.gear)
        output = _run(tool, job, request, log, on_line)
        folder = Path(raw, RESULTS)
        said = known_failure(output)  # some failures end with status 0
        where = f"; it said {said} (output in {log})" if said else f" (output in {log})"
        found = check_results(folder, inputs.stems, sizes, where)
        figures = read_figures(folder, output)
        for name in found:
            (folder / name).rename(into / name)
    log.unlink(missing_ok=True)
    first = inputs.stems[0]
    result_bytes = {
        number: found[f"{first}_{number}.bin"] for number in range(len(found) // len(inputs.stems))
    }
    return Inference(len(inputs.stems), items, result_bytes, figures)


def measure(tool: AisBench, job: Job, *, loop: int, warmup: int) -> Figures:
    """Run a model without files and return its times; the mean is always there.

    Raises:
        ToolFailedError: If ais_bench fails or tells no mean time.
        MissingToolError: If ais_bench lacks a part.
        AscendError: If a value is outside what ais_bench takes.
    """
    scratch = Path(tempfile.mkdtemp(prefix="onnx-passes-"))
    log = scratch / "ais_bench.log"  # stays if it fails
    request = Request(
        job.model, scratch, RESULTS, device=job.device, loop=loop, warmup=warmup, gear=job.gear
    )
    output = _run(tool, job, request, log)
    figures = read_figures(scratch / RESULTS, output)
    if figures.mean_ms is None:
        done = Finished(tool.launcher, 0, output, 0.0, timed_out=False)
        raise failure(done, f" (output in {log})", "told no NPU_compute_time")
    shutil.rmtree(scratch, ignore_errors=True)
    return figures


def _plan(tool: AisBench, job: Job, inputs: Inputs) -> tuple[int | None, tuple[int, ...] | None]:
    """Return the files of a run and the sizes of its results, as far as they are known."""
    interface = read_interface(tool, job)
    needed = interface.input_bytes
    if needed is None:
        return job.batch if job.gears else None, None
    items = inputs.items_per_run(needed, job.batch, job.model.name)
    return items, result_sizes(interface, items)


def _run(
    tool: AisBench,
    job: Job,
    request: Request,
    log: Path,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run ais_bench and return what it printed."""
    command = [*tool.launcher, *arguments(request, dashed=tool.dashed)]
    done = run_tool(command, timeout_s=job.timeout_s, env=tool.environ, log=log, on_line=on_line)
    if done.returncode or done.timed_out:
        raise failure(done, f" (output in {log}; command: {shlex.join(command)})")
    return done.output


def _lacks_part(tool: AisBench, done: Finished) -> bool:
    """Return whether ais_bench itself would fail too; msit may live in another Python."""
    return not tool.dashed and missing_part(done.output) is not None
