"""Records without a usable picture or label: said one by one, counted, and refused if asked for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from pipeline.cli.console import out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eval.manifest import Record

MAX_ROWS = 20  # in the terminal; --json and the manifest have all

strict_option = click.option(
    "--strict", is_flag=True, help="Exit with 1 if any record is bad; the results are there then."
)


def show_bad(records: Iterable[Record]) -> None:
    """Print the reason of each bad record, up to a number of lines, and how many there are."""
    records = list(records)
    bad = [record for record in records if record.reason is not None]
    for record in bad[:MAX_ROWS]:
        where = f"{record.dataset}, record {record.record}"
        label = "" if record.label is None else f", label {record.label!r}"
        out.print(f"bad: {where}{label}: {record.reason}", markup=False, soft_wrap=True)
    if len(bad) > MAX_ROWS:
        out.print(f"{len(bad) - MAX_ROWS} more bad records; --json and the manifest have all")
    if bad:
        out.print(summary(bad, len(records)), markup=False, soft_wrap=True)


def summary(bad: list[Record], count: int) -> str:
    """Return how many of ``count`` records are bad, by reason."""
    reasons = Counter(record.reason for record in bad)
    told = ", ".join(f"{reason}: {number}" for reason, number in reasons.most_common())
    return f"{len(bad)} of {count} records are bad ({told})"


def refuse_bad(records: Iterable[Record], *, strict: bool) -> None:
    """End with 1 if a record is bad and the user is strict.

    Raises:
        BadRecordsError: Then.
    """
    from eval.errors import BadRecordsError

    records = list(records)
    bad = [record for record in records if record.reason is not None]
    if strict and bad:
        msg = f"{summary(bad, len(records))}; leave --strict out to accept that"
        raise BadRecordsError(msg)
