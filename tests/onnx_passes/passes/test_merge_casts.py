from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from onnx_passes.numerics.compare import same_bits
from onnx_passes.passes.merge_casts import MergeCasts

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab

NUMBERS = (
    *("bool", "float16", "float", "double"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
TO = {name: ir.DataType[name.upper()].value for name in (*NUMBERS, "bfloat16")}


def casts(between: str, last: str, mark: str = "") -> str:
    """Return two casts, of h to m to n."""
    types = TO[between], TO[last]
    return f"m{mark} = Cast <to = {types[0]}> (h) n{mark} = Cast <to = {types[1]}> (m{mark}) "


def chain(first: str, between: str, last: str) -> str:
    """Return a graph with two casts between two nodes."""
    return (
        f"g ({first}[N] x) => ({last}[N] y) <{first}[N] h> "
        f"{{ h = Concat <axis = 0> (x) {casts(between, last)} y = Concat <axis = 0> (n) }}"
    )


def values(kind: str) -> np.ndarray[Any, Any]:
    """Return the edges of a type and what lies between."""
    dtype = ir.DataType[kind.upper()].numpy()
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        picked = [low, high, low + 1, high - 1, 0, 1, 2, 7, 100, high // 2, high // 3]
        return np.array(picked, dtype)
    facts = np.finfo(dtype)
    edges = [np.nan, np.inf, -np.inf, -0.0, 0.0, facts.max, facts.min, facts.smallest_subnormal]
    return np.array([*edges, 0.1, -1.5, 2.5, 1 + facts.eps, 255, 300, -7.99, 2049], dtype)


@pytest.mark.parametrize(
    ("types", "left"),
    [
        pytest.param(("float16", "float", "double"), ["Cast"], id="float16 by way of float"),
        pytest.param(("float16", "float", "float16"), [], id="float16 to float and back"),
        pytest.param(("float", "double", "float"), [], id="float to double and back"),
        pytest.param(("float", "double", "float16"), ["Cast"], id="float to double to float16"),
        pytest.param(("int32", "int64", "int32"), [], id="int32 to int64 and back"),
        pytest.param(("int32", "int64", "int8"), ["Cast"], id="int32 to int64 to int8 wraps once"),
        pytest.param(("int32", "double", "int32"), [], id="int32 to double and back"),
        pytest.param(("int16", "float", "int64"), ["Cast"], id="int16 to float to int64"),
        pytest.param(("int8", "float16", "int8"), [], id="int8 to float16 and back"),
        pytest.param(("bool", "float", "bool"), [], id="bool to float and back"),
        pytest.param(("bool", "int32", "float"), ["Cast"], id="bool to int32 to float"),
        pytest.param(("float16", "float", "bool"), ["Cast"], id="float16 to float to bool"),
        pytest.param(("uint8", "int16", "uint8"), [], id="uint8 to int16 and back"),
    ],
)
def test_rewrites(lab: Lab, types: tuple[str, str, str], left: list[str]) -> None:
    model = lab.model(chain(*types))
    result = lab.exact(MergeCasts(), model, {"x": values(types[0])})
    assert lab.ops(model) == ["Concat", *left, "Concat"]
    assert lab.reasons(result.rewritten) == {"Cast -> 'n'": "merged with Cast -> 'm'"}


def test_rewrites_a_chain_of_four(lab: Lab) -> None:
    types = ("bool", "uint8", "int32", "int64", "float")
    nodes = "".join(f"v{i + 1} = Cast <to = {TO[t]}> (v{i}) " for i, t in enumerate(types[1:]))
    model = lab.model(
        f"g (bool[N] x) => (float[N] y) <bool[N] v0> {{ v0 = Not(x) {nodes} y = Abs(v4) }}"
    )
    lab.exact(MergeCasts(), model, {"x": values("bool")})
    assert lab.ops(model) == ["Not", "Cast", "Abs"]


def test_rewrites_past_one_that_others_read(lab: Lab) -> None:
    model = lab.model(
        "g (float16[N] h) => (float16[N] n, float[N] m, double[N] z) { "
        f"{casts('float', 'float16')} z = Cast <to = {TO['double']}> (m) }}"
    )
    lab.exact(MergeCasts(), model, {"h": values("float16")})
    assert lab.ops(model) == ["Cast", "Identity", "Cast"]
    assert model.graph[2].inputs[0] is model.graph.inputs[0]


def test_rewrites_in_a_branch(lab: Lab) -> None:
    model = lab.model(f"""
        g (float[2] x, bool c) => (float[2] y) {{
            h = Cast <to = {TO["double"]}> (x)
            y = If (c) <
                then_branch = yes () => (float[2] p) {{ q = Cast <to = 1> (h) p = Neg(q) }},
                else_branch = no () => (float[2] r) {{ r = Cast <to = 1> (h) }}
            >
        }}""")
    lab.exact(MergeCasts(), model)
    assert lab.all_ops(model) == ["If", "Neg", "Identity"]


def test_rewrites_in_a_function_that_records_its_types(lab: Lab) -> None:
    model = lab.model(
        f"""
        g (float[2] x) => (float[2] y) {{ y = f.t(x) }}
        <domain: "f", opset_import: ["": 16]>
        t (a) => (b) {{ c = Cast <to = {TO["bool"]}> (a) d = Cast <to = {TO["int8"]}> (c)
            e = Cast <to = {TO["int32"]}> (d) b = Cast <to = 1> (e) }}
        """,
        domains=', "f": 1',
    )
    for function in model.functions.values():
        function[0].outputs[0].type = ir.TensorType(ir.DataType.BOOL)
    MergeCasts().run(model)
    assert [len(list(function)) for function in model.functions.values()] == [2]


@pytest.mark.parametrize(
    ("types", "reason"),
    [
        pytest.param(
            ("float", "int32", "float"),
            "INT32 does not hold each FLOAT",
            id="keeps float int float",
        ),
        pytest.param(
            ("float", "bool", "float"), "BOOL does not hold each FLOAT", id="keeps float bool float"
        ),
        pytest.param(
            ("int64", "int32", "int64"), "INT32 does not hold each INT64", id="keeps int64 to int32"
        ),
        pytest.param(
            ("float", "float16", "float"),
            "FLOAT16 does not hold each FLOAT",
            id="keeps float to float16",
        ),
        pytest.param(
            ("float16", "bfloat16", "float"),
            "BFLOAT16 does not hold each FLOAT16",
            id="keeps float16 to bfloat16",
        ),
        pytest.param(
            ("int32", "float", "int32"), "FLOAT does not hold each INT32", id="keeps int32 to float"
        ),
        pytest.param(
            ("int16", "float16", "int16"),
            "FLOAT16 does not hold each INT16",
            id="keeps int16 to float16",
        ),
        pytest.param(
            ("int8", "uint8", "int8"), "UINT8 does not hold each INT8", id="keeps a lost sign"
        ),
        pytest.param(
            ("float", "double", "int32"),
            "FLOAT may be out of the range of INT32, where the result is not defined",
            id="keeps float to double to int32",
        ),
        pytest.param(
            ("int16", "float", "int8"),
            "INT16 may be out of the range of INT8, where the result is not defined",
            id="keeps int16 to float to int8",
        ),
    ],
)
def test_refuses(lab: Lab, types: tuple[str, str, str], reason: str) -> None:
    model = lab.model(chain(*types))
    result = lab.apply(MergeCasts(), model)
    assert lab.ops(model) == ["Concat", "Cast", "Cast", "Concat"]
    assert lab.reasons(result.skipped) == {"Cast -> 'n'": reason}


def test_refuses_strings(lab: Lab) -> None:
    model = lab.model(
        "g (float[N] x) => (float[N] y) { h = Cast <to = 8> (x) y = Cast <to = 1> (h) }"
    )
    result = lab.apply(MergeCasts(), model)
    assert lab.reasons(result.skipped) == {"Cast -> 'y'": "STRING is not handled"}


def test_refuses_a_type_that_is_not_recorded(lab: Lab) -> None:
    model = lab.model(chain("float", "double", "float").replace("<float[N] h>", ""))
    result = lab.exact(MergeCasts(), model)
    assert "infer shapes first" in lab.reasons(result.skipped)["Cast -> 'n'"]


@pytest.mark.parametrize("first", NUMBERS)
def test_numerics_of_every_chain_of_three_types(lab: Lab, first: str) -> None:
    chains = [(between, last) for between in TO for last in NUMBERS]
    declared = ", ".join(f"{last}[N] n{i}" for i, (_, last) in enumerate(chains))
    body = "".join(casts(between, last, str(i)) for i, (between, last) in enumerate(chains))
    model = lab.model(f"g ({first}[N] h) => ({declared}) {{ {body} }}")
    assert lab.exact(MergeCasts(), model, {"h": values(first)}).rewritten


def test_agrees_with_the_reference_evaluator(lab: Lab) -> None:
    model = lab.model(chain("float16", "float", "double"))
    before = ReferenceEvaluator(ir.to_proto(model))
    MergeCasts().run(model)
    after, x = ReferenceEvaluator(ir.to_proto(model)), {"x": values("float16")}
    for old, new in zip(before.run(None, x), after.run(None, x), strict=True):
        assert same_bits(np.asarray(old), np.asarray(new))
