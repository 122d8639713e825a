"""``onnx-passes list`` and ``onnx-passes explain``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from onnx_passes.core.contract import Pass

plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py",
    help="Python file that registers passes; its code is executed. May be repeated.",
)


def load_plugins(plugins: tuple[str, ...]) -> None:
    """Register the passes of plugin files."""
    from onnx_passes.core.registry import load_plugin

    for plugin in plugins:
        load_plugin(Path(plugin))


@click.command("list")
@plugin_option
@click.option("--presets", is_flag=True, help="List the presets: pass lists to run as @NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def list_passes(plugins: tuple[str, ...], *, presets: bool, as_json: bool) -> None:
    """List the passes, grouped by purpose, or the presets.

    \b
    Example:
      onnx-passes list
      onnx-passes list --presets
    """
    if presets:
        from pipeline.cli.presets import show_presets

        show_presets(as_json=as_json)
        return
    from onnx_passes.core.registry import passes
    from pipeline.cli.console import emit_json, err, out

    load_plugins(plugins)
    found = sorted(passes(), key=lambda cls: (cls.purpose, cls.name))
    if as_json:
        emit_json([_entry(cls) for cls in found])
        _show_broken(err)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("purpose", "pass", "exactness", "what it does"):
        table.add_column(column, overflow="fold")
    purpose = ""
    for cls in found:
        heading = cls.purpose if cls.purpose != purpose else ""
        purpose = cls.purpose
        hint = missing(cls)
        text = f"{summary(cls)} ({hint})" if hint else summary(cls)
        table.add_row(heading, cls.name, cls.exactness, escape(text))
    out.print(table)
    out.print("\nonnx-passes explain PASS prints a pass's page.", style="dim")
    _show_broken(out)


def _show_broken(console: Console) -> None:
    from onnx_passes.core.registry import broken_plugins

    for plugin in broken_plugins():
        line = f"broken plugin {plugin.entry} of {plugin.distribution}: {plugin.reason}"
        console.print(line, markup=False, soft_wrap=True)


@click.command()
@click.argument("name", metavar="PASS")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def explain(name: str, plugins: tuple[str, ...], *, as_json: bool) -> None:
    """Print the page of a pass: what it rewrites, when, what it leaves alone, how exactly.

    \b
    Example:
      onnx-passes explain decompose-grid-sample
    """
    from onnx_passes.core.registry import get
    from pipeline.cli.console import emit_json, out

    load_plugins(plugins)
    cls = get(name)
    page = page_of(cls)
    if as_json:
        emit_json({**_entry(cls), "page": page})
        return
    out.print(page, markup=False, soft_wrap=True)
    if hint := missing(cls):
        out.print(f"\nThe tool is {hint}", markup=False)
    out.print(f"\nExactness: {cls.exactness}", markup=False)
    options = options_of(cls)
    out.print("Options:" if options else "Options: none", markup=False)
    for option, (kind, default) in options.items():
        out.print(f"    {option}: {kind} = {default}", markup=False)


def summary(cls: type[Pass]) -> str:
    """Return the first sentence of a pass class's docstring."""
    return (inspect.getdoc(cls) or "").split("\n", 1)[0]


def missing(cls: type[Pass]) -> str:
    """Return ``not installed: pip install ...`` for a bridge whose tool is absent."""
    hint = getattr(cls, "missing", None)
    return str(hint()) if hint else ""


def page_of(cls: type[Pass]) -> str:
    """Return the page of a pass: the docstring of its module."""
    module = inspect.getmodule(cls)
    return inspect.cleandoc((module.__doc__ if module else None) or cls.__doc__ or "")


def options_of(cls: type[Pass]) -> dict[str, tuple[str, str]]:
    """Return type and default of each option, as text."""
    import dataclasses

    if not dataclasses.is_dataclass(cls):
        return {}
    return {
        field.name: (_type_text(field.type), repr(field.default))
        for field in dataclasses.fields(cls)
    }


def _type_text(kind: object) -> str:
    return kind if isinstance(kind, str) else inspect.formatannotation(kind)


def _entry(cls: type[Pass]) -> dict[str, object]:
    return {
        "name": cls.name,
        "purpose": cls.purpose,
        "exactness": cls.exactness,
        "summary": summary(cls),
        "missing": missing(cls) or None,
        "options": {
            name: {"type": kind, "default": default}
            for name, (kind, default) in options_of(cls).items()
        },
    }
