"""A run as one JSON document.

Schema::

    verdict      passed | failed | crashed | not checkable | not checked | unchanged
    ok           true when everything in the written model was checked and passed
    feeds        how to repeat the feeds; oracle: what computed the expected outputs
    before/after nodes, bytes of initializers, nodes by operator
    steps[]      number, pass, name, exactness, verdict, reason, kept, seconds, check_seconds,
                 nodes_before, nodes_after, bytes_before, bytes_after, rewritten[], skipped[],
                 outputs[]
    rewritten[]  and skipped[]: node, text
    outputs[]    output, verdict, reason, tolerance, formula, sensitivity, original{}, previous{}
    original{}   and previous{}: the fields of onnx_passes.numerics.compare.Difference

Numbers that are not finite are written as the strings "inf", "-inf" and "nan".
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx_passes.core.outcome import Measure, Outcome, Step
    from onnx_passes.numerics.check import OutputCheck


def to_document(outcome: Outcome) -> dict[str, Any]:
    """Return a run as plain dictionaries, lists, strings and finite numbers."""
    document: dict[str, Any] = finite(
        {
            "verdict": outcome.verdict,
            "ok": outcome.ok,
            "feeds": outcome.feeds,
            "oracle": outcome.oracle,
            "before": _measure(outcome.before),
            "after": _measure(outcome.after),
            "steps": [_step(step) for step in outcome.steps],
        }
    )
    return document


def output_document(check: OutputCheck) -> dict[str, Any]:
    """Return the check of one output."""
    return {
        "output": check.output,
        "verdict": check.verdict,
        "reason": check.reason,
        "tolerance": check.tolerance.atol,
        "formula": check.tolerance.formula,
        "sensitivity": check.sensitivity,
        "original": dataclasses.asdict(check.original),
        "previous": dataclasses.asdict(check.previous),
    }


def finite(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Return ``value`` with infinities and NaN as strings: JSON has no word for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _step(step: Step) -> dict[str, Any]:
    return {
        "number": step.number,
        "pass": step.text,
        "name": step.name,
        "exactness": step.exactness,
        "verdict": step.verdict,
        "reason": step.reason,
        "kept": step.kept,
        "seconds": step.seconds,
        "check_seconds": step.check_seconds,
        "nodes_before": step.before.nodes,
        "nodes_after": step.after.nodes,
        "bytes_before": step.before.bytes,
        "bytes_after": step.after.bytes,
        "rewritten": [dataclasses.asdict(note) for note in step.rewritten],
        "skipped": [dataclasses.asdict(note) for note in step.skipped],
        "outputs": [output_document(check) for check in step.outputs],
    }


def _measure(measure: Measure) -> dict[str, Any]:
    return {
        "nodes": measure.nodes,
        "bytes": measure.bytes,
        "operators": dict(sorted(measure.operators.items())),
    }
