"""The verdict on one version of a model: output by output, with the numbers behind it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

from onnx_passes.core.contract import ModelError
from onnx_passes.numerics.compare import Difference, compare, peak
from onnx_passes.numerics.tolerance import (
    DEAD_SPACINGS,
    MAX_NOISE_SHARE,
    Tolerance,
    epsilon,
    tolerance,
)

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnx_passes.core.contract import Exactness
    from onnx_passes.numerics.oracle import Oracle
    from onnx_passes.numerics.runner import Arrays

Verdict = Literal["passed", "failed", "not checkable"]
# An exact pass is compared bit for bit, so no noise enters; this stands for "not measured".
NO_NOISE = 0.0


@dataclasses.dataclass(frozen=True)
class OutputCheck:
    """One output of the rewritten model.

    Attributes:
        output: Its name.
        verdict: What the numbers say.
        reason: One sentence, empty when passed.
        original: Against the original model, the worst set of feeds.
        previous: Against the model before this pass, the worst set of feeds.
        tolerance: What was allowed.
        sensitivity: What other feeds do to this output (greatest absolute change).
    """

    output: str
    verdict: Verdict
    reason: str
    original: Difference
    previous: Difference
    tolerance: Tolerance
    sensitivity: float


@dataclasses.dataclass(frozen=True)
class ModelCheck:
    """All outputs of one version of a model.

    Attributes:
        verdict: The worst of the outputs': failed, then not checkable, then passed.
        reason: One sentence, empty when passed.
        outputs: One check per graph output.
        actual: The version's outputs, one set per set of feeds: the next step's "previous".
    """

    verdict: Verdict
    reason: str
    outputs: tuple[OutputCheck, ...]
    actual: list[Arrays]


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a pass promises.

    Attributes:
        own: The pass's own exactness, which holds against the model before it.
        total: The weakest exactness since the original, this pass included; None once a failed
            change was kept: then later passes answer for their own change only.
    """

    own: Exactness
    total: Exactness | None


def check_model(
    model: ir.Model, oracle: Oracle, previous: list[Arrays] | None, claim: Claim
) -> ModelCheck:
    """Run ``model`` on the oracle's feeds and judge every output.

    Args:
        model: The rewritten version.
        oracle: The original and its feeds.
        previous: Outputs of the version before, one set per set of feeds; None means the original.
        claim: What the passes promise. In a model with float16 an exact pass is held to the
            tolerance of a close one, see :attr:`Oracle.computes_in_half`.
    """
    try:
        expected = oracle.expected
    except ModelError as error:
        return ModelCheck("not checkable", f"the original cannot be run: {error}", (), [])
    try:
        runner = oracle.runner.again(model)
        actual = [runner.run(feeds) for feeds in oracle.feeds]
    except ModelError as error:
        return ModelCheck("failed", f"the rewritten model does not run: {error}", (), [])
    names = oracle.runner.output_names
    if lacking := [name for name in names if name not in actual[0]]:
        return ModelCheck("failed", f"output {lacking[0]!r} is gone", (), [])
    try:
        checks = tuple(
            _check_output(name, oracle, previous or expected, actual, claim) for name in names
        )
        return _summary(checks, oracle, actual)
    except ModelError as error:
        reason = f"the original does not run on changed feeds: {error}"
        return ModelCheck("not checkable", reason, (), actual)


def _check_output(
    name: str, oracle: Oracle, previous: list[Arrays], actual: list[Arrays], claim: Claim
) -> OutputCheck:
    sensitivity = oracle.sensitivity[name]
    versus_original = _worst(name, oracle.expected, actual)
    versus_previous = _worst(name, previous, actual)
    own = _allowed(name, oracle, claim.own)
    allowed = own if claim.total is None else _allowed(name, oracle, claim.total)
    verdict, reason = _judge("the model before it", versus_previous, own)
    if verdict == "passed" and claim.total is not None:
        verdict, reason = _judge("the original", versus_original, allowed)
    if verdict == "passed" and (vacuous := _vacuous(name, oracle, allowed)):
        verdict, reason = "not checkable", vacuous
    return OutputCheck(
        name, verdict, reason, versus_original, versus_previous, allowed, sensitivity
    )


def _allowed(name: str, oracle: Oracle, exactness: Exactness) -> Tolerance:
    if exactness == "exact" and oracle.computes_in_half:
        exactness = "close"
    return tolerance(
        exactness,
        dtype=oracle.expected[0][name].dtype,
        peak=max(peak(outputs[name]) for outputs in oracle.expected),
        noise=oracle.noise[name] if exactness == "close" else NO_NOISE,
        sensitivity=oracle.sensitivity[name],
    )


def _judge(against: str, difference: Difference, allowed: Tolerance) -> tuple[Verdict, str]:
    within = difference.same_bits or (allowed.atol > 0 and difference.max_abs <= allowed.atol)
    if difference.problem or not within:
        return "failed", f"against {against}: {difference.sentence()}; allowed: {allowed.formula}"
    return "passed", ""


def _vacuous(name: str, oracle: Oracle, allowed: Tolerance) -> str:
    """Return why agreement on this output proves nothing, or an empty string."""
    sensitivity = oracle.sensitivity[name]
    array = oracle.expected[0][name]
    floor = DEAD_SPACINGS * epsilon(array.dtype) * peak(array)
    if math.isinf(allowed.atol):
        return "unbounded: nudged constants or other feeds make or remove NaN, or change its shape"
    if sensitivity <= floor:
        return f"dead: other feeds move it by {sensitivity:.3g}, rounding by up to {floor:.3g}"
    if allowed.atol > MAX_NOISE_SHARE * sensitivity:
        return f"drowned: the tolerance {allowed.atol:.3g} nears its movement {sensitivity:.3g}"
    return ""


def _worst(name: str, before: list[Arrays], after: list[Arrays]) -> Difference:
    """Return the gravest difference of one output over the sets of feeds."""
    pairs = zip(before, after, strict=True)
    differences = [compare(old[name], new[name]) for old, new in pairs]
    return max(differences, key=lambda d: (bool(d.problem), d.max_abs, not d.same_bits))


def _summary(checks: tuple[OutputCheck, ...], oracle: Oracle, actual: list[Arrays]) -> ModelCheck:
    if not checks:
        return ModelCheck("not checkable", "the model has no outputs", checks, actual)
    for verdict in ("failed", "not checkable"):
        for check in checks:
            if check.verdict == verdict:
                return ModelCheck(
                    verdict, f"output {check.output!r} {check.reason}", checks, actual
                )
    if oracle.deaf_inputs:
        reason = f"no output depends on input {oracle.deaf_inputs[0]!r}"
        return ModelCheck("not checkable", reason, checks, actual)
    return ModelCheck("passed", "", checks, actual)
