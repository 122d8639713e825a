from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from ascend.atc.shapes import parse_gears
from ascend.lint.finding import CODES, LEVELS, Finding, grouped
from ascend.lint.fix import ORDER, fix_passes
from ascend.lint.inputs import shapes_at_largest
from ascend.lint.linter import Target, lint
from ascend.lint.names import file_findings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = "decompose-grid-sample{form=rows,target=ascend310p}"
SAMPLE = 'y = GridSample<mode="{mode}", padding_mode="zeros", align_corners=1>(x, grid)'


def model(
    body: str,
    inputs: str = "float[1, 3, 8, 8] x, float[1, 4, 4, 2] grid",
    outputs: str = "float[1, 3, 4, 4] y",
    opset: int = 16,
    rest: str = "",
) -> ir.Model:
    """Return a model in which every node has a name and every value what was given."""
    text = f'<ir_version: 8, opset_import: ["": {opset}, "mmcv": 1]>\n'
    text += f"g ({inputs}) => ({outputs})\n{{ {body} }}\n{rest}"
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    parsed = ir.from_proto(proto)
    for index, node in enumerate(parsed.graph.all_nodes()):
        node.name = f"node_{index}"
    return parsed


def find(
    body: str | ir.Model,
    inputs: str = "float[1, 3, 8, 8] x, float[1, 4, 4, 2] grid",
    outputs: str = "float[1, 3, 4, 4] y",
    *,
    cann: str = "8.1.RC1",
    opset: int = 16,
    gears: str | None = None,
) -> list[Finding]:
    """Return findings above those that say only that a shape was not inferred."""
    whole = model(body, inputs, outputs, opset) if isinstance(body, str) else body
    target = Target(cann, "Ascend310P3", gears=parse_gears(gears) if gears else None)
    return [each for each in lint(whole, target) if each.code != "SH004"]


def codes(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.code, each.level) for each in findings]


@pytest.mark.parametrize(
    ("cann", "opset", "mode", "expected", "fix"),
    [
        ("5.0.4.6", 11, "bilinear", ("GS001", "error"), ROWS),
        ("5.1.RC1", 11, "bilinear", ("OP003", "warning"), ROWS),
        ("6.0.RC1", 11, "bilinear", ("OP006", "info"), ""),
        ("6.0.RC1", 13, "bilinear", ("OP003", "warning"), ROWS),
        ("8.1.RC1", 11, "bilinear", ("GS006", "info"), ""),
        ("8.1.RC1", 14, "bilinear", ("GS002", "error"), ROWS),
        ("8.1.RC1", 16, "bilinear", ("GS006", "info"), ""),
        ("8.1.RC1", 16, "nearest", ("GS005", "warning"), ROWS),
        ("8.1.RC1", 16, "linear", ("GS004", "error"), ROWS),
        ("8.1.RC1", 20, "linear", ("GS002", "error"), "set-opset{version=18}"),
    ],
)
def test_grid_sample(cann: str, opset: int, mode: str, expected: tuple[str, str], fix: str) -> None:
    found = [f for f in find(SAMPLE.format(mode=mode), cann=cann, opset=opset) if f.code[0] != "C"]
    about_it = [each for each in found if each.subject.kind == "GridSample"]
    assert codes(about_it) == [expected]
    assert about_it[0].fix == fix
    assert about_it[0].subject.text == "GridSample -> 'y'"
    assert about_it[0].subject.node == "node_0"


@pytest.mark.parametrize(
    ("attributes", "missing"),
    [
        ("", "no mode and no padding_mode"),
        ('<mode="bilinear">', "no padding_mode"),
        ('<padding_mode="zeros">', "no mode"),
    ],
)
def test_grid_sample_without_its_attributes(attributes: str, missing: str) -> None:
    (found,) = find(f"y = GridSample{attributes}(x, grid)")
    assert codes([found]) == [("GS003", "warning")]
    assert found.why.startswith(f"{missing}: ")


class TestOpset:
    def test_one_finding_for_a_range_and_not_one_for_each_node(self) -> None:
        found = find("a = Relu(x) y = Relu(a)", "float[2] x", "float[2] y", cann="5.0.4.6")
        assert codes(found) == [("ON001", "error")]
        assert found[0].fix == "set-opset{version=11}"

    def test_the_nearest_opset_that_takes_most_operators(self) -> None:
        body = "y = LayerNormalization(x, s)"
        (found,) = find(body, "float[2, 3] x, float[3] s", "float[2, 3] y")
        assert codes([found]) == [("OP002", "error")]
        assert found.fix == "set-opset{version=17}"

    def test_a_version_that_may_take_it_gets_a_warning(self) -> None:
        found = find("y = Relu(x)", "float[2] x", "float[2] y", cann="9.0.0", opset=19)
        assert ("ON001", "warning") in codes(found)


class TestOperators:
    @pytest.mark.parametrize(
        ("body", "inputs", "outputs", "expected", "fix"),
        [
            pytest.param(
                "y = Floor(x)", "double[2] x", "double[2] y",
                ("OP004", "warning"), "drop-double", id="float64",
            ),
            pytest.param(
                "y = Mod(x, x)", "int64[2] x", "int64[2] y",
                ("OP004", "warning"), "narrow-int64", id="int64",
            ),
            pytest.param(
                "y = CastLike(x, x)", "float[2] x", "float[2] y",
                ("OP001", "error"), "", id="not listed",
            ),
            pytest.param(
                "y = HardSwish(x)", "double[2] x", "double[2] y",
                ("OP005", "error"), "drop-double", id="no kernel",
            ),
            pytest.param(
                "y = Sin(x)", "float[2] x", "float[2] y", ("OP006", "info"), "", id="no data",
            ),
            pytest.param(
                "y = Clip(x)", "float[2] x", "float[2] y",
                ("OP008", "error"), "", id="Clip without bounds",
            ),
            pytest.param(
                'y = Pad<mode="reflect">(x, p)', "float[4] x, int64[2] p", "float[6] y",
                ("OP008", "warning"), "decompose-reflect-pad", id="Pad in reflect mode",
            ),
            pytest.param(
                "y = AffineGrid(x, s)", "float[1, 2, 3] x, int64[4] s", "float[1, 4, 4, 2] y",
                ("OP004", "warning"), "decompose-affine-grid", id="AffineGrid",
            ),
            pytest.param(
                'y = Einsum <equation = "ab,bc->ac"> (x, w)', "float[2, 3] x, float[3, 4] w",
                "float[2, 4] y", ("OP003", "warning"), "decompose-einsum", id="Einsum",
            ),
            pytest.param(
                "y = IsNaN(x)", "float[4] x", "bool[4] y", ("OP004", "warning"),
                "decompose-is-nan", id="IsNaN",
            ),
            pytest.param(
                "y = GatherElements(x, i)", "float[A] x, int64[5000] i", "float[5000] y",
                ("OP007", "info"), "fold-shapes", id="a size that is not known",
            ),
            pytest.param(
                "y = mmcv.Conv(x)", "float[2] x", "float[2] y",
                ("CD001", "error"), "", id="a custom domain",
            ),
        ],
    )  # fmt: skip
    def test_findings(
        self, body: str, inputs: str, outputs: str, expected: tuple[str, str], fix: str
    ) -> None:
        found = [each for each in find(body, inputs, outputs) if each.code[:2] not in {"TY", "SH"}]
        assert codes(found) == [expected]
        assert found[0].fix == fix
        assert found[0].source.endswith(")")

    def test_nothing_is_said_of_what_runs_on_the_ai_core(self) -> None:
        body = "c = Constant<value_float = 2.0>() a = Mul(x, c) y = Relu(a)"
        assert find(body, "float[2] x", "float[2] y") == []

    def test_a_loop_is_unrolled(self) -> None:
        body = """y = Loop(n, c, x) <body = b (int64 i, bool k, float[2] s)
          => (bool k2, float[2] s2) { k2 = Identity(k) s2 = Relu(s) }>"""
        found = find(body, "int64 n, bool c, float[2] x", "float[2] y")
        assert ("SG001", "error", "unroll-loop") in [(f.code, f.level, f.fix) for f in found]

    def test_a_function_is_inlined(self) -> None:
        whole = model(
            "y = mmcv.twice(x)",
            "float[2] x",
            "float[2] y",
            rest='<domain: "mmcv", opset_import: ["": 16]> twice (a) => (b) { b = Add(a, a) }',
        )
        (found,) = find(whole)
        assert codes([found]) == [("FN001", "error")]
        assert "inline" in found.advice


class TestInputs:
    def test_a_dynamic_size_needs_gears_or_a_size(self) -> None:
        found = find("y = Relu(x)", "float[N, 3] x", "float[N, 3] y")
        assert codes(found) == [("SH001", "warning")]
        assert found[0].fix == "pin-shape"
        served = find("y = Relu(x)", "float[N, 3] x", "float[N, 3] y", gears="batch=1,4")
        assert codes(served) == [("SH003", "info")]

    @pytest.mark.parametrize(
        ("shape", "gears"),
        [
            pytest.param("[2, 3]", "batch=1,4", id="nothing is dynamic"),
            pytest.param("[2, N]", "batch=1,4", id="another dimension"),
            pytest.param("[N, M]", "dims=1;4", id="too few numbers"),
            pytest.param("[1, 3, H, N, M]", "image=8,8;9,9", id="no picture"),
            pytest.param("", "batch=1,4", id="rank not known"),
        ],
    )
    def test_gears_that_do_not_fit(self, shape: str, gears: str) -> None:
        whole = model("y = Relu(x)", "float[2] x", "float[2] y")
        dims = [int(d) if d.isdigit() else d for d in shape.strip("[]").split(", ")]
        whole.graph.inputs[0].shape = ir.Shape(dims) if shape else None
        found = [each for each in find(whole, gears=gears) if each.code == "SH002"]
        assert codes(found) == [("SH002", "error")]
        assert shapes_at_largest(whole, parse_gears(gears)) == {}

    @pytest.mark.parametrize(
        ("shapes", "gears", "expected"),
        [
            (["N,3"], "batch=1,8,4", {"x": (8, 3)}),
            (["1,3,H,W"], "image=32,100;64,20", {"x": (1, 3, 32, 100)}),
            (["N,L", "L,2"], "dims=1,2,3;4,5,6", {"x": (4, 5), "z": (6, 2)}),
            (["N,3", "N,4", "7"], "batch=1,2", {"x": (2, 3), "z": (2, 4)}),
        ],
    )
    def test_the_sizes_at_the_largest_gear(
        self, shapes: list[str], gears: str, expected: dict[str, tuple[int, ...]]
    ) -> None:
        inputs = ", ".join(f"float[{s}] {n}" for s, n in zip(shapes, "xzw", strict=False))
        whole = model("y = Relu(x)", inputs, "float y")
        assert shapes_at_largest(whole, parse_gears(gears)) == expected

    def test_sequences_cannot_be_inputs(self) -> None:
        found = find("y = SequenceAt(x, i)", "seq(float[2]) x, int64 i", "float[2] y")
        assert ("TY001", "error") in codes(found)

    def test_weights_that_are_listed_as_inputs_are_no_inputs(self) -> None:
        whole = model("y = Add(x, w)", "float[2] x, float[A] w", "float[2] y")
        weight = whole.graph.inputs[1]
        weight.const_value = ir.tensor(np.zeros(2, np.float32), name="w")
        whole.graph.initializers["w"] = weight
        assert not [each for each in find(whole) if each.code == "SH001"]

    def test_weights_beside_the_model(self) -> None:
        whole = model("y = Relu(x)", "float[2] x", "float[2] y")
        tensor = ir.ExternalTensor(
            "w.bin", 0, 1 << 32, ir.DataType.FLOAT, shape=ir.Shape([1 << 30]), name="w"
        )
        whole.graph.initializers["w"] = ir.Value(name="w", const_value=tensor)
        assert codes(find(whole)) == [("EX002", "warning"), ("EX001", "info")]


class TestTypes:
    def test_float64_is_found_where_it_is(self) -> None:
        found = find("y = Cast<to=11>(x)", "float[2] x", "double[2] y")
        assert {each.code for each in found} == {"TY002", "OP004"}
        older = find("y = Cast<to=11>(x)", "float[2] x", "double[2] y", cann="7.0.0")
        assert ("TY002", "info") in codes(older)

    @pytest.mark.parametrize(
        ("body", "inputs", "data"),
        [
            pytest.param(
                "s = Shape(x) i = Gather(s, k) j = Add(i, k) y = Reshape(x, j)",
                "float[2] x, int64[1] k",
                set[str](),
                id="arithmetic on shapes is none",
            ),
            pytest.param(
                "v, i = TopK(x, k) f = Cast<to=1>(i) y = Add(v, f)",
                "float[2] x, int64[1] k",
                {"TopK"},
                id="indices that become numbers are",
            ),
            pytest.param(
                "v, i = TopK(x, k) y = Gather(x, i)",
                "float[2] x, int64[1] k",
                set[str](),
                id="indices that stay so are none",
            ),
        ],
    )
    def test_int64_data(self, body: str, inputs: str, data: set[str]) -> None:
        whole = model(body, inputs, "float[1] y")
        found = [each for each in find(whole) if each.code == "TY003"]
        assert {each.subject.kind for each in found} == data

    def test_an_int64_output_is_data(self) -> None:
        found = find("y = ArgMax<axis=0>(x)", "float[2] x", "int64[1] y")
        assert codes(found) == [("TY003", "info")]

    def test_dtypes_without_any_kernel(self) -> None:
        found = find("y = Cast<to=16>(x)", "float[2] x", "bfloat16[2] y")
        assert ("TY005", "warning") in codes(found)

    def test_a_shape_that_nobody_knows(self) -> None:
        whole = model("a = mmcv.Op(x) b = NonZero(x) y = Cast<to=1>(b)", "float[2] x", "float[1] y")
        found = lint(whole, Target("8.1.RC1", "Ascend310P3"))
        assert [f.why for f in found if f.code == "SH004"] == [
            "its shape is not known",
            "its shape depends on data",
        ]


class TestNames:
    @pytest.mark.parametrize("name", ["a:b", "a;b", "a b", "a\nb", "a\x00b"])
    def test_characters_with_a_meaning(self, name: str) -> None:
        whole = model("y = Relu(x)", "float[2] x", "float[2] y")
        whole.graph.inputs[0].name = name
        whole.graph.node(0).name = name
        assert codes(find(whole)) == [("NM001", "warning"), ("NM001", "info")]

    @pytest.mark.parametrize("name", ["p2o.Add.6", "/head/conv-1/Conv", "linear_0.w@0", "面"])
    def test_characters_without(self, name: str) -> None:
        whole = model("y = Relu(x)", "float[2] x", "float[2] y")
        whole.graph.inputs[0].name = name
        whole.graph.node(0).name = name
        assert find(whole) == []

    def test_the_same_name_twice(self) -> None:
        whole = model("a = Relu(x) y = Relu(a)", "float[2] x", "float[2] y")
        for node in whole.graph:
            node.name = "same"
        assert codes(find(whole)) == [("NM002", "error")] * 2

    def test_no_name(self) -> None:
        whole = model("y = Relu(x)", "float[2] x", "float[2] y")
        whole.graph.node(0).name = ""
        assert codes(find(whole)) == [("NM003", "info")]

    @pytest.mark.parametrize(
        ("name", "count"), [("m-1_2.onnx", 0), ("my model.onnx", 1), ("模型.onnx", 1), ("a:b", 1)]
    )
    def test_of_the_file(self, name: str, count: int) -> None:
        assert len(list(file_findings(name))) == count


def test_marked_nodes_and_the_whole_model_can_stay_float32() -> None:
    whole = model("y = MaxPool<kernel_shape=[2,2]>(x)", outputs="float[1,3,7,7] y")
    assert find(whole) == []
    kept = lint(whole, Target("8.1.RC1", "Ascend310P3", keep_float32=True))
    assert codes(kept) == [("OP004", "warning")]
    whole.graph.node(0).metadata_props["onnx_passes.precision"] = "float32"
    assert codes(find(whole)) == [("OP004", "warning")]


def test_a_version_without_data_says_whose_data_is_used() -> None:
    found = find("y = Relu(x)", "float[2] x", "float[2] y", cann="6.1.RC1", opset=11)
    assert found[0].code == "CV001"
    assert "that on 6.0.1 and 7.0.0 is used instead" in found[0].why
    assert all("(unverified)" in each.source for each in found)


def test_nodes_in_branches_are_looked_at() -> None:
    body = """y = If(c) <then_branch = t () => (float[2] a) { a = CastLike(x, x) },
      else_branch = e () => (float[2] b) { b = Relu(x) }>"""
    found = find(body, "bool c, float[2] x", "float[2] y")
    assert codes(found) == [("OP001", "error")]


def test_equal_findings_are_one_group_and_the_worst_comes_first() -> None:
    body = "a = Sin(x) b = Sin(a) c = Cos(b) d = CastLike(c, x) y = IsNaN(d)"
    groups = grouped(find(body, "float[2] x", "bool[2] y"))
    assert [group.finding.level for group in groups] == ["error", "warning", "info"]
    assert groups[-1].count == 3
    assert groups[-1].kinds == {"Sin": 2, "Cos": 1}
    assert LEVELS == ("error", "warning", "info")


def test_fixes_come_once_and_in_order() -> None:
    body = "a = Cast<to=11>(x) b = Floor(a) c = Floor(b) d = Cast<to=1>(c) e = AffineGrid(t, s)"
    found = find(
        f'{body} y = GridSample<mode="nearest", padding_mode="zeros">(d, e)',
        "float[1,3,8,8] x, float[1,2,3] t, int64[4] s",
    )
    assert fix_passes(found) == [
        "drop-double",
        "decompose-affine-grid",
        ROWS,
    ]
    assert len(set(ORDER)) == len(ORDER)


def test_every_code_is_used_and_has_a_sentence() -> None:
    assert all(text.endswith(".") for text in CODES.values())
    assert all(len(code) == 5 and code[:2].isupper() and code[2:].isdigit() for code in CODES)


def calls(count: int) -> int:
    """Return how many Python functions a chain of nodes takes to lint."""
    body = " ".join(
        f"v{i + 1} = {('Sin', 'Relu', 'Floor', 'Add')[i % 4]}(v{i}{', v0' if i % 4 == 3 else ''})"
        for i in range(count)
    )
    whole = model(body, "float[2] v0", f"float[2] v{count}")
    seen = 0

    def count_calls(_frame: object, event: str, _arg: object) -> None:
        nonlocal seen
        seen += event == "call"

    sys.setprofile(count_calls)
    try:
        lint(whole, Target("8.1.RC1", "Ascend310P3"))
    finally:
        sys.setprofile(None)
    return seen


def test_the_work_is_linear_in_the_nodes() -> None:
    few, many = calls(500), calls(2000)
    assert many < 4.2 * few
    assert many < 300 * 2000


class TestHostile:
    def hostile(self) -> Iterator[ir.Model]:
        long = model("y = Relu(x)", "float[2] x", "float[2] y")
        long.graph.node(0).name = "[red]" * 100_000
        long.graph.node(0).outputs[0].name = "\x1b]0;title\x07"
        yield long
        broken = model("a = Pad(x, p, v) y = Slice(a, p, p, p, v)", "float[2] x", "float[2] y")
        tensor = ir.Tensor(np.zeros(3, np.float32), dtype=ir.DataType.FLOAT, name="v")
        broken.graph.initializers["v"] = ir.Value(name="v", const_value=tensor)
        yield broken
        huge = model("y = GatherElements(x, i)", "float[2] x, int64[2] i", "float[2] y")
        huge.graph.inputs[0].shape = ir.Shape([2**62, 2**62, 0, -5])
        huge.graph.inputs[1].shape = ir.Shape([-(2**62)])
        yield huge
        odd = model("y = Gather(x, x)", "float x, float z", "float[2] y", opset=10**9)
        odd.graph.node(0).attributes.add(ir.AttrInt64("axis", 2**62))
        yield odd
        bare = model("y = Constant()", "float[2] x", "float[2] y")
        bare.graph.node(0).op_type = ""
        yield bare
        two = model("c = Constant<value_int=1, value_float=1.0>() y = Slice(x, c, c, c, c)",
                    "float[2] x", "float[2] y")  # fmt: skip
        yield two

    def test_nothing_crashes(self) -> None:
        for whole in self.hostile():
            for cann in ("5.0.4.6", "7.0.0", "8.1.RC1", "9.9.RC9"):
                for each in find(whole, cann=cann):
                    assert each.code in CODES

    def test_attributes_of_a_wrong_type_do_not_crash(self) -> None:
        for name in ("GridSample", "GatherElements", "GatherND", "Pad", "TopK", "ScatterND"):
            for value in (ir.AttrString("mode", "x"), ir.AttrFloat32("mode", 0.5)):
                whole = model("y = Relu(x)", "float[2] x", "float[2] y")
                node = whole.graph.node(0)
                node.op_type = name
                node.attributes.add(value)
                for key in ("axis", "batch_dims", "value", "reduction"):
                    node.attributes.add(ir.AttrString(key, "text"))
                    assert all(each.code in CODES for each in find(whole))
