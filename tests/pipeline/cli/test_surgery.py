"""The commands extract, concat and edit: what they write, what they say, how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer

SECOND = """
<ir_version: 8, opset_import: ["": 13]>
h (float[M, 2] x) => (float[M, 2] z) { z = Softmax(x) }
"""
EQUALS = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N] x) => (float[N] y) { a = Neg(x) y = Abs(a) }
"""


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.onnx"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    path = tmp_path / "second.onnx"
    onnx.save(onnx.parser.parse_model(SECOND), path)
    return path


@pytest.mark.parametrize("command", ["extract", "concat", "edit"])
def test_the_help_has_an_example_and_the_exit_codes(
    call: Callable[..., Answer], command: str
) -> None:
    answer = call(command, "--help")
    assert answer.code == 0
    assert f"onnx-passes {command}" in answer.out.split("Example:")[1]
    assert "Exit codes: 0 written and" in answer.out


class TestExtract:
    def test_writes_a_checked_piece(
        self, call: Callable[..., Answer], model: Path, out: Path
    ) -> None:
        answer = call("extract", model, "-o", out, "--inputs", "i", "--outputs", "a,y")
        assert (answer.code, answer.err) == (0, "")
        assert operators(out) == ["MatMul", "Add"]
        assert "y: bit-equal (4 elements)" in answer.out
        assert "feeds: generated, seeds 0, 1: x float32 [2, 3]" in answer.out
        assert "inputs: i float" in answer.out
        assert f"wrote {out}: 2 nodes" in answer.out

    def test_json(self, call: Callable[..., Answer], model: Path, out: Path) -> None:
        document = call("extract", model, "-o", out, "--outputs", "a", "--json").document
        assert document["written"] == str(out)
        assert document["inputs"] == ["x float [N,3]"]
        assert document["differences"]["a"]["same_bits"] is True

    def test_feeds_sizes_and_no_check(
        self, call: Callable[..., Answer], model: Path, out: Path, tmp_path: Path
    ) -> None:
        command = ("extract", model, "-o", out, "--outputs", "a")
        assert "x float32 [5, 3]" in call(*command, "--shape", "x=5,3").out
        np.savez(tmp_path / "f.npz", x=np.ones((7, 3), np.float32))
        assert "x float32 [7, 3]" in call(*command, "--feeds", tmp_path / "f.npz").out
        answer = call(*command, "--no-check")
        assert answer.code == 0
        assert "numbers were not compared, as asked" in answer.out

    def test_nothing_is_written_where_nothing_could_be_compared(
        self, call: Callable[..., Answer], model: Path, out: Path, tmp_path: Path
    ) -> None:
        np.savez(tmp_path / "f.npz", x=np.ones((0, 3), np.float32))
        feeds = ("--feeds", tmp_path / "f.npz")
        answer = call("extract", model, "-o", out, "--outputs", "a", *feeds)
        assert answer.code == 1
        assert "nothing was written" in answer.out
        assert not out.exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            pytest.param([], "give --inputs or --outputs, or both", id="no tensors"),
            pytest.param(["--outputs", "a,"], "an empty name", id="an empty name"),
            pytest.param(["--outputs", "aa"], "no tensor 'aa'; did you mean 'a'?", id="a typo"),
        ],
    )
    def test_refuses(
        self,
        refused: Callable[..., str],
        model: Path,
        out: Path,
        arguments: list[str],
        message: str,
    ) -> None:
        assert message in refused("extract", model, "-o", out, *arguments)
        assert not out.exists()

    def test_refuses_a_bad_target_before_it_reads(
        self, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        arguments = ("none.onnx", "-o", tmp_path / "no" / "out.onnx", "--outputs", "a")
        assert "does not exist; give a file name" in refused("extract", *arguments)


class TestConcat:
    def test_writes_a_checked_model_and_says_what_was_lifted(
        self, call: Callable[..., Answer], model: Path, second: Path, out: Path
    ) -> None:
        answer = call("concat", model, second, "-o", out, "--connect", "y=x", "--prefix-b", "b/")
        assert (answer.code, answer.err) == (0, "")
        assert operators(out) == ["Identity", "MatMul", "Add", "Softmax"]
        assert "the second model went from opset 13 to 16 (bit-equal)" in answer.out
        assert "b/z: bit-equal" in answer.out
        assert "outputs: b/z float [N,2]" in answer.out

    def test_feeds_are_those_of_the_result(
        self, call: Callable[..., Answer], model: Path, second: Path, out: Path, tmp_path: Path
    ) -> None:
        join = ("concat", model, second, "-o", out, "--connect", "y=x", "--prefix-a", "a/")
        feeds: dict[str, Any] = {"a/x": np.ones((7, 3), np.float32)}
        np.savez(tmp_path / "f.npz", **feeds)
        assert "a/x float32 [7, 3]" in call(*join, "--feeds", tmp_path / "f.npz").out
        assert "a/x float32 [5, 3]" in call(*join, "--shape", "a/x=5,3", "--json").out
        assert "not checked" in call(*join, "--no-check").out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            pytest.param([], "Missing option '--connect'", id="nothing to connect"),
            pytest.param(["--connect", "y"], "'y' is not OUTPUT_OF_A=INPUT_OF_B", id="half a pair"),
            pytest.param(["--connect", "q=x"], "the first model has no output 'q'", id="an output"),
            pytest.param(["--connect", "y=q"], "the second model has no input 'q'", id="an input"),
            pytest.param(["--connect", "y=x"] * 2, "names input 'x' twice", id="a pair twice"),
            pytest.param(["--connect", "y=x"], "a tensor or node 'x'; give a prefix", id="a name"),
        ],
    )
    def test_refuses(
        self,
        refused: Callable[..., str],
        model: Path,
        second: Path,
        out: Path,
        arguments: list[str],
        message: str,
    ) -> None:
        assert message in refused("concat", model, second, "-o", out, *arguments)
        assert not out.exists()


class TestEdit:
    def test_edits_are_made_in_the_order_of_the_command_line(
        self, call: Callable[..., Answer], model: Path, out: Path
    ) -> None:
        insert = ("--insert-after", "a", "Mul{B=2.0}")
        rest = ("--rename", "a_Mul=k", "--remove=k", "--rename", "x=img", "--remove", "i")
        answer = call("edit", model, "-o", out, *insert, *rest)
        assert (answer.code, answer.err) == (0, "")
        assert operators(out) == ["MatMul", "Add"]
        assert answer.out.splitlines()[:5] == [
            "inserted Mul -> 'a_Mul'",
            "tensor 'a_Mul' is 'k'",
            "removed Mul -> 'k'; 'a' stands in for it",
            "tensor 'x' is 'img'",
            "removed Identity -> 'i'; 'img' stands in for it",
        ]
        assert "inputs: img float [N,3]" in answer.out

    @pytest.mark.parametrize(
        ("expect", "code"),
        [((), 1), (("--expect", "changed"), 0), (("--no-check",), 0)],
        ids=["equal by default", "changed", "not checked"],
    )
    def test_what_was_expected_decides(
        self,
        call: Callable[..., Answer],
        model: Path,
        out: Path,
        expect: tuple[str, ...],
        code: int,
    ) -> None:
        answer = call("edit", model, "-o", out, "--insert-after", "a", "Mul{B=2.0}", *expect)
        assert answer.code == code
        assert out.exists() == (code == 0)
        if code:
            assert "y: 4 of 4 elements differ" in answer.out
            assert "expected equal: output 'y': 4 of 4 elements differ" in answer.out
            assert "nothing was written" in answer.out

    def test_json_of_an_edit_that_is_not_as_expected(
        self, call: Callable[..., Answer], model: Path, out: Path
    ) -> None:
        answer = call("edit", model, "-o", out, "--remove", "i", "--expect", "changed", "--json")
        assert answer.code == 1
        assert answer.document["written"] is None
        assert answer.document["reason"] == "expected changed: no output changed"

    def test_no_valid_model_is_an_error_of_one_line(
        self, call: Callable[..., Answer], model: Path, out: Path
    ) -> None:
        answer = call("edit", model, "-o", out, "--insert-after", "a", "Cast{to=bool}")
        assert (answer.code, answer.out) == (1, "")
        assert "the result would be no valid model: onnx.checker: " in answer.err
        assert not out.exists()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            pytest.param([], "nothing to do; give --remove, --insert-after", id="nothing"),
            pytest.param(
                ["--remove", "q9"], "--remove q9: the main graph has no node", id="a node"
            ),
            pytest.param(["--rename", "x"], "--rename 'x' is not OLD=NEW", id="half a name"),
            pytest.param(["--reconnect", "a=x"], "is not NODE:INPUT_INDEX=TENSOR", id="no index"),
            pytest.param(["--insert-after", "a"], "requires 2 arguments", id="no operator"),
            pytest.param(["--shape", "--remove"], "is not NAME=D0,D1", id="an edit as a value"),
        ],
    )
    def test_refuses(
        self,
        refused: Callable[..., str],
        model: Path,
        out: Path,
        arguments: list[str],
        message: str,
    ) -> None:
        assert message in refused("edit", model, "-o", out, *arguments)
        assert not out.exists()

    def test_refuses_to_guess_the_order(self, refused: Callable[..., str], model: Path) -> None:
        line = refused("edit", model, "-o", "--remove", "--remove", "i")
        assert "the order of the edits is not clear" in line

    def test_names_may_hold_an_equals_sign_and_a_colon(
        self, call: Callable[..., Answer], tmp_path: Path, out: Path
    ) -> None:
        proto = onnx.parser.parse_model(EQUALS)
        proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = "a=1:0"
        onnx.save(proto, tmp_path / "odd.onnx")
        odd = ("edit", tmp_path / "odd.onnx", "-o", out)
        assert call(*odd, "--rename", "a=1:0=b").code == 0
        assert onnx.load(out).graph.node[0].output[0] == "b"
        assert call(*odd, "--reconnect", "a=1:0:0=x", "--rename", "x=x=x").code == 0
        assert onnx.load(out).graph.input[0].name == "x=x"


def test_emulation_feeds_both_models_with_the_sizes_of_pin_shape(
    call: Callable[..., Answer], model: Path, out: Path
) -> None:
    pin = ("--passes", 'pin-shape{shapes="x=5,3"}', "--emulate", "fp16")
    answer = call("run", model, "-o", out, *pin)
    assert answer.code == 0
    assert "in float16, y: 10 of 10 elements differ" in answer.out
    assert "feeds: generated, seeds 0, 1: x float32 [5, 3]" in answer.out
