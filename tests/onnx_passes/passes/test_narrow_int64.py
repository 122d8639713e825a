from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import RewriteLimitReached, at_most
from onnx_passes.numerics import compare
from onnx_passes.passes.narrow_int64 import NarrowInt64

if TYPE_CHECKING:
    from onnx_passes.core.contract import PassResult
    from tests.onnx_passes.conftest import Lab

FEEDS = {"i": np.array([-(2**31), -5, 0, 7, 2**31 - 1], np.int32)}
TYPES = (
    "<int64[1] seven = {7}, int64[2] size = {2, 5}, int64[1] one = {1}, int64 big = {4294967296}>"
)


def narrow(lab: Lab, model: ir.Model, feeds: dict[str, Any] | None = None) -> PassResult:
    """Run the pass on a model whose types are inferred; every output must keep its bits."""
    for node in model.graph:
        for value in node.outputs:
            value.type = value.type or ir.TensorType(ir.DataType.INT64)
    return lab.exact(NarrowInt64(), model, FEEDS if feeds is None else feeds)


def wide(model: ir.Model) -> list[str]:
    """Return the names of the int64 values that nodes make."""
    made = (value for graph in model.graphs() for node in graph for value in node.outputs)
    return sorted(value.name or "" for value in made if value.dtype == ir.DataType.INT64)


def test_rewrites_a_stretch_between_casts(lab: Lab) -> None:
    model = lab.model(
        f"g (int32[5] i) => (int32[2, 5] y) {TYPES} {{ a = Cast <to = 7> (i) b = Mod(a, seven) "
        "c = Expand(b, size) d = Cast <to = 6> (c) y = Neg(d) }"
    )
    model.graph[3].outputs[0].dtype = ir.DataType.INT32
    result = narrow(lab, model)
    assert lab.ops(model) == ["Mod", "Expand", "Neg"]
    assert wide(model) == []
    assert lab.reasons(result.rewritten) == {"Mod -> 'b'": "2 nodes compute in int32"}
    assert "seven.int32" in lab.initializers(model)
    assert "seven" not in lab.initializers(model)


def test_relieves_expand_with_casts_around_it(lab: Lab) -> None:
    model = lab.model(
        f"g (int8[5] i) => (int64[2, 5] y) {TYPES} {{ a = Cast <to = 7> (i) y = Expand(a, size) }}"
    )
    narrow(lab, model, {"i": np.array([-128, 0, 1, 2, 127], np.int8)})
    assert lab.ops(model) == ["Cast", "Cast", "Expand", "Cast"]
    assert wide(model) == ["a", "y"]


def test_proves_static_extents_and_arithmetic(lab: Lab) -> None:
    model = lab.model(
        "g (float[3, 4] x) => (int64[2, 2] y) <int64[2] s = {2, 2}, int64[1] k = {2}> "
        "{ a = Shape(x) b = Mul(a, k) c = Sub(b, a) d = Div(c, k) e = Where(t, d, c) "
        "y = Expand(e, s) }".replace("Where(t, d, c)", "Max(d, c)")
    )
    narrow(lab, model, {"x": np.zeros((3, 4), np.float32)})
    assert wide(model) == ["a", "y"]


def test_lets_gather_read_indices_of_int32(lab: Lab) -> None:
    model = lab.model(
        "g (float[4] x, int32[2] i) => (float[2] y) <int64[1] n = {4}> "
        "{ a = Cast <to = 7> (i) b = Mod(a, n) y = Gather(x, b) }"
    )
    model.graph[2].outputs[0].dtype = ir.DataType.FLOAT
    narrow(lab, model, {"x": np.arange(4, dtype=np.float32), "i": np.array([-1, 9], np.int32)})
    assert lab.ops(model) == ["Mod", "Gather"]


def test_stores_slice_bounds_clamped_and_gather_indices(lab: Lab) -> None:
    model = lab.model(
        "g (float[4, 5] x) => (float[a, b] y) <int64[1] s = {1}, int64[1] e = "
        "{9223372036854775807}, int64[1] m = {-9223372036854775807}, int64[1] k = {-1}, "
        "int64[2] w = {3, -1}> { a = Slice(x, s, e, s) b = Slice(a, k, m, s, k) y = Gather(b, w) }"
    )
    for node in model.graph:
        node.outputs[0].dtype = ir.DataType.FLOAT
    x = np.arange(20, dtype=np.float32).reshape(4, 5)
    result = narrow(lab, model, {"x": x[:, :]})
    tensors = {name: value.const_value for name, value in model.graph.initializers.items()}
    numbers = {name: t.numpy().tolist() for name, t in tensors.items() if t is not None}
    assert numbers["e.int32"] == [2**31 - 1]
    assert numbers["m.int32"] == [-(2**31)]
    assert numbers["w.int32"] == [3, -1]
    assert all(t.dtype == ir.DataType.INT32 for t in tensors.values() if t is not None)
    assert len(result.rewritten) == 5


def test_is_whole_after_each_rewrite(lab: Lab) -> None:
    model = lab.model(
        "g (float[4] x) => (float[2] y) <int64[1] s = {1}, int64[1] e = {3}> { y = Slice(x, s, e) }"
    )
    with pytest.raises(RewriteLimitReached), at_most(1):
        NarrowInt64().run(model)
    lab.check(model)


def leaves(lab: Lab, model: ir.Model, feeds: dict[str, Any], reasons: dict[str, str]) -> None:
    result = narrow(lab, model, feeds)
    assert lab.reasons(result.skipped) == reasons
    assert result.rewritten == []


@pytest.mark.parametrize(
    ("text", "feeds", "reasons"),
    [
        pytest.param(
            f"g (int64[5] i) => (int64[5] y) {TYPES} {{ y = Mod(i, seven) }}",
            {"i": np.array([2**40, -(2**40), 0, 1, 2])},
            {"Mod -> 'y'": "nothing proves that 'i' fits in int32"},
            id="an int64 input",
        ),
        pytest.param(
            f"g (int32[5] i) => (int64[5] y) {TYPES} "
            "{ a = Cast <to = 7> (i) b = Mul(a, a) y = Mod(b, seven) }",
            FEEDS,
            {"Mod -> 'y'": "nothing proves that 'b' fits in int32"},
            id="a product that overflows",
        ),
        pytest.param(
            f"g (int32[5] i) => (int64[5] y) {TYPES} "
            "{ a = Cast <to = 7> (i) b = Mod(a, big) y = Add(b, big) }",
            FEEDS,
            {"Mod -> 'b'": "nothing proves that 'big' fits in int32"},
            id="a large constant",
        ),
        pytest.param(
            "g (float[n] x) => (int64[2] y) <int64[1] s = {2}> { a = Shape(x) y = Expand(a, s) }",
            {"x": np.zeros(3, np.float32)},
            {"Expand -> 'y'": "nothing proves that 'a' fits in int32"},
            id="a dynamic extent",
        ),
        pytest.param(
            f"g (float[5] x) => (int64[5] y) {TYPES} {{ a = Cast <to = 7> (x) y = Mod(a, seven) }}",
            {"x": np.array([1e10, -3, 0, 4, 9], np.float32)},
            {"Mod -> 'y'": "nothing proves that 'a' fits in int32"},
            id="a Cast of floats",
        ),
        pytest.param(
            f"g (int8[5] i) => (int64[5] y) {TYPES} {{ a = Cast <to = 7> (i) y = Add(a, seven) }}",
            {"i": np.arange(5, dtype=np.int8)},
            {"Add -> 'y'": "2 Casts would come and 0 go, without Expand or Mod among them"},
            id="what would grow",
        ),
        pytest.param(
            "g (float[4] x) => (float[1] y, int64[1] z) <int64[1] w = {1}> "
            "{ y = Gather(x, w) z = Identity(v) }".replace("Identity(v)", "Neg(w)"),
            {"x": np.zeros(4, np.float32)},
            {"Neg -> 'z'": "1 Casts would come and 0 go, without Expand or Mod among them"},
            id="an index that another node reads",
        ),
        pytest.param(
            "g (float[4] x, int64[1] e) => (float[a] y) <int64[1] w = {1}> { y = Slice(x, w, e) }",
            {"x": np.zeros(4, np.float32), "e": np.array([3])},
            {},
            id="bounds of which one is computed",
        ),
        pytest.param(
            "g (float[4] x) => (float[1] y) "
            "{ w = Constant <value = int64[1] {1}> () y = Gather(x, w) }",
            {"x": np.zeros(4, np.float32)},
            {},
            id="a Constant node",
        ),
        pytest.param(
            "g (float[4] x, int64[1] w) => (float[1] y) <int64[1] w = {1}> { y = Gather(x, w) }",
            {"x": np.zeros(4, np.float32), "w": np.array([2])},
            {},
            id="an initializer that is an input",
        ),
    ],
)
def test_leaves_alone(lab: Lab, text: str, feeds: dict[str, Any], reasons: dict[str, str]) -> None:
    leaves(lab, lab.model(text), feeds, reasons)


def test_leaves_alone_the_body_of_a_function(lab: Lab) -> None:
    text = """
        g (int32[5] x) => (int64[5] y) { y = f.rest(x) }
        <domain: "f", opset_import: ["": 16]>
        rest (i) => (o) { n = Constant <value = int64 {3}> () a = Cast <to = 7> (i) o = Mod(a, n) }
    """
    model = lab.model(text, domains=', "f": 1')
    assert NarrowInt64().run(model).rewritten == []


def test_wraps_nowhere_in_int32_arithmetic_that_wrapped_before(lab: Lab) -> None:
    model = lab.model(
        f"g (int32[5] i) => (int64[2, 5] y) {TYPES} "
        "{ w = Mul(i, i) a = Cast <to = 7> (w) y = Expand(a, size) }"
    )
    model.graph[0].outputs[0].dtype = ir.DataType.INT32
    before = lab.outputs(model.clone(), FEEDS)["y"]
    narrow(lab, model)
    assert compare.same_bits(lab.outputs(model, FEEDS)["y"], before)
    assert lab.ops(model) == ["Mul", "Expand", "Cast"]


def test_narrows_in_a_branch_what_is_proven_around_it(lab: Lab) -> None:
    text = f"""
        g (int32[5] i, bool q) => (int64[2, 5] y) {TYPES} {{
            a = Cast <to = 7> (i)
            y = If (q) <then_branch = t () => (int64[2, 5] p) {{ p = Expand(a, size) }},
                        else_branch = e () => (int64[2, 5] o) {{ o = Add(a, wide) }}>
        }}
    """.replace("int64 big", "int64[2, 1] wide = {1, 4294967296}, int64 big")
    for taken in (True, False):
        model = lab.model(text)
        narrow(lab, model, {**FEEDS, "q": np.array(taken)})
        assert lab.all_ops(model) == ["Cast", "If", "Expand", "Cast", "Add"]
