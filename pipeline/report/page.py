"""A flow as one web page that needs nothing but itself: no script, no request, no font.

Every figure says whether it comes from a device.
"""

from __future__ import annotations

import html
import importlib.resources
from typing import TYPE_CHECKING, Any

from onnx_passes.report.markup import Html, element, join, name, visible
from onnx_passes.report.page import POLICY
from pipeline.report.accuracy import accuracy
from pipeline.report.figures import compiled, throughput
from pipeline.report.passes import (
    export_section,
    lint_section,
    passes_section,
    verify_section,
)
from pipeline.report.table import badge, table

if TYPE_CHECKING:
    from collections.abc import Mapping

_STYLES = {"done": "good", "left out": "plain", "not done": "open", "out of date": "bad"}
_MORE_CSS = """
th.group { text-align: center; border-bottom: 0; padding-bottom: 0; }
svg .ours { stroke: var(--series); fill: none; stroke-width: 2; }
svg .theirs { stroke: var(--rounding); fill: var(--paper); stroke-width: 1.5; }
"""


def to_page(document: Mapping[str, Any]) -> str:
    """Return the page of a document, see :mod:`pipeline.report.document`."""
    title = document["recipe"]["title"] or document["recipe"]["name"]
    body = element(
        "body",
        element("h1", title),
        element("p", f"recipe {document['recipe']['name']}, written {document['created']}"),
        _banner(document),
        *accuracy(document),
        *throughput(document),
        *export_section(document["export"]),
        *passes_section(document["passes"]),
        *verify_section(document["verify"]),
        *lint_section(document["lint"]),
        *compiled(document["compile"]),
        *_stages(document["stages"]),
        element("h2", "Where, with what"),
        _facts(document),
    )
    return f"<!doctype html>\n{element('html', _head(title), body, lang='en')}\n"


def _head(title: str) -> Html:
    style = importlib.resources.files("onnx_passes.report").joinpath("page.css")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{title}: onnx-passes flow"),
        element("style", Html(style.read_text("utf-8") + _MORE_CSS)),
    )


def _banner(document: Mapping[str, Any]) -> Html:
    """Say first of all whether a device was used."""
    if document["backend"] == "ascend":
        heading, style = "Compiled by ATC and run by ais_bench", "good"
        text = f"The device: {document['hardware']}. The original ran with onnxruntime."
    elif document["from_device"]:
        heading, style = "Run on an Ascend device by onnxruntime", "good"
        text = f"The device: {document['hardware']}. The original ran on the CPU."
    else:
        heading, style = "No Ascend device was used", "open"
        text = (
            "Accuracy and times are onnxruntime's, on the machine named below. On a device the "
            "model computes in float16, which changes the numbers."
        )
    return element("div", element("strong", heading), element("p", text), class_=f"banner {style}")


def _stages(stages: list[dict[str, Any]]) -> list[Html]:
    rows = []
    for stage in stages:
        lines = [element("div", _whole(line)) for line in stage["commands"]]
        what = join(element("strong", stage["name"]), element("div", stage["about"], class_="dim"))
        status = join(badge(stage["status"], _STYLES[stage["status"]]), " ", stage["reason"])
        seconds = "" if stage["seconds"] is None else f"{stage['seconds']:.1f}"
        rows.append((what, status, seconds, join(*lines)))
    return [
        element("h2", "Stages"),
        element("p", "Each line does what its stage did."),
        table(("stage", "", "seconds", "the same by hand"), rows, numbers={2}),
    ]


def _whole(text: str) -> Html:
    """Return code that is not cut: a command that is cut cannot be pasted."""
    return element("code", Html(html.escape(visible(text, len(text)))))


def _facts(document: Mapping[str, Any]) -> Html:
    machine, data = document["machine"], document["data"]
    told = "none"
    if data:
        sets = ", ".join(f"{set_name} {count}" for set_name, count in data["records"].items())
        kind = "rendered words" if data["rendered"] else data["path"]
        bad = sum(data["bad"].values())
        told = f"{kind}: {sets}; {data['usable']} usable, {bad} bad"
    facts = {
        "hardware": document["hardware"],
        "machine": f"{machine['system']}, {machine['architecture']}, {machine['processors']} "
        f"processors, Python {machine['python']}",
        "data": told,
        **{f"SHA-256 of {what}": name(found) for what, found in document["digests"].items()},
        "models": ", ".join(document["models"].values()),
        "packages": ", ".join(f"{what} {number}" for what, number in document["versions"].items()),
    }
    pairs = (join(element("dt", key), element("dd", value)) for key, value in facts.items())
    return element("dl", *pairs)
