"""``onnx-passes precision``: which nodes must stay float32 on a float16 device."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import Shapes, feeds_option, load_feeds, shape_option
from pipeline.cli.precision_data import FIGURES, Budget, figure_loss, image_feeds

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import onnx_ir as ir

    from onnx_passes.numerics.oracle import Oracle
    from onnx_passes.numerics.precision import PrecisionPlan, Settings


def _parse_budget(ctx: click.Context, param: click.Parameter, text: str) -> Budget:
    match = re.fullmatch(r"(?:([a-z_]+)=)?([0-9.]+(?:e-?[0-9]+)?)", text)
    if match is None or match[1] not in {None, *FIGURES}:
        msg = f"{text!r} is neither a number (0.01) nor a figure and its loss (acc=0.001)"
        raise click.BadParameter(msg, ctx, param)
    try:
        return Budget(match[1], float(match[2]))
    except ValueError:
        msg = f"{match[2]!r} is no number"
        raise click.BadParameter(msg, ctx, param) from None


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--budget",
    required=True,
    metavar="LOSS",
    callback=_parse_budget,
    help="0.01: greatest absolute error of the outputs. acc=0.001: loss of accuracy, with --data.",
)
@click.option(
    "--data",
    metavar="DIR",
    help="LMDB data sets, a zip of them or a label file; its images are the feeds.",
)
@feeds_option
@shape_option
@click.option(
    "--for-output",
    "outputs",
    metavar="NAME",
    multiple=True,
    help="Graph output whose error counts (all unless told). May be repeated.",
)
@click.option(
    "--keep",
    metavar="NODE",
    multiple=True,
    help="Node that stays float32 in any case. May be repeated.",
)
@click.option("--ignore-marks", is_flag=True, help="Let marked nodes be float16 unless found.")
@click.option(
    "--tries",
    type=click.IntRange(min=0),
    help="Sets to try when thinning out what was found (no limit unless told).",
)
@click.option("-o", "--out", "target", metavar="FILE", help="Write the names, one a line.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def precision(  # noqa: PLR0913  one parameter an option
    model: str,
    budget: Budget,
    data: str | None,
    feeds: str | None,
    shapes: Shapes,
    outputs: tuple[str, ...],
    keep: tuple[str, ...],
    *,
    tries: int | None,
    target: str | None,
    ignore_marks: bool,
    as_json: bool,
) -> None:
    """Find the nodes that must stay float32 when everything else is stored as float16.

    The budget holds on the feeds, or for the accuracy on the data, that the search is given: give
    what the device will see. The names written are those found, those of --keep and those marked
    in the model, in the form that ATC's --keep_dtype reads.

    \b
    Example:
      onnx-passes precision model.onnx --data evaluation --budget acc=0.001 -o keep.txt

    Exit codes: 0 found and verified; 2 bad usage or input, or a budget that nothing can meet.
    """
    from onnx_passes.core.model_io import load
    from onnx_passes.numerics.oracle import Oracle
    from onnx_passes.numerics.precision import Settings, search
    from pipeline.cli.console import progress

    _refuse_options(budget, data, feeds)
    loaded = load(model)
    settings = Settings(keep, marks=not ignore_marks, outputs=outputs, max_tries=tries)
    kept = _kept(loaded, settings, target)
    given = load_feeds(feeds, loaded) if data is None else image_feeds(loaded, Path(data))
    oracle = Oracle(loaded, given, dict(shapes))
    with progress("run in float32") as meter:
        settings = dataclasses.replace(settings, on_progress=_shown(meter))
        if budget.figure is None:
            _refuse_vacuous(budget, oracle, outputs)
        loss = figure_loss(loaded, Path(model), Path(data or ""), budget, settings)
        plan = search(loaded, oracle.feeds, budget.loss, loss=loss, settings=settings)
    if target is not None:
        Path(target).write_text("".join(f"{name}\n" for name in (*kept, *plan.nodes)))
    _show(plan, budget, kept, _operators(loaded), target, as_json=as_json)


def _refuse_options(budget: Budget, data: str | None, feeds: str | None) -> None:
    if data is not None and feeds is not None:
        msg = "give either --data DIR or --feeds PATH"
        raise click.UsageError(msg)
    if budget.figure is not None and data is None:
        msg = f"a budget on {budget.figure} needs --data DIR"
        raise click.UsageError(msg)


def _kept(model: ir.Model, settings: Settings, target: str | None) -> list[str]:
    """Return the names of the nodes that are kept in any case; refuse what a file cannot name."""
    from onnx_passes.core.contract import UsageError, label
    from onnx_passes.numerics.half import half_nodes, kept_nodes, node_key, prepare

    if target is not None and (Path(target).is_dir() or not Path(target).parent.is_dir()):
        msg = f"cannot write {target}; give a file name in an existing folder"
        raise UsageError(msg)
    if target is not None and model.functions:
        msg = (
            f"the model has functions, whose nodes {target} could not name; inline them first "
            "(onnx.inliner.inline_local_functions)"
        )
        raise UsageError(msg)
    copy = prepare(model)
    kept = kept_nodes(copy, settings.keep, marks=settings.marks)
    unnamed = [node for node in (*kept, *half_nodes(copy, kept)) if not node.name]
    if target is not None and unnamed:
        msg = (
            f"{len(unnamed)} nodes have no name (the first: {label(unnamed[0])}), so {target} "
            "could not name them; give every node a name first"
        )
        raise UsageError(msg)
    return [node_key(node) for node in copy.graph.all_nodes() if node in kept]


def _refuse_vacuous(budget: Budget, oracle: Oracle, outputs: Collection[str]) -> None:
    """Refuse a budget that even the answer to other feeds would meet."""
    from onnx_passes.core.contract import UsageError

    moves = {name: oracle.sensitivity[name] for name in outputs if name in oracle.sensitivity}
    moves = moves or oracle.sensitivity
    if moves and budget.loss >= max(moves.values()):
        msg = (
            f"the budget {budget.loss:g} allows anything: other feeds move the outputs by "
            f"{max(moves.values()):.3g}; give a smaller budget or other feeds"
        )
        raise UsageError(msg)


def _shown(meter: Any) -> Callable[[str, int, int | None], None]:  # noqa: ANN401  see console
    said: list[str] = []

    def show(step: str, done: int, total: int | None) -> None:
        if said[-1:] != [step]:
            said.append(step)
            meter.describe({"rank": "rank the nodes"}.get(step, f"{step} the list"))
        meter.update(done, total)

    return show


def _operators(model: ir.Model) -> dict[str, str]:
    from onnx_passes.numerics.half import node_key, prepare

    return {node_key(node): node.op_type for node in prepare(model).graph.all_nodes()}


def _show(
    plan: PrecisionPlan,
    budget: Budget,
    kept: list[str],
    operators: dict[str, str],
    target: str | None,
    *,
    as_json: bool,
) -> None:
    errors = {one.node: one.error for one in plan.ranking}
    rows = [
        {"node": name, "operator": operators[name], "error_alone": errors[name]}
        for name in plan.nodes
    ]
    if as_json:
        from onnx_passes.report.document import finite
        from pipeline.cli.console import emit_json

        document = {**dataclasses.asdict(plan), "nodes": rows, "kept_before": kept}
        emit_json(finite({**document, "unit": budget.unit, "written": target}))
        return
    _show_table(plan, budget, kept, rows)
    if target is not None:
        from pipeline.cli.console import out

        out.print(f"wrote {len(kept) + len(rows)} names to {target}", markup=False)


def _show_table(
    plan: PrecisionPlan, budget: Budget, kept: list[str], rows: list[dict[str, Any]]
) -> None:
    from rich.markup import escape
    from rich.table import Table

    from pipeline.cli.console import out

    if rows:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("must stay float32", overflow="fold")
        table.add_column("operator")
        table.add_column("output error if it alone is float16", justify="right")
        for row in rows:
            error = f"{row['error_alone']:.3g}"
            table.add_row(escape(row["node"]), escape(row["operator"]), error)
        out.print(table)
    out.print(f"loss ({budget.unit}):")
    out.print(f"  {plan.loss_before:.3g} with {len(kept)} nodes float32 (marked or --keep)")
    out.print(f"  {plan.loss:.3g} with {len(rows)} more, of {len(plan.ranking)}")
    out.print(f"  {plan.budget:g} is the budget; {plan.tried} sets of nodes were measured")
    if not plan.thinned:
        out.print("[yellow]--tries ran out: some of these nodes may not be needed[/]")
