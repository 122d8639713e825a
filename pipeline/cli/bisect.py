"""``onnx-passes bisect``: the pass, the rewrite and the tensor that break a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.catalogue import load_plugins, plugin_option
from pipeline.cli.options import Shapes, feeds_option, load_feeds, shape_option
from pipeline.cli.presets import expand

if TYPE_CHECKING:
    from onnx_passes.core.bisect import Culprit
    from onnx_passes.core.reproducer import Reproducer


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--passes", "text", required=True, metavar="TEXT", help="Pass list to examine.")
@feeds_option
@shape_option
@click.option("--repro", metavar="DIR", help="Write a folder that shows the failure again.")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def bisect(
    model: str,
    text: str,
    feeds: str | None,
    shapes: Shapes,
    repro: str | None,
    plugins: tuple[str, ...],
    *,
    as_json: bool,
) -> int:
    """Find the pass that breaks a model, its first wrong rewrite, and the first wrong tensor.

    \b
    Example:
      onnx-passes bisect model.onnx --passes onnxsim,my-pass --plugin my_pass.py --repro repro

    Exit codes: 0 nothing breaks; 1 a culprit was found; 2 bad usage or input.
    """
    from onnx_passes.core.bisect import bisect as find
    from onnx_passes.core.manager import Settings
    from onnx_passes.core.model_io import load
    from onnx_passes.core.passlist import parse
    from onnx_passes.core.reproducer import refuse_target, write_reproducer

    files = [Path(plugin) for plugin in plugins]
    if repro is not None:
        refuse_target(Path(repro), files)
    load_plugins(plugins)
    items, loaded = parse(expand(text)), load(model)
    settings = Settings(feeds=load_feeds(feeds, loaded), shapes=dict(shapes))
    culprit = find(loaded, items, settings)
    written = None
    if culprit is not None and repro is not None:
        written = write_reproducer(culprit, settings, Path(repro), files)
    _show(culprit, written, as_json=as_json)
    return 0 if culprit is None else 1


def _show(culprit: Culprit | None, written: Reproducer | None, *, as_json: bool) -> None:
    from pipeline.cli.console import emit_json, out

    if as_json:
        emit_json(_document(culprit, written))
        return
    if culprit is None:
        out.print("Every pass passes: nothing breaks the numbers.")
        return
    out.print(culprit.paragraph(), markup=False)
    if written is not None:
        out.print(
            f"Reproducer: {written.folder} ({written.nodes} nodes). Run there:\n{written.command}",
            markup=False,
            soft_wrap=True,
        )


def _document(culprit: Culprit | None, written: Reproducer | None) -> dict[str, Any]:
    """Return the finding; ``pass``, ``rewrite``, ``tensor`` and ``node`` are null if unknown."""
    from onnx_passes.report.document import finite

    if culprit is None:
        return {"pass": None, "rewrite": None, "tensor": None, "node": None, "reason": ""}
    rewrite = culprit.rewrite
    document: dict[str, Any] = finite(
        {
            "pass": culprit.step.text,
            "step": culprit.step.number,
            "verdict": culprit.step.verdict,
            "reason": culprit.step.reason,
            "rewrite": rewrite and {**dataclasses.asdict(rewrite.note), "number": rewrite.number},
            "tensor": culprit.tensor.name if culprit.tensor else None,
            "node": culprit.node or (rewrite.note.node if rewrite else None),
            "difference": culprit.tensor and dataclasses.asdict(culprit.tensor.difference),
            "compared": culprit.compared,
            "paragraph": culprit.paragraph(),
            "reproducer": written and {"folder": str(written.folder), "command": written.command},
        }
    )
    return document
