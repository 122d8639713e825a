"""``onnx-passes flow``: the whole guide as one command."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.flow import FlowResult

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


@click.group(name="flow")
def group() -> None:
    """Run the whole guide as one command."""


@group.command(
    epilog="\b\nExample:\n  onnx-passes flow run starnet --data evaluation --work work/starnet"
)
@click.argument("recipe", metavar="RECIPE")
@click.option("--work", default="work/starnet", show_default=True, help="Folder for the results.")
@click.option(
    "--data",
    metavar="DIR",
    help="LMDB data sets, a zip of them or a label file. Default: rendered words.",
)
@click.option(
    "--checkpoint",
    metavar="FILE",
    help="Weights, .pdparams or .npz. Default: trained on rendered words, shipped with this.",
)
@click.option("--batch", default=32, show_default=True, help="Images per run of the evaluation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def run(
    recipe: str, work: str, data: str | None, checkpoint: str | None, batch: int, *, as_json: bool
) -> int:
    """Export StarNet, rewrite it, check every pass, evaluate both models with onnxruntime.

    RECIPE is the name of a built-in recipe (starnet) or a TOML file with 'passes'.
    """
    from onnx_passes.core.passlist import from_toml
    from pipeline.cli.options import read_recipe
    from pipeline.cli.presets import expand_entries
    from pipeline.flow import FlowSettings, run_starnet

    settings = FlowSettings(
        work=Path(work),
        passes=from_toml(expand_entries(read_recipe(_recipe_path(recipe))["passes"])),
        data=Path(data) if data else None,
        weights=Path(checkpoint) if checkpoint else None,
        batch_size=batch,
    )
    with _watching() as watcher:
        result = run_starnet(settings, watcher)
    if as_json:
        from pipeline.cli.console import emit_json

        emit_json(_document(result))
    else:
        _show(result)
    return 0


def _recipe_path(recipe: str) -> Path:
    """Return the file of a recipe: a path as it is, a name among the built-in ones.

    Raises:
        UsageError: If there is none; with the nearest name.
    """
    from onnx_passes.core.contract import UsageError
    from onnx_passes.core.registry import did_you_mean

    path = Path(recipe)
    if path.suffix == ".toml":
        return path
    names = sorted(file.stem for file in RECIPES.glob("*.toml"))
    if recipe not in names:
        near = did_you_mean(recipe, names)
        msg = f"no recipe {recipe!r}{near}; built in: {', '.join(names)}, or give a .toml file"
        raise UsageError(msg)
    return RECIPES / f"{recipe}.toml"


def _watching() -> Any:  # noqa: ANN401  a context manager of rich's making
    """Return a context that yields a Watcher drawing one bar per stage on stderr."""
    import contextlib

    from pipeline.cli.console import progress
    from pipeline.flow import STAGES, Watcher

    @contextlib.contextmanager
    def watching() -> Any:  # noqa: ANN401  see above
        with progress("", total=None) as meter:

            class Bar(Watcher):
                def stage(self, name: str) -> None:
                    meter.describe(f"{STAGES.index(name) + 1}/{len(STAGES)} {name}")

                def progress(self, done: int, total: int) -> None:
                    meter.update(done, total)

            yield Bar()

    return watching()


def _show(result: FlowResult) -> None:
    from rich.table import Table

    from pipeline.cli.console import out
    from pipeline.cli.show import idle_line, steps_table

    out.print(steps_table(result.outcome.steps))
    out.print(idle_line(result.outcome.steps), markup=False)
    out.print(f"checked on: {result.outcome.feeds}; oracle: {result.outcome.oracle}", markup=False)
    for what, gap in (
        ("all passes", result.rectified),
        ("decompose-grid-sample alone", result.rectified_alone),
    ):
        out.print(f"rectified image, {what}: {gap.sentence()}", markup=False)
    out.print(f"(from one image to another it moves by {result.rectified_moves:.3g})\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("onnxruntime, CPU", "original", "optimised"):
        table.add_column(column, justify="left" if column.startswith("onnx") else "right")
    for row in _rows(result):
        table.add_row(*row)
    out.print(table)
    out.print(
        f"\ntext agreement: {result.text_agreement:.2%} of {len(result.before.texts)} records"
    )
    out.print(f"models: {result.original} and {result.optimized}", markup=False, soft_wrap=True)
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in result.seconds.items())
    out.print(f"stages: {seconds}", markup=False)
    out.print(_NO_DEVICE, markup=False)


_NO_DEVICE = (
    "\nNo Ascend device was used. On a 310P3 the optimised model would be compiled by ATC (float16 "
    "by default, which changes the numbers), run by ais_bench on bin/img_<n>.bin, and its outputs "
    "read by 'onnx-passes eval score'; the accuracy above is onnxruntime's, the throughput this "
    "machine's."
)


def _rows(result: FlowResult) -> list[tuple[str, ...]]:
    before, after, speeds = result.before, result.after, result.speeds
    sizes = result.outcome.before, result.outcome.after
    gone = sorted(set(sizes[0].operators) - set(sizes[1].operators))
    return [
        ("nodes", *(str(size.nodes) for size in sizes)),
        ("operators gone", "", ", ".join(gone)),
        ("acc", *(f"{one.acc:.6f}" for one in (before, after))),
        ("norm_edit_dis", *(f"{one.norm_edit_dis:.6f}" for one in (before, after))),
        (f"images/s, batch {speeds[0].batch_size}", *(f"{s.images_per_s:.0f}" for s in speeds)),
    ]


def _document(result: FlowResult) -> dict[str, Any]:
    import dataclasses

    from onnx_passes.report.document import finite, to_document

    document: dict[str, Any] = finite(
        {
            "device": None,
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "models": {"original": str(result.original), "optimized": str(result.optimized)},
            "passes": to_document(result.outcome),
            "rectified": dataclasses.asdict(result.rectified),
            "rectified_alone": dataclasses.asdict(result.rectified_alone),
            "rectified_moves": result.rectified_moves,
            "original": result.before.to_json(),
            "optimized": result.after.to_json(),
            "images_per_s": [speed.images_per_s for speed in result.speeds],
            "text_agreement": result.text_agreement,
            "seconds": result.seconds,
        }
    )
    return document
