"""What the commands extract, concat and edit have in common."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Difference
    from onnx_passes.surgery.agreement import Agreement

Verdict: TypeAlias = Literal["passed", "not checked", "meant to change"]
_NOT_COMPARED = "numbers were not compared, as asked"

output_option = click.option(
    "-o", "--output", required=True, metavar="OUT", help="Where to write the result."
)
no_check_option = click.option(
    "--no-check", is_flag=True, help="Check the structure only, not the numbers."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a command says at its end.

    Attributes:
        said: Sentences on what was done.
        differences: By output; empty if numbers were not compared.
        reason: Why the result is not good, or an empty string.
        feeds: How to repeat the feeds; empty if there were none.
        verdict: What the comparison is worth: the mark that the model earns.
    """

    said: tuple[str, ...]
    differences: Mapping[str, Difference]
    reason: str
    feeds: str
    verdict: Verdict = "passed"

    @staticmethod
    def of(agreement: Agreement | None, *said: str) -> Finding:
        """Return what to say of a comparison; None means that there was none, as asked."""
        if agreement is None:
            return Finding((*said, _NOT_COMPARED), {}, "", "", "not checked")
        return Finding(said, agreement.differences, agreement.reason, agreement.feeds)


def finish(
    model: ir.Model, sources: Sequence[ir.Model], path: Path, finding: Finding, *, as_json: bool
) -> int:
    """Write the model unless something is wrong with it, say what was found, return the code."""
    from onnx_passes.core.model_io import save

    if not finding.reason:
        _mark(model, sources, finding)
        save(model, path)
    if as_json:
        _emit(model, path, finding)
    else:
        _show(model, path, finding)
    return 1 if finding.reason else 0


def _mark(model: ir.Model, sources: Sequence[ir.Model], finding: Finding) -> None:
    """Leave in the model what is known of its numbers."""
    from onnx_passes.core.checked import mark_checked, mark_original, mark_unchecked

    if finding.verdict == "passed":
        mark_checked(model, sources)
    elif finding.verdict == "not checked":
        mark_unchecked(model, _NOT_COMPARED)
    else:
        mark_original(model, sources)


def split_pair(
    text: str, known: Collection[str | None], *, what: str, form: str
) -> tuple[str, str]:
    """Split ``left=right``; ONNX names may hold a ``=``, so a known left side goes first."""
    cuts = [index for index, sign in enumerate(text) if sign == "="]
    pairs = [(text[:cut], text[cut + 1 :]) for cut in cuts if text[:cut] and text[cut + 1 :]]
    if not pairs:
        msg = f"{what} {text!r} is not {form}"
        raise click.UsageError(msg)
    return next((pair for pair in pairs if pair[0] in known), pairs[0])


def names_of(model: ir.Model) -> dict[str, list[str]]:
    """Return inputs and outputs with types and shapes, as text."""
    sides = {"inputs": model.graph.inputs, "outputs": model.graph.outputs}
    return {
        side: [f"{v.name} {v.dtype.name.lower() if v.dtype else '?'} {v.shape}" for v in values]
        for side, values in sides.items()
    }


def _emit(model: ir.Model, path: Path, finding: Finding) -> None:
    from onnx_passes.report.document import finite
    from pipeline.cli.console import emit_json

    document: dict[str, Any] = {
        "written": None if finding.reason else str(path),
        "reason": finding.reason,
        "done": list(finding.said),
        "nodes": sum(1 for _ in model.graph.all_nodes()),
        **names_of(model),
        "differences": {
            name: dataclasses.asdict(difference) for name, difference in finding.differences.items()
        },
        "feeds": finding.feeds,
    }
    emit_json(finite(document))


def _show(model: ir.Model, path: Path, finding: Finding) -> None:
    from pipeline.cli.console import out

    def say(text: str, **how: Any) -> None:  # noqa: ANN401  rich's own keywords
        out.print(text, markup=False, soft_wrap=True, **how)

    for sentence in finding.said:
        say(sentence)
    for name, difference in finding.differences.items():
        say(f"{name}: {difference.sentence()}")
    if finding.feeds:
        say(f"feeds: {finding.feeds}")
    if finding.reason:
        say(finding.reason, style="bold red")
        say("nothing was written", style="bold red")
        return
    for side, values in names_of(model).items():
        say(f"{side}: {', '.join(values)}")
    say(f"wrote {path}: {sum(1 for _ in model.graph.all_nodes())} nodes")
