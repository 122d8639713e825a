"""Write ``README.md``, the table of contents of the passes, from their pages.

Usage::

    python -m onnx_passes.passes            write it
    python -m onnx_passes.passes --check    exit with 1 if it is stale, write nothing
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from onnx_passes.core import registry

if TYPE_CHECKING:
    from onnx_passes.core.contract import Pass

README = Path(__file__).with_name("README.md")
_COMMAND = "python -m onnx_passes.passes"
_HEADER = f"""\
# Passes

One pass, one file; the docstring of the file is its page, and `onnx-passes explain PASS` prints
it. This table is generated from the pages: `{_COMMAND}` writes it.

*exact*: float32 outputs stay bit-equal. *close*: only rounding changes, within the bound on the
page. *inexact*: values change on purpose.
"""


def main(arguments: list[str]) -> int:
    """Write the table or, with ``--check``, say whether it is stale; return the exit code."""
    if arguments not in ([], ["--check"]):
        _say(f"usage: {_COMMAND} [--check]")
        return 2
    text = render(_ours())
    if not arguments:
        README.write_text(text, encoding="utf-8")
        return 0
    if README.is_file() and README.read_text(encoding="utf-8") == text:
        return 0
    _say(f"{README.name} is stale; {_COMMAND} writes it anew")
    return 1


def render(passes: list[type[Pass]]) -> str:
    """Return the table of contents: a section per purpose, a row per pass."""
    ordered = sorted(passes, key=lambda cls: (cls.purpose, cls.name))
    sections = [
        f"## {purpose.capitalize()}\n\n"
        "| pass | what it does | numerics | options |\n|---|---|---|---|\n"
        + "".join(_row(cls) for cls in group)
        for purpose, group in groupby(ordered, key=lambda cls: cls.purpose)
    ]
    return "\n".join([_HEADER, *sections])


def _ours() -> list[type[Pass]]:
    """Return the passes of this package: what a user has installed besides is not ours."""
    return [cls for cls in registry.passes() if cls.__module__.startswith("onnx_passes.")]


def _row(cls: type[Pass]) -> str:
    file = Path(inspect.getfile(cls))
    link = file.name if file.parent == README.parent else f"../{file.parent.name}/{file.name}"
    cells = (f"[{cls.name}]({link})", _summary(cls), cls.exactness, _options(cls))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |\n"


def _summary(cls: type[Pass]) -> str:
    """Return the first sentence of the page, without the name of the pass."""
    page = inspect.getdoc(sys.modules[cls.__module__]) or ""
    text = " ".join(page.partition("\n\n")[0].split()).removeprefix(f"{cls.name}: ")
    return text[:1].upper() + text[1:]


def _options(cls: type[Pass]) -> str:
    if not dataclasses.is_dataclass(cls):
        return ""
    return ", ".join(f"`{field.name}={field.default!r}`" for field in dataclasses.fields(cls))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
