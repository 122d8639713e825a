"""``onnx-passes compile``: ONNX to .om with ATC, one batch size after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ascend.atc.compiler import Compiled
    from ascend.toolkit import Toolkit
    from pipeline.cli.compile_request import Plan

_FILE = click.Path(path_type=Path)
_DEFAULT_TIMEOUT_S = 3600.0


def _batches(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Read ``1,4,8``."""
    try:
        sizes = tuple(int(size) for size in text.split(",")) if text else ()
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes) or len(set(sizes)) < len(sizes):
        msg = f"{text!r} is not a list of different sizes above 0, as 1,4,8,16"
        raise click.BadParameter(msg, ctx, param)
    return sizes


@click.command(name="compile")
@click.argument("model", type=_FILE, metavar="MODEL")
@click.argument("raw", nargs=-1, type=click.UNPROCESSED, metavar="[-- --FLAG=VALUE...]")
@click.option("--soc", required=True, metavar="CHIP", help="The chip, as 310P3.")
@click.option(
    "--batch",
    "batches",
    callback=_batches,
    metavar="1,4,8",
    help="Batch sizes, one .om each. Default: the model's own if it is fixed, or 1.",
)
@click.option(
    "--gears",
    metavar="KIND=...",
    help="One .om for several sizes: batch=1,4,8 or 'image=32,100;64,200' or 'dims=1,32;8,64'.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=DIMS",
    help="Sizes of an input, as x=N,3,32,100; N is the batch size. May be repeated.",
)
@click.option(
    "-o",
    "--output",
    type=_FILE,
    metavar="STEM",
    help="The .om without _bs<N>.om. Default: MODEL without .onnx.",
)
@click.option("--precision-mode", metavar="MODE", help="As ATC's (force_fp16 unless told).")
@click.option("--precision-mode-v2", metavar="MODE", help="As ATC's; not in CANN 5.")
@click.option(
    "--keep-dtype",
    default="auto",
    show_default=True,
    metavar="auto|FILE|none",
    help="Nodes that stay float32: those marked in the model, or a list as 'precision -o' writes.",
)
@click.option("--mixlist", type=_FILE, metavar="FILE", help="JSON for --modify_mixlist.")
@click.option("--op-precision", type=_FILE, metavar="FILE", help="ini for --op_precision_mode.")
@click.option("--fusion-switch", type=_FILE, metavar="FILE", help="For --fusion_switch_file.")
@click.option("--aipp", type=_FILE, metavar="FILE", help="AIPP for --insert_op_conf.")
@click.option("--out-nodes", metavar="A;B:0", help="Outputs: names of them, or NODE:INDEX.")
@click.option("--input-format", metavar="FORMAT", help="NCHW, ND or NCDHW; by the ranks if not.")
@click.option("--toolkit", type=_FILE, metavar="DIR", help="The CANN toolkit; searched if not.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    default=_DEFAULT_TIMEOUT_S,
    show_default=True,
    help="What one run of ATC may take.",
)
@click.option(
    "--jobs",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs of ATC at the same time; each takes much memory.",
)
@click.option("--force", is_flag=True, help="Compile a model that no numeric check has passed.")
@click.option("--dry-run", is_flag=True, help="Print the commands; needs no toolkit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def command(
    *,
    model: Path,
    toolkit: Path | None,
    timeout: float,
    jobs: int,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **asked: Any,  # noqa: ANN401  the options that Request names
) -> int:
    """Compile a checked model with ATC, into one .om a batch size, or one with gears.

    The model must be one that 'run', 'extract', 'concat' or 'edit' has checked and that nobody has
    changed since. Flags of ATC that have no option here go behind --. A run that fails leaves its
    log, its command and its environment in STEM_bs<N>.failed/, and earlier .om files alone.

    \b
    Example:
      onnx-passes compile model.onnx --soc 310P3 --batch 1,4,8,16,32,64
      onnx-passes compile model.onnx --soc 310P3 --gears batch=1,4,8 -- --log=info

    Exit codes: 0 all compiled; 1 the model is not verified; 2 bad usage or input; 3 ATC failed for
    at least one size (the others are kept); 4 no toolkit.
    """
    from ascend.toolkit import find_toolkit
    from onnx_passes.core.model_io import load
    from pipeline.cli.compile_request import Request, plans, refuse_unverified, toolkit_if_any
    from pipeline.cli.compile_show import show_results, show_scripts, warn_unverified

    loaded = load(model)
    found = toolkit_if_any(toolkit)
    cann = found.version if found else None
    planned = plans(Request(model=model, **asked), loaded, cann)
    warn_unverified(refuse_unverified(loaded, model, cann, force=force or dry_run))
    if dry_run:
        show_scripts(planned, found, as_json=as_json)
        return 0
    done = _compile_all(planned, found or find_toolkit(toolkit), timeout, jobs)
    return show_results(planned, done, model, as_json=as_json)


def _compile_all(
    planned: list[Plan], toolkit: Toolkit, timeout_s: float, jobs: int
) -> list[Compiled]:
    """Run ATC for each plan, ``jobs`` at a time; an interrupt ends all of them."""
    import threading
    from concurrent.futures import ThreadPoolExecutor, as_completed

    from ascend.atc.compiler import compile_model
    from pipeline.cli.compile_show import Watcher
    from pipeline.cli.console import progress

    stopped = threading.Event()

    def end_if_stopped() -> None:
        if stopped.is_set():
            raise KeyboardInterrupt

    with progress("compile", len(planned)) as meter, ThreadPoolExecutor(jobs) as pool:
        watcher = Watcher(meter, len(planned))

        def run(plan: Plan) -> Compiled:
            end_if_stopped()
            on_line = watcher.reader(plan.job.flags.output)
            return compile_model(
                plan.job, toolkit, timeout_s=timeout_s, on_line=on_line, on_wait=end_if_stopped
            )

        futures = [pool.submit(run, plan) for plan in planned]
        try:
            for future in as_completed(futures):
                future.result()
                watcher.finish_one()
        except BaseException:
            stopped.set()
            raise
        return [future.result() for future in futures]
