"""``onnx-passes run``: a pass list on a model, every pass checked."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.catalogue import load_plugins, plugin_option
from pipeline.cli.emulate import emulate_option, emulation
from pipeline.cli.options import (
    Shapes,
    feeds_option,
    load_feeds,
    read_recipe,
    refuse_bad_target,
    shape_option,
)
from pipeline.cli.presets import expand, expand_entries

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.manager import OnFail, Settings
    from onnx_passes.core.outcome import Outcome
    from onnx_passes.core.passlist import Item
    from pipeline.cli.emulate import Emulation

_COMMAND_LINE = "onnx_passes.command_line"


class _Recorded(click.Command):
    """A command that remembers its arguments, for the report."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as ever, after the line is noted down."""
        ctx.meta[_COMMAND_LINE] = f"{ctx.command_path} {shlex.join(args)}"
        return super().parse_args(ctx, args)


@click.command(cls=_Recorded)
@click.argument("model", metavar="MODEL")
@click.option("-o", "--output", required=True, metavar="OUT", help="Where to write the result.")
@click.option("--passes", "text", metavar="TEXT", help="Pass list, as a,b{x=1},(c,d)*,@preset.")
@click.option("--recipe", metavar="FILE", help="TOML file with 'passes' (instead of --passes).")
@feeds_option
@shape_option
@click.option("--no-check", is_flag=True, help="Check the structure only, not the numbers.")
@click.option(
    "--on-fail",
    type=click.Choice(["stop", "undo", "keep"]),
    help="For a pass that fails: stop and write nothing (default), undo it, or keep it.",
)
@click.option(
    "--accept-unchecked",
    is_flag=True,
    help="Exit 0 although a change could not be checked (a dead output, say).",
)
@emulate_option
@click.option("--report", metavar="DIR", help="Write report.json and report.html there.")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def run(  # noqa: PLR0913  one parameter an option
    model: str,
    output: str,
    text: str | None,
    recipe: str | None,
    feeds: str | None,
    shapes: Shapes,
    on_fail: OnFail | None,
    plugins: tuple[str, ...],
    *,
    emulate: str | None,
    report: str | None,
    no_check: bool,
    accept_unchecked: bool,
    as_json: bool,
) -> int:
    """Run a pass list on a model, checking every pass against the original.

    \b
    Example:
      onnx-passes run model.onnx -o out.onnx --passes onnxsim,decompose-grid-sample

    Exit codes: 0 written and checked; 1 a pass failed (nothing is written unless --on-fail keep)
    or a change could not be checked (written, see --accept-unchecked); 2 bad usage or input.
    """
    from onnx_passes.core.checked import mark_outcome, unmarked
    from onnx_passes.core.manager import Settings, run_passes
    from onnx_passes.core.model_io import load

    load_plugins(plugins)
    items, defaults = _pass_list(text, recipe)
    refuse_bad_target(Path(output))
    _refuse_bad_report(report)
    original = load(model)
    settings = Settings(
        feeds=load_feeds(feeds, original),
        shapes={**defaults.get("shapes", {}), **dict(shapes)},
        check=not no_check,
        on_fail=on_fail or defaults.get("on_fail", "stop"),
        again=functools.partial(unmarked, original),
    )
    outcome = run_passes(unmarked(original), items, _with_progress(settings))
    _report(report, outcome, original, settings, Path(model).name)
    half = None
    if emulate:
        half = emulation(original, outcome.model, settings.feeds, settings.shapes)
    mark_outcome(outcome, original, compared=settings.check)
    written = _write(outcome, Path(output), settings)
    _show(outcome, output if written else None, half, as_json=as_json)
    return _exit_code(outcome, settings, accept_unchecked=accept_unchecked)


def _pass_list(text: str | None, recipe: str | None) -> tuple[tuple[Item, ...], dict[str, Any]]:
    """Return the passes and the recipe's other settings."""
    from onnx_passes.core.passlist import from_toml, parse

    if (text is None) == (recipe is None):
        msg = "give either --passes TEXT or --recipe FILE"
        raise click.UsageError(msg)
    if recipe is None:
        return parse(expand(text or "")), {}
    settings = read_recipe(Path(recipe))
    return from_toml(expand_entries(settings["passes"])), settings


def _with_progress(settings: Settings) -> Settings:
    """Say on stderr which pass runs; a terminal sees one line that changes."""
    import dataclasses

    from pipeline.cli.console import err

    if not err.is_terminal:
        return settings
    return dataclasses.replace(
        settings, on_start=lambda text: err.print(f"... {text}", markup=False, end="\r")
    )


def _refuse_bad_report(folder: str | None) -> None:
    if folder is not None:
        from onnx_passes.report.write import refuse_bad_folder

        refuse_bad_folder(Path(folder))


def _report(
    folder: str | None, outcome: Outcome, original: ir.Model, settings: Settings, name: str
) -> None:
    """Write the report before the model: OUT may be the file the original is read from."""
    if folder is None:
        return
    from onnx_passes.report.write import write_report
    from pipeline.cli.console import err

    if err.is_terminal:
        err.print("... report", end="\r")
    write_report(
        folder,
        outcome,
        original,
        feeds=settings.feeds,
        shapes=settings.shapes,
        check=settings.check,
        model_name=name,
        command=click.get_current_context().meta[_COMMAND_LINE],
    )
    err.print(f"wrote {Path(folder) / 'report.html'}", markup=False, soft_wrap=True)


def _write(outcome: Outcome, path: Path, settings: Settings) -> bool:
    """Write the model unless the run was stopped; return whether it was written."""
    from onnx_passes.core.model_io import save

    if settings.on_fail == "stop" and outcome.stopped_by is not None:
        return False
    save(outcome.model, path)
    return True


def _exit_code(outcome: Outcome, settings: Settings, *, accept_unchecked: bool) -> int:
    if outcome.stopped_by is not None or (settings.on_fail == "keep" and outcome.blamed):
        return 1
    if outcome.verdict == "not checkable":
        return 0 if accept_unchecked else 1
    return 0


def _show(outcome: Outcome, written: str | None, half: Emulation | None, *, as_json: bool) -> None:
    if as_json:
        from onnx_passes.report.document import to_document
        from pipeline.cli.console import emit_json

        emulated = {} if half is None else {"emulated": half.document()}
        emit_json({"written": written, **to_document(outcome), **emulated})
        return
    from pipeline.cli.show import show_outcome

    show_outcome(outcome, written)
    if half is not None:
        half.show()
