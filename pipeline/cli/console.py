"""The terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterator

# What goes into a file or a pipe has no width of its own; the default of 80 cuts tables.
PIPE_COLUMNS = 100
out = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
err = Console(stderr=True, highlight=False, emoji=False)


def emit_json(document: object) -> None:
    """Print ``document`` as JSON on stdout, without colours or wrapping."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=_plain) + "\n")


_BLINK_S = 0.05


class Meter:
    """What a long loop reports to; the bar is the terminal's business."""

    def __init__(self, bar: Any, task: Any) -> None:  # noqa: ANN401  rich is imported late
        """Wrap a task of a ``rich.progress.Progress``."""
        self._bar = bar
        self._task = task
        self._shown = 0.0

    def describe(self, description: str) -> None:
        """Start another part under a new description."""
        self._bar.reset(self._task, total=None, description=description)

    def update(self, done: int, total: int | None = None) -> None:
        """Show that ``done`` of ``total`` items are finished; not more often than one can see."""
        now = time.monotonic()
        if done != total and now - self._shown < _BLINK_S:
            return
        self._shown = now
        self._bar.update(self._task, completed=done, total=total)


@contextlib.contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Meter]:
    """Show a progress bar on stderr while the block runs; gone when it ends."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items a second, so far."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        yield Meter(bar, bar.add_task(description, total=total))


def _plain(value: Any) -> Any:  # noqa: ANN401  whatever json cannot encode
    """Encode numpy scalars, arrays and paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
