"""``onnx-passes extract``: cut a model at tensors."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.options import Shapes, feeds_option, load_feeds, refuse_bad_target, shape_option
from pipeline.cli.surgery import Finding, finish, json_option, no_check_option, output_option


def _names(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Split ``a,b`` at the commas."""
    names = tuple(name.strip() for value in values for name in value.split(","))
    if not all(names):
        msg = "an empty name; give tensor names with commas between them"
        raise click.BadParameter(msg, ctx, param)
    return names


@click.command()
@click.argument("model", metavar="MODEL")
@output_option
@click.option(
    "--inputs",
    multiple=True,
    callback=_names,
    metavar="A,B",
    help="Tensors that become inputs. Default: the graph inputs that the outputs need.",
)
@click.option(
    "--outputs",
    multiple=True,
    callback=_names,
    metavar="C,D",
    help="Tensors that become outputs. Default: the graph outputs.",
)
@feeds_option
@shape_option
@no_check_option
@json_option
def extract(
    model: str,
    output: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    feeds: str | None,
    shapes: Shapes,
    *,
    no_check: bool,
    as_json: bool,
) -> int:
    """Cut a model at tensors: what lies between becomes a model of its own.

    The piece, fed with the tensors of the whole model, must give the whole model's tensors bit for
    bit; feeds and shapes are those of the whole model.

    \b
    Example:
      onnx-passes extract model.onnx -o head.onnx --outputs features
      onnx-passes extract model.onnx -o piece.onnx --inputs a,b --outputs c

    Exit codes: 0 written and checked; 1 the piece gives other numbers, or none could be compared
    (nothing is written); 2 bad usage or input.
    """
    from onnx_passes.core.model_io import load
    from onnx_passes.surgery.extract import check_extracted
    from onnx_passes.surgery.extract import extract as cut

    if not inputs and not outputs:
        msg = "give --inputs or --outputs, or both"
        raise click.UsageError(msg)
    refuse_bad_target(Path(output))
    whole = load(model)
    piece = cut(whole, inputs, outputs)
    agreement = None
    if not no_check:
        agreement = check_extracted(whole, piece, load_feeds(feeds, whole), dict(shapes))
    return finish(piece, [whole], Path(output), Finding.of(agreement), as_json=as_json)
