from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnx_passes.core.contract import ModelError
from onnx_passes.core.values import constant
from onnx_passes.numerics.compare import same_bits
from onnx_passes.passes.merge_reshapes import MergeReshapes

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

X = {"x": np.arange(48, dtype=np.float32).reshape(2, 6, 1, 4)}
HEAD = "g (float[N, 6, 1, W] x) => (float y) "
STATIC = "g (float[2, 6, 1, 4] x) => (float y) "


def op(text: str, source: str = "x", target: str = "h") -> str:
    """Return a node: "Reshape 0 -1", "Reshape! 0 2" with allowzero, "Flatten 2", "Squeeze 2"."""
    name, *rest = text.split()
    if name == "Flatten":
        return f"{target} = Flatten <axis = {rest[0]}> ({source}) "
    if not rest and name == "Squeeze":
        return f"{target} = Squeeze({source}) "
    flag = "<allowzero = 1>" if name.endswith("!") else ""
    numbers = f"int64[{len(rest)}] {{{', '.join(rest)}}}"
    body = f"{target}_c = Constant <value = {numbers}> () "
    return f"{body} {target} = {name.strip('!')} {flag} ({source}, {target}_c) "


def chain(*texts: str, head: str = HEAD) -> str:
    """Return a graph of such nodes between x and y, with a Neg on both sides."""
    body = "".join(op(text, f"v{i}", f"v{i + 1}") for i, text in enumerate(texts))
    shape = head[head.index("[") : head.index("]") + 1]
    return f"{head} <float{shape} v0> {{ v0 = Neg(x) {body} y = Abs(v{len(texts)}) }}"


def build(lab: Lab, text: str, feeds: dict[str, np.ndarray[Any, Any]] = X) -> ir.Model:
    """Return the model, with the rank that its outputs turn out to have."""
    model = lab.model(text)
    for value in model.graph.outputs:
        value.shape = None
    results = lab.outputs(model, feeds)
    for value in model.graph.outputs:
        name = value.name or ""
        value.shape = ir.Shape(f"{name}_{axis}" for axis in range(results[name].ndim))
    return model


def targets(model: ir.Model) -> list[list[int] | None]:
    found = [constant(node.inputs[1]) for node in model.graph if node.op_type == "Reshape"]
    return [None if tensor is None else tensor.numpy().tolist() for tensor in found]


def run(lab: Lab, model: ir.Model) -> None:
    """Compare at two sizes of the unknown axes."""
    twin = model.clone()
    lab.exact(MergeReshapes(), model, X)
    if model.graph.inputs[0].shape != ir.Shape((2, 6, 1, 4)):
        lab.exact(MergeReshapes(), twin, {"x": np.ones((1, 6, 1, 5), np.float32)})


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(("Reshape 0 -1", "Reshape -1 3"), [-1, 3], id="a target without 0"),
        pytest.param(("Squeeze 2", "Reshape 0 -1"), [0, -1], id="Squeeze and Reshape"),
        pytest.param(("Reshape 0 6 -1", "Unsqueeze 3"), [0, 6, -1, 1], id="Reshape and Unsqueeze"),
        pytest.param(("Reshape 0 2 3 -1", "Flatten 1"), [0, -1], id="Reshape and Flatten"),
        pytest.param(("Reshape 0 3 1 -1", "Squeeze 2"), [0, 3, -1], id="Reshape and Squeeze"),
        pytest.param(("Unsqueeze 1", "Unsqueeze 5"), None, id="two that move the last extent"),
        pytest.param(("Unsqueeze 4", "Unsqueeze -1"), [0, 6, 1, 0, 1, 1], id="two Unsqueezes"),
        pytest.param(("Reshape 6 -1", "Reshape 0 1 -1"), [6, 1, -1], id="a 0 that is a number"),
    ],
)
def test_rewrites_with_unknown_extents(
    lab: Lab, texts: tuple[str, ...], expected: list[int] | None
) -> None:
    model = build(lab, chain(*texts))
    run(lab, model)
    assert targets(model) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(("Squeeze", "Unsqueeze 0"), [1, 2, 6, 4], id="Squeeze without axes"),
        pytest.param(("Flatten 2", "Unsqueeze -1"), [12, 4, 1], id="Flatten and Unsqueeze"),
        pytest.param(("Unsqueeze 1 -1", "Flatten -2"), [12, 4], id="negative axes"),
        pytest.param(("Reshape 2 3 8", "Reshape 0 0 2 -1"), [2, 3, 2, 4], id="two zeros"),
        pytest.param(("Reshape! 2 3 8", "Reshape! 4 12"), [4, 12], id="allowzero without a 0"),
    ],
)
def test_rewrites_with_known_extents(lab: Lab, texts: tuple[str, ...], expected: list[int]) -> None:
    model = build(lab, chain(*texts, head=STATIC))
    run(lab, model)
    assert targets(model) == [expected]


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(("Squeeze 2", "Unsqueeze 2"), id="Squeeze and Unsqueeze"),
        pytest.param(("Unsqueeze -1", "Squeeze -1"), id="Unsqueeze and Squeeze"),
        pytest.param(("Reshape 0 6 -1", "Reshape 0 6 1 -1"), id="two Reshapes"),
        pytest.param(("Squeeze 2", "Unsqueeze 2", "Flatten 1", "Reshape 0 6 1 -1"), id="four"),
    ],
)
def test_rewrites_to_nothing(lab: Lab, texts: tuple[str, ...]) -> None:
    model = build(lab, chain(*texts))
    run(lab, model)
    assert lab.ops(model) == ["Neg", "Abs"]


def test_rewrites_a_squeeze_to_a_scalar(lab: Lab) -> None:
    model = lab.model(
        "g (float[1, 1] x) => (float y) { " + op("Squeeze 0") + op("Squeeze 0", "h", "y") + "}"
    )
    lab.exact(MergeReshapes(), model)
    assert targets(model) == [[]]


def test_rewrites_a_computed_target_that_takes_zero_literally(lab: Lab) -> None:
    text = f"{HEAD.replace('x)', 'x, int64[2] t)')} {{ {op('Squeeze 2')} "
    feeds = {**X, "t": np.array([4, 12])}
    model = build(lab, text + "y = Reshape <allowzero = 1> (h, t) }", feeds)
    lab.exact(MergeReshapes(), model, feeds)
    assert lab.ops(model) == ["Reshape"]


def test_rewrites_past_one_that_others_read(lab: Lab) -> None:
    head = HEAD.replace("y)", "y, float h)")
    model = build(lab, f"{head} {{ {op('Flatten 1')} {op('Reshape 3 -1', 'h', 'y')} }}")
    run(lab, model)
    assert lab.ops(model) == ["Flatten", "Constant", "Reshape"]
    assert [node.inputs[0] for node in model.graph if node.inputs] == [model.graph.inputs[0]] * 2


def test_rewrites_the_attributes_of_opset_11(lab: Lab) -> None:
    model = lab.model(
        "g (float[2, 3] x) => (float[1, 2, 3, 1] y) "
        "{ h = Unsqueeze <axes = [0]> (x) y = Unsqueeze <axes = [-1]> (h) }",
        opset=11,
    )
    lab.exact(MergeReshapes(), model)
    assert targets(model) == [[1, 2, 3, 1]]


def test_rewrites_in_a_branch_and_in_a_function(lab: Lab) -> None:
    model = lab.model(
        f"""
        g (float[2, 6, 1, 4] x, bool c) => (float[A, B] y) {{
            {op("Squeeze 2")}
            u = f.t(x)
            y = If (c) <
                then_branch = yes () => (float[C, D] p) {{ {op("Flatten 1", "h", "p")} }},
                else_branch = no () => (float[E, F] r) {{ r = Neg(u) }}
            >
        }}
        <domain: "f", opset_import: ["": 16]>
        t (a) => (b) {{ {op("Flatten 1", "a", "c")} {op("Reshape 4 12", "c", "b")} }}
        """,
        domains=', "f": 1',
    )
    for taken in (True, False):
        lab.exact(MergeReshapes(), model, {**X, "c": np.array(taken)})
    assert lab.all_ops(model) == ["t", "If", "Reshape", "Neg"]
    assert [len(list(function)) for function in model.functions.values()] == [2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            f"{HEAD} {{ {op('Squeeze 2')} t = Shape(h) y = Reshape(h, t) }}",
            "the shape of the result does not follow from the shape of the input",
            id="keeps a computed target",
        ),
        pytest.param(
            chain("Unsqueeze 1", "Unsqueeze 1"),
            "-1 cannot be resolved if an axis of unknown extent is empty",
            id="keeps what would need a new -1",
        ),
        pytest.param(
            "g (float[N, W, H] x) => (float y) { "
            + op("Unsqueeze 1")
            + op("Unsqueeze 1", "h", "y")
            + "}",
            "2 extents of the result are neither numbers nor where they were",
            id="keeps two extents that move",
        ),
        pytest.param(
            f"{HEAD} {{ u = Neg(x) {op('Reshape 0 6 -1', 'u')} {op('Flatten 1', 'h', 'y')} }}",
            "the shape that Reshape -> 'h' reads is unknown; infer shapes first",
            id="keeps a shape that is not recorded",
        ),
        pytest.param(
            "g (float[0, 3] x) => (float y) { "
            + op("Unsqueeze 0")
            + op("Unsqueeze 0", "h", "y")
            + "}",
            "an extent of the result is 0",
            id="keeps an empty tensor",
        ),
    ],
)
def test_refuses(lab: Lab, text: str, reason: str) -> None:
    model = lab.model(text)
    before = lab.ops(model)
    result = MergeReshapes().run(model)
    assert lab.ops(model) == before
    assert set(lab.reasons(result.skipped).values()) == {reason}


def test_leaves_an_identity_where_each_name_needs_a_node(lab: Lab) -> None:
    model = build(lab, f"{HEAD} {{ {op('Squeeze 2')} {op('Unsqueeze 2', 'h', 'y')} }}")
    run(lab, model)
    assert lab.ops(model) == ["Identity"]


def test_leaves_reshapes_below_opset_5_alone(lab: Lab) -> None:
    model = lab.model(
        "g (float[2, 3] x) => (float[6] y) "
        "{ h = Reshape <shape = [3, 2]> (x) y = Reshape <shape = [6]> (h) }",
        ir_version=3,
        opset=4,
    )
    assert not MergeReshapes().run(model).rewritten


STEPS = (
    *("Reshape 0 -1", "Reshape -1 3", "Reshape 0 2 3 -1", "Reshape 0 0 -1", "Reshape 2 -1 4"),
    *("Flatten 1", "Flatten 0", "Flatten 2", "Unsqueeze 0", "Unsqueeze -1", "Unsqueeze 1 2"),
    *("Squeeze 0", "Squeeze 2", "Squeeze -1", "Reshape -1", "Reshape! 4 -1"),
)


@settings(max_examples=80, deadline=None)
@given(texts=st.lists(st.sampled_from(STEPS), min_size=2, max_size=5), static=st.booleans())
def test_numerics_of_random_chains(lab: Lab, texts: list[str], static: bool) -> None:
    try:
        model = build(lab, chain(*texts, head=STATIC if static else HEAD))
    except ModelError:
        return  # the drawn operators do not fit each other
    before = ReferenceEvaluator(ir.to_proto(model)).run(None, X)
    lab.exact(MergeReshapes(), model, X)
    after = ReferenceEvaluator(ir.to_proto(model)).run(None, X)
    for old, new in zip(before, after, strict=True):
        assert same_bits(np.asarray(old), np.asarray(new))
