"""SARIF 2.1.0: the properties that the standard requires, checked without its schema."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath
from typing import Any

from ascend.lint.finding import CODES, MODEL, Finding, Subject
from ascend.lint.sarif import to_sarif

FINDINGS = [
    Finding(
        "GS001", "error", Subject("GridSample -> 'y'", "GridSample", "gs"), "why", "src", "fix"
    ),
    Finding("SH001", "warning", Subject("input 'x'", "input"), "why", "src", "", "advice"),
    Finding("CV001", "info", MODEL, "why", "src"),
]


def log() -> dict[str, Any]:
    path = PurePosixPath("my models/net #1.onnx")
    document: dict[str, Any] = json.loads(json.dumps(to_sarif(FINDINGS, path, "1.2.3")))
    return document


def test_the_log_has_what_the_standard_requires() -> None:
    document = log()
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-2.1.0.json")
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("onnx-passes lint", "1.2.3")
    rules = [rule["id"] for rule in driver["rules"]]
    assert rules == list(CODES)
    assert all(rule["shortDescription"]["text"] for rule in driver["rules"])
    assert len(run["results"]) == len(FINDINGS)
    for result in run["results"]:
        assert result["message"]["text"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert rules[result["ruleIndex"]] == result["ruleId"]
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9%._/-]+", uri)


def test_levels_places_and_help() -> None:
    results = log()["runs"][0]["results"]
    assert [result["level"] for result in results] == ["error", "warning", "note"]
    places = [result["locations"][0]["logicalLocations"][0] for result in results]
    assert [place["name"] for place in places] == ["gs", "input 'x'", "model"]
    assert places[0]["fullyQualifiedName"] == "GridSample -> 'y'"
    texts = [result["message"]["text"] for result in results]
    assert texts[0] == "GridSample -> 'y': why (what helps: pass fix)"
    assert texts[1] == "input 'x': why (what helps: advice)"
    assert texts[2] == "model: why"
