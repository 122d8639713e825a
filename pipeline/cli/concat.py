"""``onnx-passes concat``: join two models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import Shapes, feeds_option, load_feeds, refuse_bad_target, shape_option
from pipeline.cli.surgery import (
    Finding,
    finish,
    json_option,
    no_check_option,
    output_option,
    split_pair,
)

if TYPE_CHECKING:
    import onnx_ir as ir


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@output_option
@click.option(
    "--connect",
    "joints",
    multiple=True,
    required=True,
    metavar="OUT=IN",
    help="An output of A and the input of B that reads it. May be repeated.",
)
@click.option("--prefix-a", default="", metavar="TEXT", help="Goes before all names of A.")
@click.option("--prefix-b", default="", metavar="TEXT", help="Goes before all names of B.")
@feeds_option
@shape_option
@no_check_option
@json_option
def concat(  # noqa: PLR0913  one parameter an option
    first: str,
    second: str,
    output: str,
    joints: tuple[str, ...],
    prefix_a: str,
    prefix_b: str,
    feeds: str | None,
    shapes: Shapes,
    *,
    no_check: bool,
    as_json: bool,
) -> int:
    """Join two models: outputs of A become inputs of B.

    If the opsets differ, the lower model is lifted by the pass set-opset, checked. --connect names
    tensors as in A and B; --feeds and --shape name the inputs of the result, prefixes included. The
    result must give what running A and then B gives, bit for bit.

    \b
    Example:
      onnx-passes concat resize.onnx model.onnx -o out.onnx --connect image=x --prefix-a pre/

    Exit codes: 0 written and checked; 1 the result gives other numbers, or none could be compared
    (nothing is written); 2 bad usage or input, models that do not fit.
    """
    from onnx_passes.core.model_io import load
    from onnx_passes.surgery.concat import check_joined
    from onnx_passes.surgery.concat import concat as join

    refuse_bad_target(Path(output))
    a, b = load(first), load(second)
    prefixes = prefix_a, prefix_b
    joined = join(a, b, _connections(joints, a), prefixes=prefixes, check=not no_check)
    agreement = None
    if not no_check:
        given = load_feeds(feeds, joined.model)
        agreement = check_joined(joined, given, dict(shapes))
    said = [joined.lifted] if joined.lifted else []
    return finish(joined.model, [a, b], Path(output), Finding.of(agreement, *said), as_json=as_json)


def _connections(joints: tuple[str, ...], a: ir.Model) -> dict[str, str]:
    """Return inputs of the second model with the outputs of ``a`` that they read."""
    outputs = {value.name for value in a.graph.outputs}
    connect: dict[str, str] = {}
    for joint in joints:
        source, target = split_pair(joint, outputs, what="--connect", form="OUTPUT_OF_A=INPUT_OF_B")
        if target in connect:
            msg = f"--connect names input {target!r} twice"
            raise click.UsageError(msg)
        connect[target] = source
    return connect
