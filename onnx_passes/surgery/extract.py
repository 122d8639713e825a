"""Cut a model at tensors: the nodes between some tensors and others become a model of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.contract import UsageError
from onnx_passes.core.inference import infer, is_invented
from onnx_passes.core.model_io import clone
from onnx_passes.surgery.agreement import Agreement, agree, refuse_defect
from onnx_passes.surgery.look_up import reached, tensor_of, tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import onnx_ir as ir

    from onnx_passes.numerics.feeds import Shapes


def extract(model: ir.Model, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> ir.Model:
    """Return the nodes of the main graph between two sets of tensors as a model.

    Args:
        model: Never changed.
        inputs: Tensors that become graph inputs; by default the graph inputs that are needed.
        outputs: Tensors that become graph outputs; by default those of the graph.

    Raises:
        UsageError: For an unknown tensor, with the nearest name; where an output needs an input
            that is not given, or none needs one that is; where a type is not known.
        CheckError: If the piece is no valid model although the whole is one.
    """
    import onnx_ir as ir

    whole = clone(model)
    values = tensors(whole)
    sources = list(dict.fromkeys(inputs))
    targets = list(dict.fromkeys(outputs)) or [value.name or "" for value in whole.graph.outputs]
    for name in (*sources, *targets):
        value = tensor_of(values, name)
        if refusal := _why_not_cut(value, is_output=name in targets, both=name in sources):
            msg = f"cannot cut at {name!r}: {refusal}"
            raise UsageError(msg)
    sources = _needed(whole, sources, targets)
    _declare(whole, [values[name] for name in (*sources, *targets)])
    graph = ir.convenience.extract(whole.graph, sources, targets)
    piece = ir.Model(
        graph,
        ir_version=whole.ir_version,
        producer_name=whole.producer_name,
        producer_version=whole.producer_version,
        domain=whole.domain,
        functions=list(whole.functions.values()),
        metadata_props=dict(whole.metadata_props),
    )
    piece.opset_imports.update(whole.opset_imports)
    refuse_defect(piece, model)
    return piece


def check_extracted(
    model: ir.Model,
    piece: ir.Model,
    feeds: Mapping[str, Any] | None = None,
    shapes: Shapes | None = None,
) -> Agreement:
    """Feed the piece with the tensors of the whole model and compare what it makes of them.

    Args:
        model: The whole model.
        piece: What :func:`extract` made of it.
        feeds: Arrays for the inputs of the whole model; None generates several sets.
        shapes: Sizes by input name for generated feeds.

    Raises:
        UsageError: If the whole model does not run on these feeds.
        ModelError: If a model does not run at all.
    """
    from onnx_passes.numerics.feeds import graph_inputs
    from onnx_passes.numerics.oracle import Oracle
    from onnx_passes.numerics.watch import expose

    fed = [value.name or "" for value in graph_inputs(piece)]
    made = {value.name for node in model.graph for value in node.outputs}
    names = [*fed, *(value.name or "" for value in piece.graph.outputs)]
    oracle = Oracle(expose(model, [name for name in names if name in made]), feeds, shapes)
    known = [{**one, **answer} for one, answer in zip(oracle.feeds, oracle.expected, strict=True)]
    runner = oracle.runner.again(piece)
    actual = [runner.run({name: arrays[name] for name in fed}) for arrays in known]
    return agree(known, actual, oracle)


def _why_not_cut(value: ir.Value, *, is_output: bool, both: bool) -> str | None:
    """Return why ``value`` cannot be a boundary of a piece, or None if it can."""
    if is_output and both:
        return "it is to be input and output at once"
    if value.is_initializer() and not value.is_graph_input():
        return "it is a constant; cut behind the node that reads it"
    if is_output and value.producer() is None:
        return "it is an input of the graph, so no node would make it"
    return None


def _needed(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Return the inputs of the piece: the given ones, or the graph inputs that outputs need.

    Raises:
        UsageError: If an input is missing, or nothing needs it.
    """
    from onnx_passes.numerics.feeds import graph_inputs

    found = reached(model, set(inputs), outputs)
    graph_names = [value.name or "" for value in graph_inputs(model)]
    if not inputs:
        return [name for name in graph_names if name in found]
    for name in inputs:
        if name not in found:
            msg = f"no output needs input {name!r}; leave it out, or cut elsewhere"
            raise UsageError(msg)
    for name in graph_names:
        if name in found and name not in inputs:
            msg = f"the outputs need graph input {name!r} too; add it to the inputs"
            raise UsageError(msg)
    return list(inputs)


def _declare(model: ir.Model, boundary: Sequence[ir.Value]) -> None:
    """Give each value of the boundary the type and shape that graph inputs and outputs need.

    Raises:
        UsageError: If the type of one is not known.
    """
    import onnx_ir as ir

    if all(value.type is not None and value.shape is not None for value in boundary):
        return
    inferred = infer(model)
    for value in boundary:
        known = inferred.get(value, value)
        value.type = value.type or known.type
        if value.shape is None and known.shape is not None:
            value.shape = ir.Shape(None if is_invented(dim) else dim for dim in known.shape)
        if value.type is None:
            msg = (
                f"the type of {value.name!r} is not known, and onnx cannot infer it; cut elsewhere"
            )
            raise UsageError(msg)
