"""A run as one JSON document: what ``--json`` prints, and ``report.json``, which holds more.

A run::

    verdict                   passed, failed, crashed, not checkable, not checked or unchanged
    ok                        whether everything in the written model was checked and passed
    stopped_by                number of the step that ended the run, or null
    feeds                     how to repeat the feeds; empty if nothing was checked
    oracle                    what computed the expected outputs; empty if nothing did
    before.nodes              nodes of the original, sub-graphs and functions included
    before.bytes              size of its initializers
    before.operators.*        nodes by operator
    after                     as before, of the rewritten model
    steps[].number            position in the run, from 1
    steps[].pass              the pass with its options, as in a pass list
    steps[].name              the pass
    steps[].exactness         exact, close or inexact
    steps[].verdict           as above
    steps[].reason            one sentence, empty for passed and unchanged
    steps[].kept              whether the next step starts from this one's model
    steps[].seconds           wall time of the pass
    steps[].check_seconds     wall time of its checks
    steps[].nodes_before      nodes, then bytes and nodes by operator, before and after the step
    steps[].nodes_after
    steps[].bytes_before
    steps[].bytes_after
    steps[].operators_before.*
    steps[].operators_after.*
    steps[].rewritten[].node  what the pass changed: operator and first output of the node
    steps[].rewritten[].text  what it did
    steps[].skipped           as rewritten: what it left alone, and why
    steps[].outputs[].output  the check of one graph output: its name
    steps[].outputs[].verdict passed, failed or not checkable
    steps[].outputs[].reason  one sentence, empty for passed
    steps[].outputs[].tolerance    greatest difference allowed; 0 asks for equal bits
    steps[].outputs[].formula      the same in words and numbers
    steps[].outputs[].sensitivity  what other feeds do to this output
    steps[].outputs[].original     a difference: to the original model, worst set of feeds
    steps[].outputs[].previous     a difference: to the model before this step

A difference (see :class:`onnx_passes.numerics.compare.Difference`)::

    difference.problem        why nothing could be compared, or empty
    difference.same_bits      whether all bits agree
    difference.max_abs        greatest absolute difference
    difference.max_rel        greatest difference relative to the element
    difference.max_ulp        greatest distance in representable numbers
    difference.mismatches     elements that differ
    difference.size           elements compared
    difference.worst_index[]  where max_abs is
    difference.expected       the expected value there
    difference.actual         the actual value there
    difference.cosine         of the angle between the two arrays
    difference.snr_db         signal to difference, in dB
    difference.argmax_agreement  share of rows with the same argmax

What ``report.json`` adds::

    schema_version            1; another number when a key goes or changes its meaning
    created                   when, UTC, ISO 8601
    model                     the model as it was named
    command                   the command line, or empty
    packages.*                version by distribution
    machine.system            operating system and release
    machine.architecture      x86_64, say
    machine.processors        their number
    machine.python            version and implementation
    comparison.problem        why the two models were not compared, or empty
    comparison.feeds          what both were fed
    comparison.tensors[].name       a tensor that both models make
    comparison.tensors[].position   its place in the original's topological order
    comparison.tensors[].node       operator and first output of the node that makes it
    comparison.tensors[].peak       greatest finite magnitude in the original
    comparison.tensors[].allowed    what rounding alone explains, or null
    comparison.tensors[].diverges   whether the difference is greater than that
    comparison.tensors[].difference   a difference
    comparison.histograms[].output    a graph output
    comparison.histograms[].size      number of elements
    comparison.histograms[].equal     elements without a difference
    comparison.histograms[].infinite  elements NaN or infinite on one side only
    comparison.histograms[].edges[]   bounds of the bins of the finite differences
    comparison.histograms[].counts[]  elements by bin
    comparison.pictures[].tensor    a tensor shown as pictures in report.html
    comparison.pictures[].node      operator and first output of the node that makes it
    comparison.pictures[].input     the graph input beside it
    comparison.pictures[].shape[]   N C H W
    comparison.pictures[].low       value drawn black
    comparison.pictures[].high      value drawn white
    comparison.pictures[].largest   difference drawn white

Numbers that are not finite are written as the strings "inf", "-inf" and "nan".
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_passes.core.outcome import Measure, Outcome, Step
    from onnx_passes.numerics.check import OutputCheck
    from onnx_passes.numerics.tensors import TensorDifference
    from onnx_passes.report.comparison import Comparison
    from onnx_passes.report.pictures import Pictures


def to_document(outcome: Outcome) -> dict[str, Any]:
    """Return a run as plain dictionaries, lists, strings and finite numbers."""
    document: dict[str, Any] = finite(
        {
            "verdict": outcome.verdict,
            "ok": outcome.ok,
            "stopped_by": outcome.stopped_by.number if outcome.stopped_by else None,
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


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return what the plots of a report show, without the pictures' pixels."""
    document: dict[str, Any] = finite(
        {
            "problem": comparison.problem,
            "feeds": comparison.feeds,
            "tensors": [tensor_document(tensor) for tensor in comparison.tensors],
            "histograms": [dataclasses.asdict(histogram) for histogram in comparison.histograms],
            "pictures": [_pictures(pictures) for pictures in comparison.pictures],
        }
    )
    return document


def tensor_document(tensor: TensorDifference) -> dict[str, Any]:
    """Return the difference of one tensor that two models make."""
    return {
        "name": tensor.name,
        "position": tensor.position,
        "node": tensor.node,
        "peak": tensor.peak,
        "allowed": None if tensor.allowed is None else tensor.allowed.atol,
        "diverges": tensor.diverges,
        "difference": dataclasses.asdict(tensor.difference),
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
        "operators_before": _sorted(step.before.operators),
        "operators_after": _sorted(step.after.operators),
        "rewritten": [dataclasses.asdict(note) for note in step.rewritten],
        "skipped": [dataclasses.asdict(note) for note in step.skipped],
        "outputs": [output_document(check) for check in step.outputs],
    }


def _measure(measure: Measure) -> dict[str, Any]:
    return {
        "nodes": measure.nodes,
        "bytes": measure.bytes,
        "operators": _sorted(measure.operators),
    }


def _pictures(pictures: Pictures) -> dict[str, Any]:
    fields = dataclasses.asdict(pictures)
    del fields["rows"]
    return fields


def _sorted(operators: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(operators.items()))
