"""Right or refused: what a pass must keep of a model, measured without the project's own checker.

The numbers come from a plain onnxruntime session of the untouched model, its sizes are tried beside
the ones it was drawn with, and integrity is asked of ``onnx.checker``.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from onnx_passes.core.contract import Note, PassResult, ToolError
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.passlist import Repeat
from onnx_passes.core.skeleton import skeleton

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_passes.core.contract import Pass
    from onnx_passes.core.passlist import Item
    from tests.onnx_passes.graphs import Array
    from tests.onnx_passes.graphs_case import Feeds

MAX_ROUNDS = 20
# Numbers are small integers and sums are short: 2^-23 * 2^7 of the largest tensor on the way.
CLOSE = 2.0**-16
INEXACT = 2.0**-8
# Where float64 goes beyond this, float32 may be infinite.
LARGEST = 1e30
Signature = list[tuple[str, int, list[int | str | None]]]


class Reference:
    """The untouched model and what it answers, computed once for all passes.

    Args:
        model: The model.
        feeds: Sets of inputs; those that the model refuses are left out.
    """

    def __init__(self, model: onnx.ModelProto, feeds: Sequence[Feeds]) -> None:
        self.proto = model
        self.text = serialised(_reloaded(serialised(ir.from_proto(model))))
        session = open_session(model)
        self.names = [output.name for output in session.get_outputs()]
        self.answers: list[tuple[Feeds, Feeds]] = []
        for given in feeds:
            try:
                answer = run_session(session, given)
                if not all(isinstance(array, np.ndarray) for array in answer.values()):
                    continue  # sequences are not compared
                if self.answers and not self._is_honest(given):
                    continue
                self.answers.append((given, answer))
            except Exception:
                continue

    def model(self) -> ir.Model:
        return _reloaded(self.text)

    @functools.cached_property
    def probe(self) -> ort.InferenceSession:
        """A session of the model that gives all that its nodes make."""
        probe = onnx.ModelProto()
        probe.CopyFrom(self.proto)
        known = {output.name for output in probe.graph.output}
        made = [name for node in probe.graph.node for name in node.output if name not in known]
        probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name)
        return open_session(probe)

    @functools.cached_property
    def is_sound(self) -> bool:
        """Whether onnx finds no fault with the shapes of the untouched model."""
        try:
            onnx.checker.check_model(self.proto, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            return False
        return True

    def _is_honest(self, feeds: Feeds) -> bool:
        """Return whether all shapes that the model records hold: onnx infers wrong ones too."""
        made = {**feeds, **run_session(self.probe, feeds)}
        infos = [
            (info.name, info) for info in (*self.proto.graph.value_info, *self.proto.graph.output)
        ]
        for node in self.proto.graph.node:  # what a body is given first, it says the shape of
            for body in (item.g for item in node.attribute if node.op_type == "Loop"):
                infos += zip(node.input[2:], body.input[2:], strict=True)
        return all(
            _holds(info.type.tensor_type.shape, made[name])
            for name, info in infos
            if name in made and info.type.tensor_type.HasField("shape")
        )

    @functools.cached_property
    def peak(self) -> float:
        """The largest finite number on the way, tame feeds only."""
        arrays = [*self.answers[0][0].values()]
        arrays += [onnx.numpy_helper.to_array(t) for t in self.proto.graph.initializer]
        for feeds, _ in self.answers:
            if is_tame(feeds):
                arrays += run_session(self.probe, feeds).values()
        return max((_peak(array) for array in arrays), default=0.0)


def _holds(shape: onnx.TensorShapeProto, array: Array) -> bool:
    """Return whether an array has the shape that is recorded."""
    return len(shape.dim) == array.ndim and all(
        dim.dim_value == size or not dim.HasField("dim_value")
        for dim, size in zip(shape.dim, array.shape, strict=True)
    )


def _reloaded(text: bytes) -> ir.Model:
    return ir.from_proto(onnx.ModelProto.FromString(text))


def open_session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_session(session: ort.InferenceSession, feeds: Feeds) -> Feeds:
    names = [output.name for output in session.get_outputs()]
    wanted = {item.name for item in session.get_inputs()}
    wanted |= {item.name for item in session.get_overridable_initializers()}
    given = {name: array for name, array in feeds.items() if name in wanted}
    return dict(zip(names, session.run(names, given), strict=True))


def is_tame(feeds: Feeds) -> bool:
    """Return whether there is no NaN, no infinity and no huge number among the feeds."""
    floats = [array for array in feeds.values() if array.dtype.kind == "f"]
    return all(bool((np.abs(array.astype(np.float64)) < LARGEST).all()) for array in floats)


def judge(item: Pass, reference: Reference) -> PassResult:
    """Run a pass alone and fail unless all it must keep is kept; return its notes."""
    model = reference.model()
    result = _run(item, model)
    after = serialised(model)
    if after == reference.text:
        assert not result.rewritten, f"nothing changed, but: {result.rewritten}"
        return result
    assert result.rewritten, "the model changed without a note, or was left half edited"
    if item.name != "onnxsim":  # another tool's fixed point is not ours to promise
        for twin in (model, _reloaded(after)):
            before = serialised(twin)
            second = item.run(twin)
            assert second.rewritten == [], "a second run rewrites again"
            assert serialised(twin) == before, "a second run changes something"
    judge_model(after, reference, [item])
    return result


def _run(item: Pass, model: ir.Model) -> PassResult:
    """Run a pass; that a foreign tool gives up on a model is a refusal, and must leave it whole.

    A node that reads what was replaced does not show in a file, where only the name counts.
    """
    before = serialised(model) if item.isolated else b""
    try:
        result = item.run(model)
    except ToolError as error:
        assert serialised(model) == before, "the tool failed and left the model half edited"
        return PassResult(skipped=[Note("model", str(error))])
    skeleton(model)
    return result


def judge_list(items: Sequence[Item], reference: Reference) -> list[Pass]:
    """Run a pass list without checks in between; judge what comes out; return what fired.

    A run of the manager that compares no numbers must come to the same model, byte by byte.
    """
    model = reference.model()
    fired: list[Pass] = []
    for item in items:
        for _ in range(MAX_ROUNDS):
            before = serialised(model)
            for part in item.items if isinstance(item, Repeat) else [item]:
                assert not isinstance(part, Repeat)
                fired += [part] if _run(part, model).rewritten else []
            if not isinstance(item, Repeat) or serialised(model) == before:
                break
        else:
            pytest.fail("the repeated group does not end")
    after = serialised(model)
    if after != reference.text:
        judge_model(after, reference, fired)
    settings = Settings(check=False, again=reference.model)
    outcome = run_passes(reference.model(), items, settings)
    assert outcome.stopped_by is None
    assert serialised(outcome.model) == after
    return fired


def judge_model(after: bytes, reference: Reference, items: Sequence[Pass]) -> None:
    """Fail unless a rewritten model is valid, has the same interface and the same numbers."""
    proto = onnx.ModelProto.FromString(after)
    onnx.checker.check_model(proto, full_check=reference.is_sound)
    _judge_interface(reference.proto, proto, {item.name for item in items})
    weakest = max((_RANK[item.exactness] for item in items), default=0)
    narrows = any(item.narrows_inputs for item in items)
    if any(item.name == "splice-grid-sample" for item in items):
        return  # it puts another operator there on purpose
    session = open_session(proto)
    for feeds, expected in reference.answers:
        if weakest and not is_tame(feeds):
            continue
        if narrows and not _fits(session, feeds):
            continue
        actual = run_session(session, feeds)
        for name in reference.names:
            _judge_array(name, expected[name], actual[name], weakest, reference)


_RANK = {"exact": 0, "close": 1, "inexact": 2}


def _fits(session: ort.InferenceSession, feeds: Feeds) -> bool:
    return all(
        not isinstance(dim, int) or dim == size
        for item in session.get_inputs()
        for dim, size in zip(item.shape, feeds[item.name].shape, strict=True)
    )


def _judge_array(
    name: str, expected: Array, actual: Array, weakest: int, reference: Reference
) -> None:
    assert expected.dtype == actual.dtype, f"{name}: {actual.dtype} instead of {expected.dtype}"
    assert expected.shape == actual.shape, f"{name}: {actual.shape} instead of {expected.shape}"
    if same(expected, actual):
        return
    shown = f"{name}: {actual.tolist()} instead of {expected.tolist()}"
    assert weakest > 0, f"bits differ: {shown}"
    assert expected.dtype.kind == "f", f"no rounding here: {shown}"
    with np.errstate(all="ignore"):
        gap = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
        gap = np.where((expected == actual) | (np.isnan(expected) & np.isnan(actual)), 0, gap)
        if weakest > 1:
            gap = np.where(np.abs(expected) < LARGEST, gap, 0)
    allowed = (CLOSE if weakest == 1 else INEXACT) * max(1.0, reference.peak)
    worst = float(np.max(gap)) if gap.size else 0.0
    assert worst <= allowed, f"off by {worst:.3g}, allowed {allowed:.3g}: {shown}"


def same(a: Array, b: Array) -> bool:
    """Return whether all bits agree; any NaN equals any NaN."""
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    equal = (a == b) & (np.signbit(a) == np.signbit(b))
    return bool((equal | (np.isnan(a) & np.isnan(b))).all())


def _peak(array: Any) -> float:  # noqa: ANN401  sequences too
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or not array.size:
        return 0.0
    wide = np.abs(array.astype(np.float64))
    return float(wide[np.isfinite(wide)].max(initial=0.0))


def _judge_interface(old: onnx.ModelProto, new: onnx.ModelProto, passes: set[str]) -> None:
    renames, narrows = "tie-batch" in passes, "pin-shape" in passes
    for kind in ("input", "output"):
        before, after = _signature(old, kind), _signature(new, kind)
        assert [row[:2] for row in before] == [row[:2] for row in after], f"graph {kind}s"
        inferring = not passes.isdisjoint({"infer-shapes", "fold-shapes"})
        learns = kind == "output" and (inferring or narrows or renames)
        for (name, _, was), (_, _, now) in zip(before, after, strict=True):
            assert len(was) == len(now), f"{kind} {name}: {now} instead of {was}"
            for dim, other in zip(was, now, strict=True):
                kept = dim == other or (dim is None and learns)
                kept |= narrows and not isinstance(dim, int)
                kept |= renames and not isinstance(dim, int) and not isinstance(other, int)
                assert kept, f"{kind} {name}: {now} instead of {was}"


def _signature(model: onnx.ModelProto, kind: str) -> Signature:
    rows: Signature = []
    for value in getattr(model.graph, kind):
        tensor = value.type.tensor_type
        dims = [_dim(dim) for dim in tensor.shape.dim]
        rows.append((value.name, tensor.elem_type, dims))
    return rows


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None


def serialised(model: ir.Model) -> bytes:
    """Return all that is saved of a model, the same for equal models."""
    return bytes(ir.to_proto(model).SerializeToString(deterministic=True))


@dataclasses.dataclass
class Tally:
    """How often a pass fired and refused over a run: a test where it never does proves nothing."""

    examples: int = 0
    fired: int = 0
    refused: int = 0

    def add(self, result: PassResult) -> None:
        self.examples += 1
        self.fired += bool(result.rewritten)
        self.refused += bool(result.skipped)
