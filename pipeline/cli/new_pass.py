"""``onnx-passes new-pass``: a pass, its test and its pyproject, all three working."""

from __future__ import annotations

import re
from pathlib import Path

import click

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z][a-z0-9]*)+")
_SUMMARY = "Drop pairs of Neg. (Replace this by what your pass does.)"


@click.command("new-pass")
@click.argument("name", metavar="NAME")
@click.option("--into", required=True, metavar="DIR", help="Folder to write to; made if missing.")
def command(name: str, into: str) -> None:
    """Write a new pass with its test and its pyproject, ready to install.

    \b
    Example:
      onnx-passes new-pass drop-double-neg --into my-pass
      cd my-pass && pip install -e . && pytest

    Exit codes: 0 written; 2 the name is taken or not verb-noun, or files are in the way.
    """
    from pipeline.cli.console import out

    _refuse_name(name)
    folder = Path(into)
    texts = files(name)
    _refuse_files(folder, texts)
    for target, text in texts.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        out.print(str(path), markup=False, soft_wrap=True)
    out.print(f"\nNext: cd {into} && pip install -e . && pytest", markup=False, soft_wrap=True)


def files(name: str) -> dict[str, str]:
    """Return the text of each file of a new pass, by its path."""
    from importlib.resources import files as resources

    module = name.replace("-", "_")
    words = {
        "name": name,
        "module": module,
        "class": "".join(word.capitalize() for word in name.split("-")),
        "summary": _SUMMARY,
    }
    targets = {
        "pass.py.txt": f"{module}.py",
        "test.py.txt": f"tests/test_{module}.py",
        "pyproject.toml.txt": "pyproject.toml",
    }
    folder = resources("pipeline.templates")
    return {
        target: re.sub(
            r"\{\{(\w+)\}\}", lambda match: words[match[1]], (folder / source).read_text("utf-8")
        )
        for source, target in targets.items()
    }


def _refuse_name(name: str) -> None:
    from onnx_passes.core.contract import UsageError
    from onnx_passes.core.registry import passes

    if not _NAME.fullmatch(name):
        msg = f"{name!r} is no name for a pass; expected verb-noun, as in 'drop-double-neg'"
        raise UsageError(msg)
    taken = {cls.name: cls.__module__ for cls in passes()}
    if name in taken:
        msg = f"pass {name!r} exists, in {taken[name]}; choose another name"
        raise UsageError(msg)


def _refuse_files(folder: Path, texts: dict[str, str]) -> None:
    from onnx_passes.core.contract import UsageError

    there = [target for target in texts if (folder / target).exists()]
    if there or (folder.exists() and not folder.is_dir()):
        what = f"{', '.join(there)} exist in {folder}" if there else f"{folder} is no folder"
        msg = f"nothing was written: {what}; give a new folder"
        raise UsageError(msg)
