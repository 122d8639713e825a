"""The mark that a checked model carries in its metadata, and how it is found to be stale.

``onnx_passes.checked`` is left in a model whose numbers were compared and agreed. It holds a digest
of the content that was compared, so that any later edit that could change a result is found out,
and the digest of what it was compared with. ``onnx_passes.unchecked`` is left instead where a
change could not be checked or was not, with the reason; it is inherited by all that is made from
such a model. A model with neither mark is an original that nothing has looked at.

The mark is a record, no signature: it finds mistakes, not forgeries.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from onnx_passes.core.content import FORM, ContentDigest
from onnx_passes.core.model_io import clone
from onnx_passes.core.versions import installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from onnx_passes.core.outcome import Outcome

CHECKED_KEY = "onnx_passes.checked"
UNCHECKED_KEY = "onnx_passes.unchecked"
_DISTRIBUTION = "ascend-onnx-passes"
_GOOD = ("passed", "unchanged")
_MAX_REASON = 300  # characters of a reason that are kept


def unmarked(model: ir.Model) -> ir.Model:
    """Return a copy without marks, for passes to change."""
    copy = clone(model)
    _clear(copy)
    return copy


def mark_checked(model: ir.Model, sources: Sequence[ir.Model], verdict: str = "passed") -> None:
    """Note in ``model`` that its numbers agree with those of ``sources``.

    If a source was made by an unchecked change, that is noted instead.
    """
    if inherited := _inherited(sources):
        mark_unchecked(model, inherited)
        return
    digest = ContentDigest()
    record = {
        "content": digest(model),
        "compared_with": [digest(source) for source in sources],
        "verdict": verdict,
        "version": installed([_DISTRIBUTION]).get(_DISTRIBUTION, ""),
    }
    _clear(model)
    model.metadata_props[CHECKED_KEY] = json.dumps(record)


def mark_unchecked(model: ir.Model, reason: str) -> None:
    """Note in ``model`` that nobody knows whether its numbers are right, and why."""
    _clear(model)
    model.metadata_props[UNCHECKED_KEY] = " ".join(reason.split())[:_MAX_REASON]


def mark_original(model: ir.Model, sources: Sequence[ir.Model]) -> None:
    """Note that the numbers of ``model`` were meant to change: it is an original of its own."""
    inherited = _inherited(sources)
    _clear(model)
    if inherited:
        mark_unchecked(model, inherited)


def mark_outcome(outcome: Outcome, original: ir.Model, *, compared: bool) -> None:
    """Leave in the outcome's model the mark that the run has earned.

    Args:
        outcome: What a run on ``unmarked(original)`` gave.
        original: With its marks.
        compared: Whether the run was to compare numbers.
    """
    if outcome.verdict == "unchanged" and (not compared or not why_unverified(original)):
        marks = {key: original.metadata_props.get(key) for key in (CHECKED_KEY, UNCHECKED_KEY)}
        outcome.model.metadata_props.update({key: text for key, text in marks.items() if text})
    elif outcome.ok:
        mark_checked(outcome.model, [original], outcome.verdict)
    else:
        blamed = next(step for step in outcome.steps if step.verdict == outcome.verdict)
        reason = f"{blamed.text}: {blamed.verdict}: {blamed.reason}"
        mark_unchecked(outcome.model, _inherited([original]) or reason)


def why_unverified(model: ir.Model) -> str:
    """Return why the numbers of ``model`` are not known to be right, or an empty string."""
    if reason := model.metadata_props.get(UNCHECKED_KEY):
        return f"a change to it was not checked ({reason[:_MAX_REASON]})"
    text = model.metadata_props.get(CHECKED_KEY)
    if text is None:
        return "no numeric check has left its mark in it"
    content, problem = _read(text)
    if not problem and content != ContentDigest()(model):
        problem = "it was changed after its numeric check"
    return problem


def _read(text: str) -> tuple[str, str]:
    """Return the digest that a mark holds, and why it counts for nothing or an empty string."""
    try:
        content, verdict = (str(json.loads(text)[key]) for key in ("content", "verdict"))
    except (ValueError, TypeError, KeyError, RecursionError):
        return "", f"its mark {CHECKED_KEY!r} cannot be read"
    if not content.startswith(f"{FORM}:"):
        return "", "its mark was left by another version of onnx-passes, which made other digests"
    if verdict not in _GOOD:
        return "", f"its check ended with {verdict!r}"
    return content, ""


def _clear(model: ir.Model) -> None:
    model.metadata_props.pop(CHECKED_KEY, None)
    model.metadata_props.pop(UNCHECKED_KEY, None)


def _inherited(sources: Sequence[ir.Model]) -> str:
    reasons = (source.metadata_props.get(UNCHECKED_KEY) for source in sources)
    return next((reason for reason in reasons if reason), "")
