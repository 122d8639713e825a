"""Take a whole model from opset to opset: each node across all steps, rehearsed on a copy first."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core.contract import Note, label
from onnx_passes.core.known_inputs import complete_inputs, forget
from onnx_passes.core.names import Names
from onnx_passes.core.values import all_nodes
from onnx_passes.opsets import forms, inputs
from onnx_passes.opsets.rehearsal import particulars, understudy
from onnx_passes.opsets.site import Refusal, Site
from onnx_passes.opsets.types import spread
from onnx_passes.opsets.widened import (
    WIDENED,
    fit,
    is_step,
    likeness,
    schema,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from onnx_passes.opsets.widened import Likeness

    Rule = Callable[[Site], None]

OLDEST, NEWEST = 11, 20

_REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
    *("ReduceMin", "ReduceProd", "ReduceSumSquare"),
)
_SOFT = ("Softmax", "LogSoftmax", "Hardmax")


def _keep(_: Site) -> None:
    """Leave a node as it is: what an old model can say means the same in the new opset."""


# operator, step -> the rule down (from the step to the opset before it) and the rule up.
RULES: dict[tuple[str, int], tuple[Rule | None, Rule | None]] = {
    ("Constant", 12): (forms.constant_tensor, _keep),
    ("Dropout", 12): (inputs.dropout_to_attribute, inputs.dropout_to_input),
    ("GreaterOrEqual", 12): (forms.or_equal, None),
    ("LessOrEqual", 12): (forms.or_equal, None),
    ("Squeeze", 13): (inputs.axes_to_attribute, inputs.axes_to_input),
    ("Unsqueeze", 13): (inputs.axes_to_attribute, inputs.axes_to_input),
    ("ReduceSum", 13): (inputs.axes_to_attribute, inputs.axes_to_input),
    ("Split", 13): (inputs.split_to_attribute, inputs.split_to_input),
    ("Resize", 13): (inputs.resize_down_13, inputs.resize_mode),
    ("QuantizeLinear", 13): (forms.one_scale, _keep),
    ("DequantizeLinear", 13): (forms.one_scale, _keep),
    **{(kind, 13): (forms.softmax_along_axis, forms.softmax_of_rows) for kind in _SOFT},
    ("BatchNormalization", 14): (forms.inference_mode, forms.inference_mode),
    ("HardSwish", 14): (forms.hard_swish, None),
    ("Reshape", 14): (forms.reshape_without_zero, _keep),
    ("Shape", 15): (inputs.shape_without_range, _keep),
    ("RoiAlign", 16): (forms.roi_align_of_pixels, forms.roi_align_to_pixels),
    ("LayerNormalization", 17): (forms.layer_norm, None),
    **{(kind, 18): (inputs.axes_to_attribute, inputs.axes_to_input) for kind in _REDUCTIONS},
    ("Split", 18): (inputs.split_without_count, inputs.split_with_count),
    ("Pad", 18): (inputs.pad_without_axes, _keep),
    ("Resize", 18): (_keep, _keep),
    ("Pad", 19): (inputs.pad_without_wrap, _keep),
    ("AveragePool", 19): (inputs.average_without_dilations, inputs.average_inside),
    ("Resize", 19): (inputs.resize_mode, _keep),
    ("GridSample", 20): (forms.old_mode_names, forms.new_mode_names),
    ("Gelu", 20): (forms.gelu, None),
}
_ADVICE = {
    "AffineGrid": "; run decompose-affine-grid first",
    "Einsum": "; run decompose-einsum first",
    "GridSample": "; run decompose-grid-sample first",
}


@dataclasses.dataclass
class Conversion:
    """What was done, by operator, and what has no form in the other opset."""

    rewritten: Counter[str] = dataclasses.field(default_factory=Counter)
    refused: list[Note] = dataclasses.field(default_factory=list)


def convert(model: ir.Model, version: int) -> Conversion:
    """Write ``model`` for opset ``version``; with a refusal it stays as it is.

    Nodes are rehearsed on copies first: only where none is refused is the model touched.
    """
    roots = [model.graph, *(function.graph for function in model.functions.values())]
    crossing = {root: list(_crossing(root, version)) for root in roots}
    before = complete_inputs(model, [node for nodes in crossing.values() for node in nodes])
    for root in roots:
        before = {**spread(root, root.opset_imports.get("", version)), **before}
    hard = {root: _hard(nodes, _steps(root, version)) for root, nodes in crossing.items()}
    rehearsal = _rehearse(hard, version)
    if rehearsal.refused:
        forget(before)
        return rehearsal
    done, names = Conversion(), Names(model)
    for root, nodes in hard.items():
        for node in nodes:
            if node.graph is not None:  # no Constant that went with its only reader
                _carry(node, _steps(root, version), names, done)
        if "" in root.opset_imports:
            root.opset_imports[""] = version
    if done.refused:
        msg = f"refused after it was rehearsed: {done.refused[0].node}: {done.refused[0].text}"
        raise RuntimeError(msg)
    return done


def _rehearse(hard: dict[ir.Graph, list[ir.Node]], version: int) -> Conversion:
    """Carry copies of the nodes that may be refused, one of those that are just alike."""
    done = Conversion()
    stage = ir.Graph([], [], nodes=[], name="rehearsal")
    names = Names(ir.Model(stage, ir_version=10))
    good: set[Hashable] = set()
    for root, nodes in hard.items():
        for node in nodes:
            key = (root.opset_imports.get(""), particulars(node))
            if key in good:
                continue
            refused = len(done.refused)
            _carry(understudy(node, stage), _steps(root, version), names, done)
            if key[1] is not None and len(done.refused) == refused:
                good.add(key)
    return done


def _steps(root: ir.Graph, version: int) -> range:
    """Return the opsets whose changes lie on the way, in order."""
    source = root.opset_imports.get("", version)
    return range(source, version, -1) if version < source else range(source + 1, version + 1)


def _crossing(root: ir.Graph, version: int) -> Iterator[ir.Node]:
    """Yield the nodes whose operators changed on the way."""
    steps = _steps(root, version)
    found: dict[str, bool] = {}
    for node in all_nodes(root):
        kind = node.op_type
        if kind not in found:
            found[kind] = any(is_step(kind, step) for step in steps)
        if found[kind] and node.domain == "":
            yield node


def _hard(nodes: list[ir.Node], steps: range) -> list[ir.Node]:
    """Return the nodes of which it is not certain that they cross ``steps`` as they are."""
    plain: dict[Likeness, bool] = {}
    hard = []
    for node in nodes:
        alike = likeness(node)
        if alike is not None and alike not in plain:
            plain[alike] = _is_plain(node, steps)
        if alike is None or not plain[alike]:
            hard.append(node)
    return hard


def _is_plain(node: ir.Node, steps: range) -> bool:
    """Return whether nodes like this one certainly cross ``steps`` as they are; a copy tries."""
    crossed = [step for step in steps if is_step(node.op_type, step)]
    down = steps.step < 0
    if any(_rule(node.op_type, step, down=down) is not None for step in crossed):
        return False
    if any((node.op_type, step) not in WIDENED for step in crossed):
        return False
    if not down:
        return True
    copy = understudy(node, ir.Graph([], [], nodes=[], name="trial"))
    try:
        for step in crossed:
            fit(copy, step - 1)
    except Refusal:
        return False
    return likeness(copy) == likeness(node)  # no attribute was dropped


def _carry(node: ir.Node, steps: range, names: Names, done: Conversion) -> None:
    """Take ``node``, and what is written for it on the way, across ``steps``."""
    name = label(node)
    pending = [(node, steps)]
    try:
        while pending:
            one, ahead = pending.pop()
            for place, step in enumerate(ahead):
                kind = one.op_type
                if one.domain or not is_step(kind, step):
                    continue
                changed, new = _cross(one, step, names, down=ahead.step < 0)
                done.rewritten[kind] += changed
                pending += [(other, ahead[place + 1 :]) for other in new]
                if one.graph is None:
                    break
    except Refusal as refusal:
        done.refused.append(Note(name, str(refusal)))


def _cross(node: ir.Node, step: int, names: Names, *, down: bool) -> tuple[bool, Sequence[ir.Node]]:
    """Write ``node`` for the far side of ``step``; return whether it changed, and new nodes."""
    opset = step - 1 if down else step
    rule = _rule(node.op_type, step, down=down)
    if rule is None and schema(node.op_type, opset) is None:
        msg = f"opset {opset} has no {node.op_type}{_ADVICE.get(node.op_type, '')}"
        raise Refusal(msg)
    if rule is None and (node.op_type, step) not in WIDENED:
        msg = f"opset {step} changed {node.op_type}, and there is no rule for it"
        raise Refusal(msg)
    before = _says(node) if rule is not None or node.attributes.data else None
    new = _apply(rule, node, names, opset) if rule is not None else ()
    if down:
        if node.graph is not None:
            fit(node, opset)
    elif node.version is not None:
        node.version = opset
    return before is not None and (node.graph is None or _says(node) != before), new


def _rule(op_type: str, step: int, *, down: bool) -> Rule | None:
    return RULES.get((op_type, step), (None, None))[0 if down else 1]


def _says(node: ir.Node) -> tuple[tuple[ir.Value | None, ...], dict[str, ir.Attr]]:
    return tuple(node.inputs), dict(node.attributes)


def _apply(rule: Rule, node: ir.Node, names: Names, opset: int) -> list[ir.Node]:
    """Run a rule, refuse what it wrote where ``opset`` does not take its types; return that."""
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        msg = "the caller of the function sets an attribute of it"
        raise Refusal(msg)
    site = Site(node, names, opset)
    rule(site)
    if node.graph is not None:
        site.insert()
    else:
        for new in site.emit.nodes:
            fit(new, opset)
    return site.emit.nodes
