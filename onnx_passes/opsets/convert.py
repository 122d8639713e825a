"""Take a whole model from opset to opset, one step after the other."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

from onnx_passes.core.contract import Note, label
from onnx_passes.core.names import Names
from onnx_passes.core.values import all_nodes
from onnx_passes.grid_sample.known import complete_inputs
from onnx_passes.opsets import forms, inputs
from onnx_passes.opsets.site import Refusal, Site
from onnx_passes.opsets.types import spread
from onnx_passes.opsets.widened import WIDENED, fit, is_step, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_ir as ir

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
    "GridSample": "; run decompose-grid-sample first",
}


@dataclasses.dataclass
class Conversion:
    """What was done, by operator, and what has no form in the other opset."""

    rewritten: Counter[str] = dataclasses.field(default_factory=Counter)
    refused: list[Note] = dataclasses.field(default_factory=list)


def convert(model: ir.Model, version: int) -> Conversion:
    """Write ``model`` for opset ``version``; with a refusal the model is left half converted."""
    done = Conversion()
    roots = [model.graph, *(function.graph for function in model.functions.values())]
    crossing = [node for root in roots for node in _crossing(root, version)]
    complete_inputs(model, crossing)
    for root in roots:
        spread(root, root.opset_imports.get("", version))
    names = Names(model)
    for root in roots:
        if "" in root.opset_imports:
            _convert(root, version, names, done)
            root.opset_imports[""] = version
    return done


def _crossing(root: ir.Graph, version: int) -> Iterator[ir.Node]:
    source = root.opset_imports.get("", version)
    steps = range(min(source, version) + 1, max(source, version) + 1)
    for node in all_nodes(root):
        if node.domain == "" and any(is_step(node.op_type, step) for step in steps):
            yield node


def _convert(root: ir.Graph, version: int, names: Names, done: Conversion) -> None:
    source = root.opset_imports[""]
    down = version < source
    refused: set[ir.Node] = set()
    for step in range(source, version, -1) if down else range(source + 1, version + 1):
        for node in list(all_nodes(root)):
            if node.domain or node in refused or not is_step(node.op_type, step):
                continue
            name, op_type = label(node), node.op_type
            try:
                changed = _cross(node, step, names, down=down)
            except Refusal as refusal:
                refused.add(node)
                done.refused.append(Note(name, str(refusal)))
                continue
            done.rewritten[op_type] += changed


def _cross(node: ir.Node, step: int, names: Names, *, down: bool) -> bool:
    """Write ``node`` for the far side of ``step``; return whether it changed."""
    opset = step - 1 if down else step
    rule = RULES.get((node.op_type, step), (None, None))[0 if down else 1]
    if rule is None and schema(node.op_type, opset) is None:
        msg = f"opset {opset} has no {node.op_type}{_ADVICE.get(node.op_type, '')}"
        raise Refusal(msg)
    if rule is None and (node.op_type, step) not in WIDENED:
        msg = f"opset {step} changed {node.op_type}, and there is no rule for it"
        raise Refusal(msg)
    before = _says(node) if rule is not None or node.attributes.data else None
    if rule is not None:
        _apply(rule, node, names, opset)
    if down:
        if node.graph is not None:
            fit(node, opset)
    elif node.version is not None:
        node.version = opset
    return before is not None and (node.graph is None or _says(node) != before)


def _says(node: ir.Node) -> tuple[tuple[ir.Value | None, ...], dict[str, ir.Attr]]:
    return tuple(node.inputs), dict(node.attributes)


def _apply(rule: Rule, node: ir.Node, names: Names, opset: int) -> None:
    """Run a rule, and refuse what it wrote where ``opset`` does not take its types."""
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        msg = "the caller of the function sets an attribute of it"
        raise Refusal(msg)
    site = Site(node, names, opset)
    rule(site)
    if node.graph is not None:
        site.insert()
        return
    for new in site.emit.nodes:
        fit(new, opset)
