"""``onnx-passes edit``: remove, insert, reconnect and rename by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import Shapes, feeds_option, load_feeds, refuse_bad_target, shape_option
from pipeline.cli.surgery import (
    Finding,
    Verdict,
    finish,
    json_option,
    no_check_option,
    output_option,
    split_pair,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from onnx_passes.surgery.edit import Edit
    from onnx_passes.surgery.edit_check import EditCheck, Expectation

_EDITS = "onnx_passes.edits"
_VALUES = {"--remove": 1, "--insert-after": 2, "--reconnect": 1, "--rename": 1}


class _Ordered(click.Command):
    """A command that remembers the order of its edits; click keeps it within one option only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note the edits down, then parse as ever."""
        ctx.meta[_EDITS] = _edits_in(args)
        return super().parse_args(ctx, args)


def _edits_in(args: list[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the edits among the arguments of a command line, with their values."""
    found, index = [], 0
    while index < len(args) and args[index] != "--":
        option, sign, value = args[index].partition("=")
        count = _VALUES.get(option, 0)
        first = [value] if sign else []
        values = [*first, *args[index + 1 : index + 1 + count - len(first)]]
        index += 1 + (count - len(first) if count else 0)
        if count:
            found.append((option, tuple(values)))
    return found


@click.command(cls=_Ordered)
@click.argument("model", metavar="MODEL")
@output_option
@click.option("--remove", multiple=True, metavar="NODE", help="Take a node out.")
@click.option(
    "--insert-after",
    multiple=True,
    nargs=2,
    metavar="TENSOR OP{...}",
    help="Put a node behind a tensor.",
)
@click.option(
    "--reconnect",
    multiple=True,
    metavar="NODE:I=TENSOR",
    help="Let input I of a node, from 0, read another tensor.",
)
@click.option("--rename", multiple=True, metavar="A=B", help="Rename a tensor, or else a node.")
@click.option(
    "--expect",
    type=click.Choice(["equal", "close", "changed"]),
    default="equal",
    show_default=True,
    help="What the outputs must be: equal in all bits, equal but for rounding, or changed.",
)
@feeds_option
@shape_option
@no_check_option
@json_option
def edit(
    model: str,
    output: str,
    *,
    expect: Expectation,
    feeds: str | None,
    shapes: Shapes,
    no_check: bool,
    as_json: bool,
    **given: tuple[Any, ...],
) -> int:
    """Remove, insert, reconnect and rename, in the order given, and compare with the original.

    NODE is the name of a node or of a tensor it makes. A node that is removed is replaced by its
    one input that is not constant. In OP{key=value,...} a key is an attribute or an input of the
    operator: a number or a list makes a constant, @file.npy reads one, a word names a tensor.
    TENSOR goes into the first input without a key. --feeds and --shape name the original's inputs.

    An edit is expected to leave the numbers alone: what was meant to change them says so with
    --expect changed, which asks that at least one output is not what it was.

    \b
    Example:
      onnx-passes edit model.onnx -o out.onnx --remove Identity_3 --rename x=images
      onnx-passes edit model.onnx -o out.onnx --insert-after x 'Mul{B=0.5}' --expect changed
      onnx-passes edit model.onnx -o out.onnx --insert-after y 'Gather{indices=[0,2],axis=1}'

    Exit codes: 0 written and as expected; 1 not as expected, nothing to compare, or no valid model
    (nothing is written); 2 bad usage or input, an edit that cannot be made.
    """
    from onnx_passes.core.model_io import load
    from onnx_passes.surgery.edit import edit as apply_edits
    from onnx_passes.surgery.edit_check import check_edited

    refuse_bad_target(Path(output))
    original = load(model)
    edits = [_edit(option, values, original) for option, values in _in_order(given)]
    edited, said = apply_edits(original, edits)
    finding = Finding.of(None, *said)
    if not no_check:
        given_feeds = load_feeds(feeds, original)
        found = check_edited(original, edited, expect, given_feeds, dict(shapes))
        finding = _finding(found, expect, said)
    return finish(edited, [original], Path(output), finding, as_json=as_json)


def _finding(found: EditCheck, expect: Expectation, said: Sequence[str]) -> Finding:
    differences = {output.output: output.original for output in found.check.outputs}
    unmet = f"expected {expect}: {found.unmet}" if found.unmet else ""
    verdict: Verdict = "meant to change" if expect == "changed" else "passed"
    return Finding(tuple(said), differences, unmet, found.feeds, verdict)


def _in_order(given: Mapping[str, tuple[Any, ...]]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the edits that click read, by parameter, in the order of the command line."""
    noted: list[tuple[str, tuple[str, ...]]] = click.get_current_context().meta[_EDITS]
    if not any(given.values()):
        msg = f"nothing to do; give {', '.join(_VALUES)}"
        raise click.UsageError(msg)
    for option, count in _VALUES.items():
        read = given[option.removeprefix("--").replace("-", "_")]
        values = [(value,) for value in read] if count == 1 else list(read)
        if [value for name, value in noted if name == option] != values:
            msg = f"the order of the edits is not clear: another value reads like {option}"
            raise click.UsageError(msg)
    return noted


def _edit(option: str, values: tuple[str, ...], model: ir.Model) -> Edit:
    """Return one edit from an option and its values."""
    from onnx_passes.surgery.edit import InsertAfter, Reconnect, Remove, Rename
    from onnx_passes.surgery.look_up import tensors

    if option == "--remove":
        return Remove(values[0])
    if option == "--insert-after":
        return InsertAfter(values[0], values[1])
    if option == "--reconnect":
        match = re.fullmatch(r"(.+?):(\d+)=(.+)", values[0])
        if match is None:
            msg = f"--reconnect {values[0]!r} is not NODE:INPUT_INDEX=TENSOR"
            raise click.UsageError(msg)
        return Reconnect(match[1], int(match[2]), match[3])
    names = {node.name for node in model.graph} | set(tensors(model))
    old, new = split_pair(values[0], names, what="--rename", form="OLD=NEW")
    return Rename(old, new)
