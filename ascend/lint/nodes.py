"""What ATC does with each node: verdicts of ``op_support`` as findings with codes and passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ascend.lint.finding import MODEL, Finding, Subject
from ascend.lint.opset import best_opset
from ascend.op_support.node_query import NodeQueries
from ascend.op_support.table import DEFAULT_DOMAINS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from ascend.lint.finding import Level
    from ascend.op_support.query import Answer, Operator, Verdict, Why
    from ascend.op_support.table import OpSupport

_LEVELS: dict[Answer, Level] = {
    "refused": "error",
    "unknown": "warning",
    "AI CPU": "warning",
    "parsed": "info",
    "AI Core": "info",
}
_REFUSED: dict[Why, str] = {
    "not listed": "OP001",
    "opset": "OP002",
    "sub-graph": "SG001",
    "domain": "CD001",
    "attribute": "OP008",
    "no kernel": "OP005",
}
_PARSED: dict[Why, str] = {"shape unknown": "OP007", "type unknown": "OP007"}
_GRID_SAMPLE: dict[Why, str] = {"not listed": "GS001", "opset": "GS002"}
# How the passes for the device take an operator apart; rows of Gather stay on the AI Core.
_TAKE_APART = {
    "GridSample": "decompose-grid-sample{form=rows,target=ascend310p}",
    "AffineGrid": "decompose-affine-grid",
    "Einsum": "decompose-einsum",
    "IsNaN": "decompose-is-nan",
    "Loop": "unroll-loop",
}
_NARROWED = {"float64": "drop-double", "int64": "narrow-int64"}
_GRID_SAMPLE_UNTIL = 18  # the newest opset under which it is registered
_INLINE = "inline it: onnx.inliner.inline_local_functions"
_PLUGIN = "export the model without it, or give ATC a plugin that registers it"
_SPELLINGS = {"linear": "bilinear", "cubic": "bicubic"}
_VERBATIM = "GridSample plugin of the public ONNX parser: attributes are copied verbatim (source)"


def node_findings(model: ir.Model, support: OpSupport, *, keep_float32: bool) -> Iterator[Finding]:
    """Yield what is to be said of the opset, and of each node of the graph and its sub-graphs."""
    nodes = list(model.graph.all_nodes())
    opset = next((model.opset_imports[d] for d in DEFAULT_DOMAINS if d in model.opset_imports), 0)
    kinds = {node.op_type for node in nodes if node.domain in DEFAULT_DOMAINS}
    best = best_opset(kinds, support.known, opset)
    set_opset = f"set-opset{{version={best}}}" if best not in {None, opset} else ""
    claim = support.known.opset(opset)
    if claim is not None and not claim.holds and kinds:
        level: Level = "error" if claim.holds is False else "warning"
        source = f"{claim.source.text} ({claim.source.certainty})"
        yield Finding("ON001", level, MODEL, claim.reason, source, set_opset)
    queries = NodeQueries(model.opset_imports, keep_float32=keep_float32)
    for node in nodes:
        operator = queries.operator(node)
        verdict = support.verdict(operator)
        if (node.domain, node.op_type, node.overload) in model.functions:
            yield _call(node, verdict)
        elif verdict.why != "opset range":  # said once, of the model
            yield from _of_node(node, operator, verdict, set_opset)


def _of_node(
    node: ir.Node, operator: Operator, verdict: Verdict, set_opset: str
) -> Iterator[Finding]:
    if operator.op_type == "GridSample" and operator.domain in DEFAULT_DOMAINS:
        yield from _grid_sample(node, operator, verdict, set_opset)
    elif verdict.answer != "AI Core" and verdict.why != "kernel" and node.op_type != "Constant":
        fix = _fix(operator, verdict, set_opset)
        advice = _PLUGIN if verdict.why == "domain" else ""
        yield _finding(_code(verdict), node, verdict, fix, advice)


def _code(verdict: Verdict) -> str:
    if verdict.answer == "refused":
        return _REFUSED[verdict.why]
    if verdict.answer == "unknown":
        return "OP008" if verdict.why == "attribute" else "OP003"
    return "OP004" if verdict.answer == "AI CPU" else _PARSED.get(verdict.why, "OP006")


def _fix(operator: Operator, verdict: Verdict, set_opset: str) -> str:
    """Return the pass that cures it, or nothing."""
    if verdict.why == "opset":
        return set_opset
    if verdict.why == "domain":
        return ""
    if verdict.answer == "parsed":
        return "fold-shapes" if verdict.why == "shape unknown" else ""
    if operator.op_type == "Pad" and operator.attributes.get("mode") == "reflect":
        return "decompose-reflect-pad"
    apart = _TAKE_APART.get(operator.op_type, "")
    if apart or verdict.why not in {"dtype", "no kernel"}:
        return apart
    return next((_NARROWED[each] for each in _dtypes(operator) if each in _NARROWED), "")


def _dtypes(operator: Operator) -> Iterator[str]:
    return (each.dtype for each in operator.inputs if each is not None and each.dtype)


def _grid_sample(
    node: ir.Node, operator: Operator, verdict: Verdict, set_opset: str
) -> Iterator[Finding]:
    """Yield what is special: two attributes read verbatim, and an engine that is not fast."""
    apart = _TAKE_APART["GridSample"]
    missing = [key for key in ("mode", "padding_mode") if key not in operator.attributes]
    mode = operator.attributes.get("mode")
    # No rule takes GridSample below opset 16, or up from there; from 19 on there is a way down.
    downwards = set_opset if operator.opset > _GRID_SAMPLE_UNTIL else ""
    if verdict.answer in {"refused", "unknown"}:
        fix = apart if verdict.why == "not listed" else downwards or apart
        code = _GRID_SAMPLE.get(verdict.why) if verdict.answer == "refused" else None
        yield _finding(code or _code(verdict), node, verdict, fix)
    elif missing:
        why = f"no {' and no '.join(missing)}: the parser reads empty text, not the default"
        advice = "write the attributes down"
        yield Finding("GS003", "warning", Subject.of(node), why, _VERBATIM, apart, advice)
    elif mode in _SPELLINGS:
        why = f"mode {mode!r} is unknown to the parser; it reads {_SPELLINGS[mode]!r}"
        yield Finding("GS004", "error", Subject.of(node), why, _VERBATIM, downwards or apart)
    else:
        codes = {"AI CPU": "GS005", "AI Core": "GS006"}
        fix = apart if verdict.answer == "AI CPU" else ""
        yield _finding(codes.get(verdict.answer, _code(verdict)), node, verdict, fix)


def _call(node: ir.Node, verdict: Verdict) -> Finding:
    return _finding("FN001", node, verdict, "", _INLINE)


def _finding(code: str, node: ir.Node, verdict: Verdict, fix: str, advice: str = "") -> Finding:
    source = f"{verdict.source} ({verdict.certainty})"
    level = _LEVELS[verdict.answer]
    return Finding(code, level, Subject.of(node), verdict.reason, source, fix, advice)
