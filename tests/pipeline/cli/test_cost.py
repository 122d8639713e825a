"""``onnx-passes cost``: what it prints, what it refuses, and that it calls itself a prediction."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest

from ascend.cost.predict import predict
from onnx_passes.core.contract import UsageError
from pipeline.cli.cost import at_batch
from pipeline.cli.cost_show import _against

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer


def write(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture
def sampled(tmp_path: Path) -> Path:
    """Return a model of one GridSample on two inputs, with a dynamic batch."""
    return write(
        tmp_path / "sampled.onnx",
        """
        <ir_version: 8, opset_import: ["": 16]>
        g (float[N, 3, 32, 100] x, float[N, 32, 100, 2] grid) => (float[N, 3, 32, 100] y)
        { y = GridSample<mode="bilinear", padding_mode="zeros", align_corners=1>(x, grid) }
        """,
    )


def test_prints_a_prediction_for_each_batch(call: Callable[..., Answer], model: Path) -> None:
    answer = call("cost", model, "--batch", "8,1")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].startswith("PREDICTION for Ascend310P3 with CANN 8.1.RC1")
    assert "nothing was measured on a device" in lines[0]
    assert [line.split()[0] for line in lines[2:4]] == ["1", "8"]
    assert " to " in lines[2]
    assert "batch 8:" in answer.out
    assert "MatMul -> 'a' (+ 1)" in answer.out
    assert "kernels: 5; nodes that joined one (+): 1; that start none: 1; constant: 0" in answer.out


def test_json_says_prediction_and_names_every_constant(
    call: Callable[..., Answer], model: Path
) -> None:
    document = call("cost", model, "--batch", "4", "--json").document
    assert document["kind"] == "prediction"
    assert "nothing was measured" in document["note"]
    (run,) = document["runs"]
    assert run["kind"] == "prediction"
    assert (run["batch"], run["soc"], run["cann"]) == (4, "Ascend310P3", "8.1.RC1")
    assert run["low_us"] < run["us"] < run["high_us"]
    assert run["images_per_s"] == pytest.approx(4e6 / run["us"])
    assert {constant["kind"] for constant in document["chip"]} <= {
        "documented",
        "calculated",
        "assumed",
    }
    assert document["prices"]["launches"]["kind"] == "fitted"


def test_the_default_batches_are_the_published_ones(
    call: Callable[..., Answer], model: Path
) -> None:
    runs = call("cost", model, "--json").document["runs"]
    assert [run["batch"] for run in runs] == [1, 4, 8, 16, 32, 64]


def test_a_fixed_batch_is_the_only_one(
    call: Callable[..., Answer], refused: Callable[..., str], tmp_path: Path
) -> None:
    path = write(
        tmp_path / "fixed.onnx",
        '<ir_version: 8, opset_import: ["": 16]> g (float[7, 3] x) => (float[7, 3] y)'
        "{ y = Relu(x) }",
    )
    assert [run["batch"] for run in call("cost", path, "--json").document["runs"]] == [7]
    assert "fixed at 7" in refused("cost", path, "--batch", "1,7")


def test_compares_the_forms_of_grid_sample(call: Callable[..., Answer], sampled: Path) -> None:
    answer = call("cost", sampled, "--batch", "64", "--compare-forms")
    assert answer.code == 0
    assert answer.out.startswith("PREDICTION")
    rows = {
        form: line
        for form in ("native", "elements", "rows", "packed", "tent")
        for line in answer.out.splitlines()
        if f"  {form} " in line
    }
    assert "1 GridSample, AI Core" in rows["native"]
    assert "4 GatherElements, AI Core" in rows["elements"]
    assert "Gather, AI Core" in rows["rows"]
    assert "no gather" in rows["tent"]
    for form in ("elements", "rows", "packed", "tent"):
        assert any(word in rows[form] for word in ("faster", "slower", "ranges overlap"))


@pytest.mark.parametrize(
    ("low_us", "high_us", "word"),
    [
        (10.0, 49.0, "faster"),
        (10.0, 51.0, "ranges overlap"),
        (99.0, 200.0, "ranges overlap"),
        (101.0, 200.0, "slower"),
    ],
    ids=["below", "into it from below", "into it from above", "above"],
)
def test_ranks_a_form_only_where_the_ranges_are_apart(
    low_us: float, high_us: float, word: str
) -> None:
    native = predict(
        ir.from_onnx_text(
            '<ir_version: 8, opset_import: ["": 16]> g (float[8] x) => (float[8] y){ y = Relu(x) }'
        )
    )
    native = dataclasses.replace(native, low_us=50.0, us=70.0, high_us=100.0)
    assert _against(dataclasses.replace(native, low_us=low_us, high_us=high_us), native) == word


def test_a_form_that_cannot_be_made_says_why(call: Callable[..., Answer], tmp_path: Path) -> None:
    path = write(
        tmp_path / "nearest.onnx",
        '<ir_version: 8, opset_import: ["": 16]>'
        "g (float[N,3,8,8] x, float[N,4,4,2] grid) => (float[N,3,4,4] y)"
        '{ y = GridSample<mode="nearest", padding_mode="zeros">(x, grid) }',
    )
    runs = call("cost", path, "--batch", "2", "--compare-forms", "--json").document["runs"]
    reasons = {run["form"]: run.get("not_possible") for run in runs}
    assert "tent cannot do nearest" in reasons["tent"]
    assert reasons["rows"] is None
    text = call("cost", path, "--batch", "2", "--compare-forms").out
    assert "not possible: form tent cannot do nearest" in text
    assert "native: AI CPU: GridSample -> 'y': mode 'nearest'" in text


def test_says_where_atc_refuses_the_native_form(
    call: Callable[..., Answer], tmp_path: Path
) -> None:
    path = write(
        tmp_path / "old.onnx",
        '<ir_version: 8, opset_import: ["": 11]>'
        "g (float[2,3,8,8] x, float[2,4,4,2] grid) => (float[2,3,4,4] y)"
        '{ y = GridSample<mode="bilinear", padding_mode="zeros", align_corners=1>(x, grid) }',
    )
    out = call("cost", path, "--compare-forms", "--cann", "5.0.4.6").out
    assert "native: ATC refuses 1 of the nodes, first GridSample -> 'y'" in out
    assert out.count("native refused") == 4


def test_lists_what_is_not_counted(call: Callable[..., Answer], tmp_path: Path) -> None:
    path = write(
        tmp_path / "part.onnx",
        '<ir_version: 8, opset_import: ["": 16]>'
        "g (float[N, 4] x) => (float[M, 2] y, float[N, 4] z)"
        "{ z = Relu(x) n = NonZero(z) t = Transpose(n) y = Cast<to=1>(t) }",
    )
    answer = call("cost", path, "--batch", "2")
    assert answer.code == 0
    assert "not counted, the time lacks them (3):" in answer.out
    assert "Transpose -> 't': the shape or type of 'n' is not known" in answer.out
    (run,) = call("cost", path, "--batch", "2", "--json").document["runs"]
    assert [missing["node"] for missing in run["not_counted"]] == [
        "NonZero -> 'n'",
        "Transpose -> 't'",
        "Cast -> 'y'",
    ]


def test_names_from_the_file_are_not_markup(call: Callable[..., Answer], tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Relu", ["x"], ["[bold]r[/]"]),
            onnx.helper.make_node("NonZero", ["[bold]r[/]"], ["[red]"]),
        ],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [2, 2])],
        [
            onnx.helper.make_tensor_value_info("[bold]r[/]", 1, [2, 2]),
            onnx.helper.make_tensor_value_info("[red]", 7, [2, None]),
        ],
    )
    path = tmp_path / "names.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 16)]), path)
    out = call("cost", path).out
    assert "Relu -> '[bold]r[/]'" in out
    assert "NonZero -> '[red]'" in out


def test_an_older_cann_says_what_it_refuses(call: Callable[..., Answer], model: Path) -> None:
    out = call("cost", model, "--batch", "1", "--cann", "5.0.4.6").out
    assert "with CANN 5.0.4.6" in out
    assert "ATC refuses 2 of the nodes, first MatMul -> 'a'" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "0"), "'0' is no list of batches"),
        (("--batch", "1,,2"), "'1,,2' is no list of batches"),
        (("--soc", "Ascend910B4"), "known for Ascend310P3 only"),
        (("--soc", "310P33"), "did you mean"),
        (("--cann", "eight"), "is not one; it is written as 8.1.RC1"),
        (("--compare-forms",), "the model has no GridSample"),
        (("--shape", "z=1,3"), "no such input"),
        (("--shape", "x=1,3,4"), "3 sizes, expected 2"),
        (("--shape", "x=1,4"), "3 is fixed"),
    ],
    ids=[
        "a batch of none",
        "an empty batch",
        "another chip",
        "an unknown chip",
        "no version",
        "nothing to compare",
        "an unknown input",
        "another rank",
        "another fixed size",
    ],
)
def test_refuses(
    arguments: tuple[str, ...], message: str, refused: Callable[..., str], model: Path
) -> None:
    assert message in refused("cost", model, *arguments)


def test_binds_the_batch_and_other_sizes() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 16]>'
        "g (float[N, 3, W] x, float[N, 2] z, float s) => (float[N, W] y)"
        "{ a = ReduceMean<axes=[1], keepdims=0>(x) y = Relu(a) }"
    )
    bound = at_batch(model, 5, {"x": (1, 3, 7)})
    assert str(bound.graph.outputs[0].shape) == "[5,7]"
    assert str(bound.graph.inputs[1].shape) == "[5,2]"
    assert str(next(iter(bound.graph)).outputs[0].shape) == "[5,7]"
    assert str(model.graph.inputs[0].shape) == "[N,3,W]"
    with pytest.raises(UsageError, match="size 2 is dynamic; give all sizes with --shape x="):
        at_batch(model, 5, {})
