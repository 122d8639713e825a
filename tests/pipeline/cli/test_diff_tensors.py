from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from onnx_passes.numerics.compare import compare
from onnx_passes.numerics.tensors import TensorDifference
from pipeline.cli import console, diff_tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer

HEADER = '<ir_version: 8, opset_import: ["": 16]> '
A = """
g (float[2, 4] x) => (float[2, 4] y) <float k = {1.5}, float z = {0}> {
    a = Mul(x, k) b = Neg(a) c = Tanh(b) zero = Mul(c, z) y = Exp(c)
}
"""
CHAIN_LENGTH = 150


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return a writer of models from text."""

    def to_file(text: str) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx"
        onnx.save(onnx.parser.parse_model(text if text.startswith("<") else HEADER + text), path)
        return path

    return to_file


@pytest.fixture
def shared(call: Callable[..., Answer], write: Callable[[str], Path]) -> Callable[..., Answer]:
    """Return ``shared(a, b, ...)``: compare the tensors of two models given as text."""

    def run(a: str, b: str, *options: object) -> Answer:
        return call("diff", write(a), write(b), "--tensors", "shared", *options)

    return run


def difference(expected: float, actual: float, name: str = "t") -> TensorDifference:
    arrays = (np.array([value], np.float32) for value in (expected, actual))
    return TensorDifference(name, 0, "", abs(expected), compare(*arrays), None)


class TestText:
    """What a person reads."""

    def test_equal_models(self, shared: Callable[..., Answer]) -> None:
        answer = shared(A, A)
        assert (answer.code, answer.err) == (0, "")
        first, feeds = answer.out.splitlines()
        assert first == "5 shared tensors: 5 bit-equal, 0 diverge"
        assert feeds.startswith("feeds: generated, seed 0: x float32 [2, 4]")

    def test_the_first_and_the_worst_tensor(self, shared: Callable[..., Answer]) -> None:
        answer = shared(A, A.replace("Tanh", "Sin").replace("{0}", "{0.001}"))
        assert answer.code == 1
        lines = answer.out.splitlines()
        assert "5 shared tensors: 2 bit-equal, 3 diverge" in lines
        assert "first that goes wrong: 'c', made by Tanh -> 'c'" in lines
        assert lines[0].split() == ["tensor", "made", "by", "max", "abs", "of", "peak", "allowed"]
        rows = [line.split() for line in lines[1:4]]
        # A tensor of zeros has no peak: any number other than 0 is infinitely far.
        assert [row[0] for row in rows] == ["zero", "c", "y"]
        assert rows[0][-3] == "inf"
        assert all(row[-1] == "diverges" for row in rows)

    def test_differences_that_reach_no_output(self, shared: Callable[..., Answer]) -> None:
        text = """
            g (float[4] x) => (float[4] y) <float k = {KKK}>
            { a = Mul(x, k) s = Sign(a) y = Add(x, s) }
        """
        answer = shared(text.replace("KKK", "2"), text.replace("KKK", "3"))
        assert answer.code == 0
        assert "3 shared tensors: 2 bit-equal, 1 diverge\n" in answer.out
        assert "no divergence reaches an output" in answer.out
        assert "first that goes wrong" not in answer.out

    def test_names_are_not_markup(
        self, call: Callable[..., Answer], write: Callable[[str], Path]
    ) -> None:
        paths = [write(A), write(A.replace("Tanh", "Sin"))]
        for path in paths:
            proto = onnx.load(path)
            for node in proto.graph.node:
                for names in (node.input, node.output):
                    names[:] = ["[red]c" if name == "c" else name for name in names]
            onnx.save(proto, path)
        out = call("diff", *paths, "--tensors", "shared").out
        assert "\n[red]c " in out
        assert "'[red]c', made by Tanh -> '[red]c'" in out

    def test_the_table_is_short_and_sorted(self, shared: Callable[..., Answer]) -> None:
        steps = " ".join(f"t{n} = Add(t{n - 1}, x)" for n in range(1, 40))
        text = (
            "g (float[4] x) => (float[4] y) <float k = {KKK}> "
            f"{{ t0 = Mul(x, k) {steps} y = Neg(t39) }}"
        )
        out = shared(text.replace("KKK", "1"), text.replace("KKK", "2")).out
        rows = [line for line in out.splitlines() if line.endswith("diverges")]
        assert len(rows) == diff_tensors.MAX_ROWS
        shares = [float(row.split()[-3]) for row in rows]
        assert shares == sorted(shares, reverse=True)
        assert rows[0].startswith("t0 ")
        assert "41 shared tensors: 0 bit-equal, 41 diverge" in out

    def test_every_bit_counts_under_exact(self, shared: Callable[..., Answer]) -> None:
        b = A.replace("1.5", "1.5000001")
        assert shared(A, b).code == 0
        answer = shared(A, b, "--tolerance", "exact")
        assert answer.code == 1
        assert "first that goes wrong: 'a'" in answer.out


class TestPlot:
    """The error along the graph, one column per slice of tensors."""

    @staticmethod
    def drawn(found: list[TensorDifference]) -> list[str]:
        return diff_tensors._plot(found).splitlines()[2:]

    def test_a_bar_is_as_high_as_the_error(self) -> None:
        found = [difference(1, 1), difference(1, 1 + 2**-22), difference(1, 1.5), difference(1, 9)]
        lines = self.drawn(found)
        assert lines == [
            "1e+00 |   #",
            "1e-01 |  ##",
            "1e-02 |  ##",
            "1e-03 |  ##",
            "1e-04 |  ##",
            "1e-05 |  ##",
            "1e-06 |  ##",
            "1e-07 | ###",
            "      +----",
        ]

    def test_the_axis_lies_below_the_columns(self) -> None:
        lines = self.drawn([difference(1, 2)] * 3)
        assert lines[0] == "1e+00 |###"
        assert lines[-1] == "      +---"
        assert lines[0].index("|") == lines[-1].index("+")

    def test_infinite_and_huge_errors_fill_their_column(self) -> None:
        lines = self.drawn([difference(1, np.inf), difference(0, 1), difference(1, 1e38)])
        assert [line[7:] for line in lines[:8]] == ["###"] * 8

    def test_is_as_wide_as_its_columns_however_many_tensors(self) -> None:
        found = [difference(1, 1)] * 1000 + [difference(1, 2)]
        lines = self.drawn(found)
        assert lines[0] == "1e+00 |".ljust(7 + diff_tensors.PLOT_COLUMNS - 1) + "#"
        assert lines[-1] == "      +" + "-" * diff_tensors.PLOT_COLUMNS

    @pytest.mark.parametrize("width", [20, 40, 80, 200])
    def test_fits_the_terminal(
        self,
        shared: Callable[..., Answer],
        monkeypatch: pytest.MonkeyPatch,
        width: int,
    ) -> None:
        monkeypatch.setattr(console.out, "_width", width)
        steps = " ".join(f"t{n} = Neg(t{n - 1})" for n in range(1, CHAIN_LENGTH))
        text = (
            "g (float[4] x) => (float[4] y) <float k = {KKK}> "
            f"{{ t0 = Mul(x, k) {steps} y = Neg(t{CHAIN_LENGTH - 1}) }}"
        )
        out = shared(text.replace("KKK", "1"), text.replace("KKK", "3")).out
        assert max(len(line) for line in out.splitlines()) <= width
        columns = min(width - diff_tensors.PLOT_MARGIN, diff_tensors.PLOT_COLUMNS)
        assert out.count("|" + "#" * columns + "\n") == 8

    def test_is_left_out_when_nothing_differs(self, shared: Callable[..., Answer]) -> None:
        assert "along the graph" not in shared(A, A).out


class TestJson:
    """What a program reads."""

    def test_holds_every_tensor_the_first_and_the_worst(
        self, shared: Callable[..., Answer]
    ) -> None:
        b = A.replace("Tanh", "Sin").replace("{0}", "{0.001}")
        answer = shared(A, b, "--json")
        assert (answer.code, answer.err) == (1, "")
        document = answer.document
        assert document.keys() == {"compared", "first", "worst", "tensors"}
        assert (document["compared"], document["first"], document["worst"]) == (5, "c", "zero")
        names = [tensor["tensor"] for tensor in document["tensors"]]
        assert names == ["a", "b", "c", "zero", "y"]
        assert [tensor["position"] for tensor in document["tensors"]] == [0, 1, 2, 3, 4]
        c = document["tensors"][2]
        assert (c["node"], c["diverges"]) == ("Tanh -> 'c'", True)
        assert 0 < c["allowed"] < 1e-5 < c["max_abs"]

    def test_nothing_differs(self, shared: Callable[..., Answer]) -> None:
        answer = shared(A, A, "--json")
        assert answer.code == 0
        assert (answer.document["first"], answer.document["worst"]) == (None, None)
        assert not any(tensor["diverges"] for tensor in answer.document["tensors"])

    def test_infinities_stay_json(self, shared: Callable[..., Answer]) -> None:
        answer = shared(A, A.replace("{1.5}", "{1e38}").replace("Tanh", "Exp"), "--json")
        assert answer.code == 1
        assert re.search(r"Infinity|NaN", answer.out) is None
        assert answer.document["compared"] == 5


class TestKindsOfModels:
    """What is compared, and what cannot be."""

    def test_sequences_are_passed_over(self, shared: Callable[..., Answer]) -> None:
        text = """
            g (float[2, 6] x) => (float[2, 4] y) {
                n = Constant<value_ints = [2, 4]>() s = SplitToSequence<axis = 1>(x, n)
                one = Constant<value_int = 1>() z = SequenceAt(s, one) y = Abs(z)
            }
        """
        answer = shared(text, text.replace("Abs", "Neg"), "--json")
        assert (answer.code, answer.document["first"], answer.document["compared"]) == (1, "y", 4)

    def test_models_that_share_sequences_only_are_refused(
        self, refused: Callable[..., str], write: Callable[[str], Path]
    ) -> None:
        text = """
            g (float[2, 4] x) => (float[2, 4] YYY)
            { s = SplitToSequence(x) YYY = ConcatFromSequence<axis = 0>(s) }
        """
        paths = [write(text.replace("YYY", name)) for name in "yz"]
        said = refused("diff", *paths, "--tensors", "shared")
        assert "share no tensor but sequences" in said

    def test_models_that_share_nothing_are_refused(
        self, refused: Callable[..., str], write: Callable[[str], Path]
    ) -> None:
        paths = [write(f"g (float[2] x) => (float[2] {n}) {{ {n} = Abs(x) }}") for n in "yz"]
        assert "share no tensor name" in refused("diff", *paths, "--tensors", "shared")

    def test_another_input_is_refused(
        self, refused: Callable[..., str], write: Callable[[str], Path]
    ) -> None:
        paths = [write(f"g (float[2] {n}) => (float[2] y) {{ y = Abs({n}) }}") for n in ("x", "in")]
        assert "no feed for input 'in'" in refused("diff", *paths, "--tensors", "shared")

    def test_a_tolerance_that_inner_tensors_have_not_is_refused(
        self, refused: Callable[..., str], write: Callable[[str], Path]
    ) -> None:
        said = refused("diff", write(A), write(A), "--tensors", "shared", "--tolerance", "inexact")
        assert "measured at outputs only; compare tensors with close or exact" in said

    def test_the_reference_evaluator_steps_in(self, shared: Callable[..., Answer]) -> None:
        text = """
            g (float[1, 1, 2, 2, 2] x, float[1, 1, 1, 1, 3] at) => (float[1, 1, 1, 1, 1] y)
            { a = Abs(x) s = GridSample<mode = "cubic">(a, at) y = OPOP(s) }
        """
        header = '<ir_version: 9, opset_import: ["": 20]>'
        a, b = (header + text.replace("OPOP", op) for op in ("Neg", "Exp"))
        answer = shared(a, b, "--json")
        assert (answer.code, answer.document["first"]) == (1, "y")

    def test_feeds_and_shapes_reach_the_comparison(
        self, shared: Callable[..., Answer], tmp_path: Path
    ) -> None:
        text = A.replace("[2, 4]", "[N, 4]")
        answer = shared(text, text, "--json", "--shape", "x=7,4")
        assert answer.document["tensors"][0]["size"] == 7 * 4
        np.savez(tmp_path / "f.npz", x=np.full((3, 4), 2, np.float32))
        answer = shared(text, text, "--json", "--feeds", tmp_path / "f.npz")
        first = answer.document["tensors"][0]
        assert (first["size"], first["peak"]) == (3 * 4, 3)
