"""``onnx-passes flow``: the whole guide as one command that goes on where it was cut off."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline.flow import Job, Status, Watcher

    Decorated = Callable[..., Any]

_PATH = click.Path(path_type=Path)


def _batches(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Read ``1,4,8``."""
    import re

    if text is None:
        return ()
    sizes = tuple(int(size) for size in re.findall(r"[0-9]+", text))
    if not re.fullmatch(r"[1-9][0-9]{0,5}(,[1-9][0-9]{0,5})*", text) or len({*sizes}) < len(sizes):
        msg = f"{text!r} is not a list of different sizes above 0, as 1,4,8,16"
        raise click.BadParameter(msg, ctx, param)
    return sizes


_OPTIONS = (
    click.option("--work", type=_PATH, help="Folder for the results. Default: work/<recipe>."),
    click.option("--model", type=_PATH, metavar="FILE", help="An .onnx in place of an export."),
    click.option(
        "--inference", type=_PATH, metavar="DIR", help="An inference model of Paddle 3, exported."
    ),
    click.option(
        "--paddleocr",
        type=_PATH,
        metavar="DIR",
        help="A checkout of PaddleOCR that exports the model; needs --config and --checkpoint.",
    ),
    click.option("--config", type=_PATH, metavar="CFG", help="Its configuration of the network."),
    click.option(
        "--paddle-python",
        metavar="NAME",
        help="The Python that the checkout's requirements are installed in, if not this one.",
    ),
    click.option(
        "--data",
        type=_PATH,
        metavar="DIR",
        help="LMDB data sets, a zip of them or a label file. Default: the recipe's rendered words.",
    ),
    click.option(
        "--checkpoint",
        type=_PATH,
        metavar="FILE",
        help="Weights, .pdparams or .npz. Only starnet has a default: trained on rendered words.",
    ),
    click.option(
        "--backend",
        type=click.Choice(["onnxruntime", "ascend"]),
        default="onnxruntime",
        show_default=True,
        help="What runs the models: this machine, or ATC and ais_bench on a device.",
    ),
    click.option(
        "--batch",
        "batches",
        callback=_batches,
        metavar="1,4,8",
        help="Batch sizes. Default: the recipe's on a device, 32 with onnxruntime.",
    ),
    click.option("--soc", metavar="CHIP", help="The chip, as 310P3. Default: the recipe's."),
    click.option("--toolkit", type=_PATH, metavar="DIR", help="The CANN toolkit; searched if not."),
    click.option(
        "--python",
        default="python3",
        show_default=True,
        metavar="NAME",
        help="The Python that ais_bench is installed in.",
    ),
    click.option(
        "--device", type=click.IntRange(0, 255), default=0, show_default=True, metavar="N"
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        default=3600.0,
        show_default=True,
        metavar="S",
        help="Seconds that one run of ATC or ais_bench may take.",
    ),
    click.option(
        "--provider",
        type=click.Choice(["cpu", "cuda", "cann", "auto"]),
        default="cpu",
        show_default=True,
        help="Where onnxruntime runs the rewritten model; the original runs on the CPU.",
    ),
    click.option(
        "--workers",
        type=click.IntRange(min=1, max=64),
        metavar="N",
        help="Lanes that prepare records. Default: one a core.",
    ),
    click.option(
        "--strict", is_flag=True, help="End with 1, before anything long, if a record is bad."
    ),
    click.option("--from", "start", metavar="STAGE", help="Begin with it; those before are done."),
    click.option("--to", "end", metavar="STAGE", help="End with it."),
    click.option("--only", metavar="STAGE", help="Run it alone."),
    click.option("--force", is_flag=True, help="Run stages although they are done."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout."),
)


def _with_options(command: Decorated) -> Decorated:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(name="flow")
def group() -> None:
    """Run the whole guide as one command, again and again: what is done is not done twice."""


@group.command(
    epilog="\b\nExample:\n  onnx-passes flow run starnet --data evaluation --work work/starnet"
    "\n  onnx-passes flow run rare_mobilenetv3 --checkpoint best_accuracy.pdparams"
    "\n  onnx-passes flow run custom --model net.onnx --backend ascend --batch 1,8"
)
@click.argument("recipe", metavar="RECIPE")
@_with_options
@click.option("--dry-run", is_flag=True, help="Show the plan; run nothing.")
def run(recipe: str, *, dry_run: bool, **options: Any) -> int:  # noqa: ANN401  see _OPTIONS
    """Take a network to the device, stage by stage: export, rewrite, check, compile, score, bench.

    RECIPE is a built-in recipe (starnet, starnet_resnet34, rare_mobilenetv3, rare_resnet34_vd,
    custom) or a TOML file, see docs/flow.md. What is done already is not done again, as long as its
    inputs, options and versions are the same; a run that was interrupted goes on where it was.

    Exit codes: 0 done; 1 numbers failed, or a record is bad with --strict; 2 bad usage or input,
    or another run is in the folder; 3 a tool failed; 4 a tool is missing.
    """
    if dry_run:
        return _plan(recipe, **options)
    from pipeline import flow
    from pipeline.cli.flow_show import document_of, show

    job, chosen = _asked(recipe, options)
    with _watching() as watcher:
        statuses = flow.run(job, chosen, watcher, force=options["force"])
    document = document_of(job.work, statuses)
    if options["as_json"]:
        from pipeline.cli.console import emit_json

        emit_json(document)
    else:
        show(document)
    return 0


@group.command(epilog="\b\nExample:\n  onnx-passes flow plan starnet --backend ascend --batch 1,8")
@click.argument("recipe", metavar="RECIPE")
@_with_options
def plan(recipe: str, **options: Any) -> int:  # noqa: ANN401  see _OPTIONS
    """Show the stages: what is done, what would run and why, and the commands that do the same."""
    return _plan(recipe, **options)


@group.command(epilog="\b\nExample:\n  onnx-passes flow report work/starnet")
@click.argument("work", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the JSON on stdout too.")
def report(work: Path, *, as_json: bool) -> None:
    """Write WORK/report/report.html and report.json of what a flow has found so far.

    One page that opens offline: accuracy by data set and images a second by batch size, both beside
    the published figures, the numbers of every pass, commands, versions and hardware; each figure
    says whether it comes from a device.
    """
    from pipeline.cli.console import emit_json, out
    from pipeline.flow import to_document, write_report

    page, plain = write_report(work)
    if as_json:
        emit_json(to_document(work))
    else:
        out.print(f"wrote {page} and {plain}", markup=False, soft_wrap=True)


def _plan(recipe: str, **options: Any) -> int:  # noqa: ANN401  see _OPTIONS
    from pipeline import flow
    from pipeline.cli.flow_show import plan_document, show_plan

    job, chosen = _asked(recipe, options)
    statuses: list[Status] = flow.plan(job, chosen, force=options["force"])
    if options["as_json"]:
        from pipeline.cli.console import emit_json

        emit_json(plan_document(job, statuses))
    else:
        show_plan(job, statuses)
    return 0


def _asked(recipe: str, options: dict[str, Any]) -> tuple[Job, frozenset[str]]:
    """Return the job and the names of the chosen stages."""
    from pipeline.flow import Settings, choose, open_job

    settings = Settings(
        work=options["work"] or Path("work", Path(recipe).stem),
        model=options["model"],
        data=options["data"],
        weights=options["checkpoint"],
        inference=options["inference"],
        paddleocr=options["paddleocr"],
        config=options["config"],
        paddle_python=options["paddle_python"],
        backend=options["backend"],
        batches=options["batches"],
        soc=options["soc"],
        toolkit=options["toolkit"],
        python=options["python"],
        device=options["device"],
        timeout_s=options["timeout"],
        provider=options["provider"],
        workers=options["workers"],
        strict=options["strict"],
    )
    chosen = choose(options["start"], options["end"], options["only"])
    return open_job(recipe, settings), chosen


@contextlib.contextmanager
def _watching() -> Iterator[Watcher]:
    """Yield a watcher that draws a bar on stderr; without a terminal it prints a line a stage."""
    from rich.markup import escape

    from pipeline.cli.console import err, progress
    from pipeline.flow import NAMES, Watcher

    class Bar(Watcher):
        current = ""

        def stage(self, name: str, reason: str) -> None:
            self.current = f"{NAMES.index(name) + 1}/{len(NAMES)} {name}"
            meter.describe(escape(self.current))
            if not err.is_terminal:
                err.print(f"{self.current}: {reason}", markup=False, soft_wrap=True)

        def progress(self, done: int, total: int) -> None:
            meter.update(done, total)

        def line(self, text: str) -> None:
            meter.describe(escape(f"{self.current}: {text.strip()[:50]}"))

    with progress("", total=None) as meter:
        try:
            yield Bar()
        except KeyboardInterrupt:
            err.print("stopped; the same command goes on from here")
            raise
