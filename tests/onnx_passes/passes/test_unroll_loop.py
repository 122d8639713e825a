from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.passes.unroll_loop import UnrollLoop

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

BODY = "(int64 i, bool c, float[2] v) => (bool d, float[2] u, float[2] r)"
KEEP = "d = Identity(c)"
WEIGHTS = "int64 three = {3}, int64 zero = {0}, bool yes = {1}, bool no = {0}, float[2] w = {1, 2}"
ADD = f"{KEEP} k = Cast <to = 1> (i) h = Mul(v, w) u = Add(h, k) r = Neg(u)"
FEEDS = {"x": np.array([0.25, -1.5], np.float32)}


def loop(
    nodes: str = ADD,
    head: str = "three, yes, x",
    outputs: str = "float[2] y, float[a, 2] s",
    *,
    body: str = BODY,
    names: str = "y, s",
    inputs: str = "float[2] x",
    after: str = "",
) -> str:
    """Return a Loop that carries ``v`` and collects ``r``."""
    return f"""
        g ({inputs}) => ({outputs}) <{WEIGHTS}> {{
            {names} = Loop ({head}) <body = b {body} {{ {nodes} }}>
            {after}
        }}
    """


@pytest.mark.parametrize("opset", [11, 13, 18], ids=lambda opset: f"opset {opset}")
def test_rewrites_to_copies(lab: Lab, opset: int) -> None:
    model = lab.model(loop(), opset=opset)
    result = lab.exact(UnrollLoop(), model, FEEDS)
    assert lab.ops(model).count("Mul") == 3
    assert lab.ops(model)[-4:] == ["Unsqueeze", "Unsqueeze", "Unsqueeze", "Concat"]
    assert "Loop" not in lab.ops(model)
    assert lab.reasons(result.rewritten) == {"Loop -> 'y'": "3 copies of its body"}
    assert "three" not in lab.initializers(model)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(loop(head="three, , x"), id="without a condition"),
        pytest.param(loop(ADD.replace("Identity(c)", "Identity(yes)")), id="a constant condition"),
        pytest.param(
            loop(
                ADD.replace(KEEP, "d = Constant <value = bool {1}> ()").replace(
                    "h = Mul(v, w)", "l = Constant <value = float[2] {3, 4}> () h = Mul(v, l)"
                )
            ),
            id="constants in the body",
        ),
        pytest.param(
            loop(f"{KEEP} u = Identity(v) r = Identity(w)"), id="a value that is handed on"
        ),
        pytest.param(
            loop(
                f"{KEEP} u = Add(v, v) r = Add(v, v)",
                "three, yes, x, x",
                "float[2] y, float[2] z, float[a, 2] s",
                body="(int64 i, bool c, float[2] v, float[2] o) => "
                "(bool d, float[2] o, float[2] u, float[2] r)",
                names="y, z, s",
            ),
            id="two values that change places",
        ),
        pytest.param(
            loop(
                f"{KEEP} p = Greater(v, w) q = ReduceMax(v) t = Greater(q, q) "
                "u = If (t) <then_branch = a () => (float[2] e) { e = Add(v, w) }, "
                "else_branch = z () => (float[2] f) { f = Sub(v, w) }> r = Neg(u)"
            ),
            id="an If in the body",
        ),
        pytest.param(loop(after="t = Neg(y)", outputs="float[2] t, float[a, 2] s"), id="read on"),
    ],
)
def test_rewrites(lab: Lab, text: str) -> None:
    model = lab.model(text)
    lab.exact(UnrollLoop(), model, FEEDS)
    assert "Loop" not in lab.ops(model)


def test_stores_the_weights_of_the_body_once(lab: Lab) -> None:
    body = BODY + " <float[2] inner = {5, 6}>"
    model = lab.model(loop(ADD.replace("(v, w)", "(v, inner)"), body=body))
    lab.exact(UnrollLoop(), model, FEEDS)
    stored = [name for name in lab.initializers(model) if name.startswith("inner")]
    assert len(stored) == 1


def test_rewrites_a_loop_in_a_loop_and_in_a_branch(lab: Lab) -> None:
    inner = (
        f"{KEEP} u = Loop (three, , v) <body = n (int64 j, bool m, float[2] e) => "
        "(bool o, float[2] f) { o = Identity(m) f = Mul(e, w) }> r = Neg(u)"
    )
    model = lab.model(loop(inner))
    result = lab.exact(UnrollLoop(), model, FEEDS)
    assert len(result.rewritten) == 2
    assert lab.ops(model).count("Mul") == 9
    text = f"""
        g (float[2] x, bool q) => (float[2] y) <{WEIGHTS}> {{
            y = If (q) <then_branch = a () => (float[2] p) {{ p = Loop (three, , x) <body = b
                (int64 i, bool c, float[2] v) => (bool d, float[2] u)
                {{ {KEEP} u = Mul(v, w) }}> }}, else_branch = z () => (float[2] o) {{ o = Neg(x) }}>
        }}
    """
    for taken in (True, False):
        model = lab.model(text)
        lab.exact(UnrollLoop(), model, {**FEEDS, "q": np.array(taken)})
        assert lab.all_ops(model) == ["If", "Mul", "Mul", "Mul", "Neg"]


def test_keeps_two_outputs_that_hold_the_same(lab: Lab) -> None:
    text = loop(
        f"{KEEP} u = Mul(v, w) r = Neg(u)",
        "three, yes, x, x",
        "float[2] y, float[2] z, float[a, 2] s",
        body="(int64 i, bool c, float[2] v, float[2] o) => "
        "(bool d, float[2] u, float[2] o, float[2] r)",
        names="y, z, s",
    )
    model = lab.model(text)
    lab.exact(UnrollLoop(), model, FEEDS)
    assert "Identity" in lab.ops(model)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            loop(head="n, yes, x", inputs="float[2] x, int64 n"),
            "its trip count is left out or computed",
            id="a computed trip count",
        ),
        pytest.param(loop(head="zero, yes, x"), "its trip count is 0", id="no trip"),
        pytest.param(
            loop(head="three, n, x", inputs="float[2] x, bool n"),
            "its condition is computed or false",
            id="a computed condition",
        ),
        pytest.param(
            loop(head="three, no, x"), "its condition is computed or false", id="a false condition"
        ),
        pytest.param(
            loop(ADD.replace("Identity(c)", "Not(c)")),
            "the condition that its body makes is computed or false",
            id="a condition that the body computes",
        ),
        pytest.param(
            loop(ADD.replace("Neg(u)", "RandomNormalLike(u)")),
            "its body has RandomNormalLike -> 'r', a random operator",
            id="a random operator",
        ),
        pytest.param(
            loop(ADD.replace("Neg(u)", "my.Count(u)")),
            "its body has Count -> 'r' of domain 'my'",
            id="an operator of another domain",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, reason: str) -> None:
    model = lab.model(text, domains=', "my": 1' if "my." in text else "")
    result = lab.apply(UnrollLoop(), model)
    assert lab.reasons(result.skipped) == {"Loop -> 'y'": reason}
    assert lab.ops(model) == ["Loop"]


def test_leaves_alone_a_loop_without_a_trip_count(lab: Lab) -> None:
    model = lab.model(loop())
    model.graph[0].replace_input_with(0, None)
    result = UnrollLoop().run(model)
    assert lab.reasons(result.skipped) == {"Loop -> 'y'": "its trip count is left out or computed"}


def test_leaves_alone_copies_over_the_limit(lab: Lab) -> None:
    model = lab.model(loop())
    result = lab.apply(UnrollLoop(max_nodes=14), model)
    assert lab.reasons(result.skipped) == {"Loop -> 'y'": "3 copies have 15 nodes, more than 14"}
    assert len(lab.apply(UnrollLoop(max_nodes=15), model).rewritten) == 1


def test_leaves_alone_the_body_of_a_function(lab: Lab) -> None:
    text = """
        g (float[2] x) => (float[2] y) { y = f.thrice(x) }
        <domain: "f", opset_import: ["": 16]>
        thrice (a) => (b) {
            n = Constant <value = int64 {3}> ()
            b = Loop (n, , a) <body = l (int64 i, bool c, float[2] v) => (bool d, float[2] u)
                { d = Identity(c) u = Neg(v) }>
        }
    """
    model = lab.model(text, domains=', "f": 1')
    result = lab.apply(UnrollLoop(), model)
    assert lab.reasons(result.skipped) == {"Loop -> 'b'": "it is in the body of a function"}


def test_leaves_alone_what_collects_sequences(lab: Lab) -> None:
    model = lab.model(loop())
    import onnx_ir as ir

    body = model.graph[0].attributes["body"].as_graph()
    body.outputs[2].type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    result = UnrollLoop().run(model)
    assert lab.reasons(result.skipped) == {"Loop -> 'y'": "it collects 'r', which is no tensor"}


def test_refuses_a_limit_of_nothing() -> None:
    options: dict[str, Any] = {"max_nodes": 0}
    with pytest.raises(UsageError, match="expected 1 or more"):
        UnrollLoop(**options)
