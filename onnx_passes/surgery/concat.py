"""Join two models: outputs of the first become inputs of the second."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from onnx_passes.core.contract import UsageError
from onnx_passes.core.inference import infer
from onnx_passes.core.model_io import clone, opset
from onnx_passes.core.registry import did_you_mean
from onnx_passes.surgery.agreement import Agreement, agree, refuse_defect
from onnx_passes.surgery.names import add_prefix, clash, same_functions
from onnx_passes.surgery.symbols import SymbolClash, unify

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import onnx_ir as ir

    from onnx_passes.numerics.feeds import Shapes
    from onnx_passes.numerics.runner import Arrays


@dataclasses.dataclass(frozen=True)
class Joined:
    """Two models as one.

    Attributes:
        model: The result.
        first: The first model at the common opset, its names prefixed.
        second: The second model, likewise.
        connect: Inputs of ``second`` by name, with the output of ``first`` that each reads.
        lifted: What was done to bring both to one opset; empty if nothing was needed.
    """

    model: ir.Model
    first: ir.Model
    second: ir.Model
    connect: Mapping[str, str]
    lifted: str


def concat(
    first: ir.Model,
    second: ir.Model,
    connect: Mapping[str, str],
    *,
    prefixes: tuple[str, str] = ("", ""),
    check: bool = True,
) -> Joined:
    """Return a model that runs ``first``, then ``second``.

    Its inputs are those of ``first`` and the ones of ``second`` that nothing was connected to; its
    outputs those of ``first`` that were not connected and all of ``second``.

    Args:
        first: Never changed.
        second: Never changed.
        connect: Inputs of ``second`` by name, with the output of ``first`` that each reads.
        prefixes: Go before all names of ``first`` and of ``second``, inputs and outputs included.
        check: Whether lifting a model to the other's opset is checked numerically.

    Raises:
        UsageError: For an unknown name, dtypes or shapes that do not fit, a name in both models,
            or opsets that cannot be made one.
        CheckError: If the result is no valid model although both are.
    """
    a, b, lifted = _one_opset(clone(first), clone(second), check=check)
    _refuse_misfits(a, b, connect)
    for model, prefix in ((a, prefixes[0]), (b, prefixes[1])):
        add_prefix(model, prefix)
    if name := clash(a, b):
        msg = f"both models have a tensor or node {name!r}; give a prefix (--prefix-b b/, say)"
        raise UsageError(msg)
    joints = {prefixes[1] + ours: prefixes[0] + theirs for ours, theirs in connect.items()}
    _drop_defaults(b, joints)
    parts = clone(a), clone(b)
    joined = _join(a, b, joints)
    refuse_defect(joined, *parts)
    return Joined(joined, *parts, joints, lifted)


def check_joined(
    joined: Joined, feeds: Mapping[str, Any] | None = None, shapes: Shapes | None = None
) -> Agreement:
    """Compare the joined model with running the first model and then the second.

    Args:
        joined: What :func:`concat` made.
        feeds: Arrays for the inputs of the joined model; None generates several sets.
        shapes: Sizes by input name for generated feeds.

    Raises:
        UsageError: If the joined model does not run on these feeds.
        ModelError: If a model does not run at all.
    """
    from onnx_passes.numerics.oracle import Oracle

    oracle = Oracle(joined.model, feeds, shapes)
    first = oracle.runner.again(joined.first)
    second = oracle.runner.again(joined.second)

    def one_after_the_other(fed: Arrays) -> Arrays:
        made = first.run({name: fed[name] for name in first.input_names if name in fed})
        between = {ours: made[theirs] for ours, theirs in joined.connect.items()}
        rest = {name: fed[name] for name in second.input_names if name in fed}
        return {**made, **second.run({**rest, **between})}

    expected = [one_after_the_other(fed) for fed in oracle.feeds]
    return agree(expected, oracle.expected, oracle)


def _one_opset(a: ir.Model, b: ir.Model, *, check: bool) -> tuple[ir.Model, ir.Model, str]:
    """Return both models at the higher opset of the two, and what was done for that."""
    for domain in sorted(set(a.opset_imports) & set(b.opset_imports) - {""}):
        if opset(a, domain) != opset(b, domain):
            versions = f"{opset(a, domain)} and {opset(b, domain)}"
            msg = f"the models import versions {versions} of domain {domain!r}; export them alike"
            raise UsageError(msg)
    low, high = sorted((opset(a), opset(b)))
    if low == high or not low:
        return a, b, ""
    if opset(a) == low:
        a, what = _lift(a, high, "first", check=check)
    else:
        b, what = _lift(b, high, "second", check=check)
    return a, b, what


def _lift(model: ir.Model, target: int, which: str, *, check: bool) -> tuple[ir.Model, str]:
    from onnx_passes.core.manager import Settings, run_passes
    from onnx_passes.core.options import make

    source = opset(model)
    item = make("set-opset", {"version": target})
    outcome = run_passes(model, (item,), Settings(check=check))
    (step,) = outcome.steps
    if opset(outcome.model) != target or (check and not outcome.ok):
        notes = (f"{note.node}: {note.text}" for note in step.skipped)
        why = step.reason or next(notes, "it changed nothing")
        msg = (
            f"the {which} model is opset {source}, the other {target}, and set-opset cannot lift "
            f"it ({why}); export both at one opset"
        )
        raise UsageError(msg)
    exact = "not checked" if not check else "bit-equal" if step.bit_equal else f"{step.max_abs:.3g}"
    return outcome.model, f"the {which} model went from opset {source} to {target} ({exact})"


def _refuse_misfits(a: ir.Model, b: ir.Model, connect: Mapping[str, str]) -> None:
    """Refuse names that do not exist, and what does not fit in dtype or shape."""
    if not connect:
        msg = "nothing is connected; give --connect OUTPUT_OF_A=INPUT_OF_B"
        raise UsageError(msg)
    outputs = {value.name: value for value in a.graph.outputs}
    inputs = {value.name: value for value in b.graph.inputs}
    inferred = infer(a)
    for ours, theirs in connect.items():
        for name, known, what in ((theirs, outputs, "first"), (ours, inputs, "second")):
            if name not in known:
                kind = "output" if what == "first" else "input"
                msg = f"the {what} model has no {kind} {name!r}{did_you_mean(name, known)}"
                raise UsageError(msg)
        source, target = outputs[theirs], inputs[ours]
        made = inferred.get(source, source)
        dtype, shape = source.dtype or made.dtype, source.shape or made.shape
        if misfit := _why_not_fit(dtype, shape, target):
            msg = f"output {theirs!r} does not fit input {ours!r}: {misfit}"
            raise UsageError(msg)


def _why_not_fit(dtype: ir.DataType | None, shape: ir.Shape | None, target: ir.Value) -> str | None:
    if dtype is None or dtype != target.dtype:
        names = [kind.name.lower() if kind else "of unknown type" for kind in (dtype, target.dtype)]
        return f"it is {names[0]}, the input {names[1]}"
    if shape is None or target.shape is None:
        return None
    pairs = list(zip(shape, target.shape, strict=False))
    fixed = (pair for pair in pairs if isinstance(pair[0], int) and isinstance(pair[1], int))
    if shape.rank() != target.shape.rank() or any(one != other for one, other in fixed):
        return f"it is {shape}, the input {target.shape}"
    return None


def _drop_defaults(model: ir.Model, joints: Mapping[str, str]) -> None:
    """Drop the default values of inputs that are connected: they are never used."""
    for value in model.graph.inputs:
        name = value.name or ""
        if name in joints and model.graph.initializers.pop(name, None) is not None:
            value.const_value = None


def _join(a: ir.Model, b: ir.Model, joints: Mapping[str, str]) -> ir.Model:
    """Move everything of ``b`` into ``a``."""
    outputs = {value.name or "": value for value in a.graph.outputs}
    inputs = {value.name or "": value for value in b.graph.inputs}
    pairs = [(outputs[theirs], inputs[ours]) for ours, theirs in joints.items()]
    try:
        unify(a, b, pairs)
    except SymbolClash as error:
        raise UsageError(str(error)) from error
    ends = list(b.graph.outputs)
    b.graph.outputs.clear()
    for source, target in pairs:
        b.graph.inputs.remove(target)
        target.replace_all_uses_with(source)
        ends = [source if value is target else value for value in ends]
    used = {id(source) for source, _ in pairs}
    _move(b.graph, a.graph)
    kept = [value for value in a.graph.outputs if id(value) not in used]
    a.graph.outputs.clear()
    a.graph.outputs.extend([*kept, *ends])
    a.functions.update(same_functions(a, b))
    a.ir_version = max(a.ir_version, b.ir_version)
    for domain, version in b.opset_imports.items():
        a.opset_imports.setdefault(domain, version)
    a.metadata_props.update({**b.metadata_props, **a.metadata_props})
    return a


def _move(source: ir.Graph, target: ir.Graph) -> None:
    """Move nodes, initializers and inputs from one graph to the end of another."""
    inputs, constants = list(source.inputs), list(source.initializers.values())
    nodes = list(source)
    source.inputs.clear()
    source.initializers.clear()
    source.remove(nodes)
    target.inputs.extend(inputs)
    for value in constants:
        target.register_initializer(value)
    target.extend(nodes)
