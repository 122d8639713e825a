"""A page of pictures that two models read differently, in one file that needs nothing else."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING, Any

from eval.errors import import_extra
from eval.images import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from eval.images import Pixels
    from eval.lmdb_data import RawSample
    from eval.paired import Change, Comparison

MAX_PICTURES = 500  # a page of more is slow to open; it says how many are left out
_HEIGHT = 48  # pixels on the page
_WIDEST = 480
_ORDER = {"lost": 0, "gained": 1, "other": 2}
_WORDS = {"lost": "only the first is right", "gained": "only the second is right", "other": ""}
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #1c1c1c; background: #fff; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(17em, 1fr)); gap: 1em; }
figure { margin: 0; padding: .7em; border: 1px solid #ccc; border-left: 5px solid #999; }
figure.lost { border-left-color: #b3261e; }
figure.gained { border-left-color: #1b6e3c; }
img { height: 48px; max-width: 100%; object-fit: contain; background: #eee; }
dl { display: grid; grid-template-columns: 5em 1fr; margin: .5em 0 0; }
dd { margin: 0; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
dt, small { color: #555; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #161616; } figure { border-color: #444; }
  dt, small { color: #aaa; } img { background: #333; }
}
"""


def contact_sheet(
    comparison: Comparison, samples: Iterable[RawSample], names: tuple[str, str]
) -> str:
    """Return the page as HTML.

    Args:
        comparison: What changed.
        samples: The records of the data, from which the pictures are taken; read once.
        names: What the two models are called.
    """
    shown = sorted(comparison.changes, key=lambda change: _ORDER[change.verdict])[:MAX_PICTURES]
    wanted = {change.record.index for change in shown}
    pictures = {s.index: _picture(s.image) for s in samples if s.index in wanted}
    first, second = (html.escape(name) for name in names)
    left_out = len(comparison.changes) - len(shown)
    more = f" The first {len(shown)} are shown." if left_out else ""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{first} and {second}: texts that differ</title>
<meta name="viewport" content="width=device-width">
<style>{_STYLE}</style>
<h1>{first} and {second}</h1>
<p>{summary(comparison)}{more}</p>
<main>
{"".join(_figure(change, pictures) for change in shown)}</main>
</html>
"""


def summary(comparison: Comparison) -> str:
    """Return the figures in two sentences."""
    gained, lost = comparison.count("gained"), comparison.count("lost")
    return (
        f"{len(comparison.changes)} of {comparison.records} texts differ; {lost} were right only "
        f"before, {gained} only after. Accuracy changes by {100 * comparison.difference:+.2f} "
        f"points, 95 % interval {100 * comparison.low:+.2f} to {100 * comparison.high:+.2f}; "
        f"McNemar's exact test: p = {comparison.p_value:.3g}."
    )


def _figure(change: Change, pictures: Mapping[int, str]) -> str:
    record = change.record
    rows = (("label", record.label or ""), ("first", change.before), ("second", change.after))
    cells = "".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in rows)
    place = html.escape(f"{record.dataset} {record.record}")
    return (
        f'<figure class="{change.verdict}"><img alt="{html.escape(record.label or "")}" '
        f'src="{pictures.get(record.index, "")}"><dl>{cells}</dl>'
        f"<small>{place}. {_WORDS[change.verdict]}</small></figure>\n"
    )


def _picture(encoded: bytes | None) -> str:
    """Return a picture as the network gets to see it, upright, as the address of a PNG."""
    pixels = decode(encoded) if encoded else None
    return "" if pixels is None else _address(pixels)


def _address(pixels: Pixels) -> str:
    cv2: Any = import_extra("cv2")
    height, width = pixels.shape[:2]
    scale = min(
        1.0, 2 * _HEIGHT / height, _WIDEST / width
    )  # never enlarged; sharp on dense screens
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, png = cv2.imencode(".png", pixels)
    return f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
