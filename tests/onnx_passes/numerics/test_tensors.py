"""Every shared tensor is compared, and the first one that goes wrong is named."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.numerics import tensors
from onnx_passes.numerics.compare import compare
from onnx_passes.numerics.feeds import generate
from onnx_passes.numerics.runner import ReferenceRunner
from onnx_passes.numerics.stream import Stream
from onnx_passes.numerics.tensors import (
    TensorDifference,
    compare_tensors,
    first_wrong,
    shared_names,
)
from onnx_passes.numerics.tolerance import NOISE_FACTOR, Tolerance

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from onnx_passes.numerics.runner import Arrays
    from tests.onnx_passes.conftest import Lab

# One channel through a convolution, a batch norm and two more steps.
NORMED = """
g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
<float[1, 1, 1, 1] w = {0.7}, float[1] s = {1.9}, float[1] b = {0.3}, float[1] m = {0.2},
 float[1] v = {0.6}, float half = {0.5}>
{ c = Conv(x, w) n = BatchNormalization(c, s, b, m, v) r = Relu(n) t = Tanh(r) y = Mul(t, half) }
"""
# The same after the batch norm went into the convolution, which keeps the name of its output:
# 0.7 * 1.9 / sqrt(0.6 + 1e-5) and (0 - 0.2) * 1.9 / sqrt(0.6 + 1e-5) + 0.3.
FOLDED = """
g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
<float[1, 1, 1, 1] w = {1.7170084}, float[1] b = {-0.1905738}, float half = {0.5}>
{ c = Conv(x, w, b) r = Relu(c) t = Tanh(r) y = Mul(t, half) }
"""


@pytest.fixture
def normed(lab: Lab) -> ir.Model:
    return lab.model(NORMED)


def differences(
    a: ir.Model, b: ir.Model, feeds: Arrays | None = None, *, noise: bool = True
) -> dict[str, TensorDifference]:
    found = compare_tensors(a, b, generate(a) if feeds is None else feeds, noise=noise)
    return {tensor.name: tensor for tensor in found}


def diverging(found: dict[str, TensorDifference]) -> list[str]:
    return [name for name, tensor in found.items() if tensor.diverges]


def blamed(a: ir.Model, b: ir.Model, feeds: Arrays | None = None) -> str | None:
    found = list(differences(a, b, feeds).values())
    wrong = first_wrong(found, b)
    return wrong.name if wrong is not None else None


class TestOrder:
    """Shared tensors come in the topological order of the first model."""

    A = "g (float[2] x) => (float[2] y) { a = Abs(x) b = Neg(x) c = Add(a, b) y = Exp(c) }"
    B = "g (float[2] x) => (float[2] y) { b = Neg(x) a = Abs(x) d = Add(a, b) y = Exp(d) }"

    def test_names_both_make_in_the_order_of_the_first(self, lab: Lab) -> None:
        a, b = lab.model(self.A), lab.model(self.B)
        assert shared_names(a, b) == ["a", "b", "y"]
        assert shared_names(b, a) == ["b", "a", "y"]

    def test_each_comes_with_its_position_node_peak_and_difference(self, lab: Lab) -> None:
        a, b = lab.model(self.A), lab.model(self.B)
        x = np.array([1, -3], np.float32)
        found = list(compare_tensors(a, b, {"x": x}))
        assert [tensor.position for tensor in found] == [0, 1, 2]
        assert [tensor.node for tensor in found] == ["Abs -> 'a'", "Neg -> 'b'", "Exp -> 'y'"]
        assert [tensor.peak for tensor in found] == [3, 3, pytest.approx(np.exp(6))]
        assert all(tensor.difference.same_bits for tensor in found)
        assert all(tensor.agrees and not tensor.diverges for tensor in found)

    def test_inputs_and_initializers_are_not_compared(self, lab: Lab) -> None:
        text = "g (float[2] x) => (float[2] y) <float[2] k = {1, 2}> { y = Add(x, k) }"
        model = lab.model(text)
        assert shared_names(model, model) == ["y"]

    def test_models_that_share_nothing_are_refused(self, lab: Lab) -> None:
        a = lab.model("g (float[2] x) => (float[2] y) { y = Abs(x) }")
        b = lab.model("g (float[2] x) => (float[2] z) { z = Abs(x) }")
        with pytest.raises(UsageError, match="share no tensor"):
            list(compare_tensors(a, b, generate(a)))

    def test_another_input_of_the_second_model_is_named(self, lab: Lab) -> None:
        a = lab.model("g (float[2] x) => (float[2] y) { y = Abs(x) }")
        b = lab.model("g (float[2] data) => (float[2] y) { y = Abs(data) }")
        with pytest.raises(ModelError, match="no feed for input 'data'"):
            list(compare_tensors(a, b, generate(a)))


class TestNoise:
    """What rounding does is measured at each tensor; without that all bits count."""

    def test_rounding_is_allowed_when_it_is_measured(self, lab: Lab, normed: ir.Model) -> None:
        found = differences(normed, lab.model(FOLDED))
        assert diverging(found) == ["c"]
        assert not found["y"].difference.same_bits
        assert found["y"].agrees

    def test_every_bit_counts_when_it_is_not(self, lab: Lab, normed: ir.Model) -> None:
        found = differences(normed, lab.model(FOLDED), noise=False)
        assert diverging(found) == ["c", "r", "t", "y"]
        assert all(tensor.allowed is None for tensor in found.values())

    def test_the_bound_grows_with_what_the_model_does_to_rounding(self, lab: Lab) -> None:
        text = """
            g (float[4] x) => (float[4] y)
            <float[4] big = {4096, 4096, 4096, 4096}, float[4] same = {4096, 4096, 4096, 4096},
             float one = {1.0001}>
            { a = Add(x, big) b = Sub(a, same) y = Div(b, one) }
        """
        found = differences(lab.model(text), lab.model(text))
        spacing = 2.0**-23
        for name in "by":
            allowed = found[name].allowed
            assert allowed is not None
            # An ulp of 4096 is 2048 spacings of 2.
            assert allowed.atol > 100 * NOISE_FACTOR * spacing * found[name].peak

    def test_the_rounding_of_the_feeds_counts(self, lab: Lab) -> None:
        model = lab.model("g (float[4] x) => (float[4] y) { a = Mul(x, x) y = Exp(a) }")
        found = differences(model, model, {"x": np.array([3, 3, 3, 3], np.float32)})
        assert found["y"].allowed is not None
        # An ulp of 3 is 2 / 3 of a spacing, and 18 times that for exp(x * x).
        assert found["y"].allowed.atol > 4 * NOISE_FACTOR * 2.0**-23 * found["y"].peak

    def test_integers_have_no_rounding(self, lab: Lab) -> None:
        text = (
            "g (float[4] x) => (int64[4] y) <float k = {KKK}> { a = Mul(x, k) y = Cast<to=7>(a) }"
        )
        x = {"x": np.array([1, 2, 3, 4], np.float32)}
        a, b = lab.model(text.replace("KKK", "10")), lab.model(text.replace("KKK", "10.5"))
        found = differences(a, b, x)
        assert diverging(found) == ["a", "y"]
        assert (found["y"].allowed, found["y"].difference.max_abs) == (None, 2)

    def test_minus_zero_is_another_bit_but_no_divergence(self, lab: Lab) -> None:
        a = lab.model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
        b = lab.model("g (float[2] x) => (float[2] y) { r = Relu(x) n = Neg(r) y = Neg(n) }")
        c = lab.model("g (float[2] x) => (float[2] y) { r = Relu(x) y = Neg(r) }")
        x = {"x": np.array([-1, -2], np.float32)}
        assert diverging(differences(a, b, x)) == []
        found = differences(a, c, x)
        assert not found["y"].difference.same_bits
        assert found["y"].agrees
        assert diverging(differences(a, c, x, noise=False)) == ["y"]


class TestNotANumber:
    """NaN and infinities are values: equal ones agree, others diverge."""

    ROOT = "g (float[3] x) => (float[3] y) { r = Sqrt(x) y = Exp(r) }"

    def test_the_same_nan_and_infinity_agree(self, lab: Lab) -> None:
        x = {"x": np.array([-1, np.inf, 4], np.float32)}
        found = differences(lab.model(self.ROOT), lab.model(self.ROOT), x)
        assert diverging(found) == []
        assert found["r"].peak == 2

    @pytest.mark.parametrize(("value", "factor"), [(-1.0, 0), (np.inf, -1)], ids=["NaN", "inf"])
    def test_one_that_only_one_model_has_diverges(
        self, lab: Lab, value: float, factor: int
    ) -> None:
        text = f"""
            g (float[3] x) => (float[3] y) <float k = {{{factor}}}>
            {{ h = Mul(x, k) r = Sqrt(h) y = Exp(r) }}
        """
        x = {"x": np.array([value, 1, 4], np.float32)}
        found = differences(lab.model(self.ROOT), lab.model(text), x)
        assert diverging(found) == ["r", "y"]
        assert found["r"].difference.max_abs == math.inf
        assert blamed(lab.model(self.ROOT), lab.model(text), x) == "r"

    def test_other_shapes_diverge_and_say_so(self, lab: Lab) -> None:
        a = lab.model("g (float[2, 3] x) => (float[K, M] y) { a = Abs(x) y = Neg(a) }")
        b = lab.model(
            "g (float[2, 3] x) => (float[K, M] y) { t = Transpose(x) a = Abs(t) y = Neg(a) }"
        )
        found = differences(a, b)
        assert diverging(found) == ["a", "y"]
        assert "shape [3, 2] instead of [2, 3]" in found["a"].difference.sentence()

    def test_a_tensor_that_rounding_makes_nan_of_vouches_for_nothing(self, lab: Lab) -> None:
        # The smallest nudge makes NaN of the root of 1 - 1.
        text = """
            g (float[64] x) => (float[64] y) <float one = {1}, float zero = {0}> {
                z = SSS(x, one) r = Sqrt(z) s = IsNaN(r) y = Where(s, zero, r)
            }
        """
        a, b = lab.model(text.replace("SSS", "Sub")), lab.model(text.replace("SSS", "Add"))
        x = {"x": np.ones(64, np.float32)}
        found = differences(a, b, x)
        assert [n for n, t in found.items() if t.allowed and math.isinf(t.allowed.atol)] == ["r"]
        assert not found["r"].diverges
        assert not found["r"].agrees
        assert blamed(a, b, x) == "z"


class TestFirstWrong:
    """The first tensor whose error reaches an output; harmless changes of meaning do not count."""

    def test_a_folded_batch_norm_is_harmless(self, lab: Lab, normed: ir.Model) -> None:
        folded = lab.model(FOLDED)
        assert diverging(differences(normed, folded)) == ["c"]
        assert blamed(normed, folded) is None

    def test_a_fault_below_it_is_found(self, lab: Lab, normed: ir.Model) -> None:
        folded = lab.model(FOLDED.replace("Tanh", "Sin"))
        assert diverging(differences(normed, folded)) == ["c", "t", "y"]
        assert blamed(normed, folded) == "t"

    def test_a_fault_at_an_output_is_found(self, lab: Lab, normed: ir.Model) -> None:
        assert blamed(normed, lab.model(FOLDED.replace("{0.5}", "{0.49}"))) == "y"

    def test_of_two_faults_the_first_in_order_is_named(self, lab: Lab, normed: ir.Model) -> None:
        wrong = NORMED.replace("Tanh", "Sin").replace("Relu", "Neg")
        assert blamed(normed, lab.model(wrong)) == "r"

    def test_an_error_that_ends_before_the_outputs_is_nobodys(self, lab: Lab) -> None:
        text = """
            g (float[4] x) => (float[4] y) <float k = {KKK}>
            { a = Mul(x, k) s = Sign(a) dead = Exp(a) y = Add(x, s) }
        """
        a, b = lab.model(text.replace("KKK", "2")), lab.model(text.replace("KKK", "3"))
        assert diverging(differences(a, b)) == ["a", "dead"]
        assert blamed(a, b) is None

    def test_an_error_reaches_an_output_through_tensors_of_other_names(self, lab: Lab) -> None:
        a = lab.model("g (float[4] x) => (float[4] y) { a = Abs(x) b = Exp(a) y = Neg(b) }")
        b = lab.model(
            "g (float[4] x) => (float[4] y) { a = Neg(x) c = Exp(a) d = Abs(c) y = Neg(d) }"
        )
        assert blamed(a, b) == "a"

    def test_an_error_reaches_an_output_from_inside_a_branch(self, lab: Lab) -> None:
        text = """
            g (float[4] x, bool c) => (float[4] y) {
                a = OPOP(x)
                y = If (c) <
                    then_branch = t () => (float[4] p) { p = Exp(a) },
                    else_branch = e () => (float[4] q) { q = Neg(a) }
                >
            }
        """
        a, b = lab.model(text.replace("OPOP", "Abs")), lab.model(text.replace("OPOP", "Sin"))
        assert blamed(a, b) == "a"

    def test_equal_models_have_none(self, normed: ir.Model) -> None:
        assert blamed(normed, normed) is None

    def test_nothing_compared_blames_nothing(self, normed: ir.Model) -> None:
        assert first_wrong([], normed) is None


class TestSequences:
    """A sequence is no tensor; what comes out of it is."""

    TEXT = """
        g (float[2, 6] x) => (float[2, 4] y) {
            sizes = Constant<value_ints = [2, 4]>()
            s = SplitToSequence<axis = 1>(x, sizes)
            one = Constant<value_int = 1>()
            z = SequenceAt(s, one)
            y = OPOP(z)
        }
    """

    def test_are_passed_over(self, lab: Lab) -> None:
        a, b = (
            lab.model(self.TEXT.replace("OPOP", "Abs")),
            lab.model(self.TEXT.replace("OPOP", "Neg")),
        )
        found = differences(a, b)
        assert list(found) == ["sizes", "one", "z", "y"]
        assert [found[name].position for name in "zy"] == [3, 4]
        assert blamed(a, b) == "y"


class TestPieces:
    """Few tensors at a time, and no more work than is asked for."""

    LENGTH = 200

    @pytest.fixture
    def chain(self, lab: Lab) -> ir.Model:
        steps = "\n".join(f"t{n + 1} = Neg(t{n})" for n in range(self.LENGTH))
        return lab.model(f"g (float[256] t0) => (float[256] t{self.LENGTH}) {{ {steps} }}")

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Return a list that fills with the number of tensors in each piece."""
        sizes: list[int] = []
        compute = Stream.compute

        def count(self: Stream, names: Sequence[str]) -> Any:  # noqa: ANN401  passed through
            sizes.append(len(names))
            return compute(self, names)

        monkeypatch.setattr(Stream, "compute", count)
        return sizes

    def test_grow_where_tensors_are_small(self, chain: ir.Model, asked: list[int]) -> None:
        assert len(list(compare_tensors(chain, chain, generate(chain), noise=False))) == self.LENGTH
        assert asked == [32, 32, 128, 128, 40, 40]

    def test_shrink_to_what_fits(
        self, chain: ir.Model, asked: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tensors, "PIECE_BYTES", 10 * 1024)
        assert len(differences(chain, chain, noise=False)) == self.LENGTH
        assert asked[:2] == [32, 32]
        assert set(asked[2:-2]) == {10}

    def test_are_one_tensor_where_no_more_fits(
        self, chain: ir.Model, asked: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tensors, "PIECE_BYTES", 1)
        monkeypatch.setattr(tensors, "FIRST_PIECE_TENSORS", self.LENGTH - 3)
        found = differences(chain, chain, noise=False)
        assert asked == [self.LENGTH - 3] * 2 + [1] * 6
        assert [tensor.position for tensor in found.values()] == list(range(self.LENGTH))

    def test_the_noise_is_one_more_run(self, chain: ir.Model, asked: list[int]) -> None:
        differences(chain, chain)
        assert asked == [32] * 3 + [128] * 3 + [40] * 3

    def test_a_reader_may_stop_early(self, chain: ir.Model, asked: list[int]) -> None:
        found = compare_tensors(chain, chain, generate(chain))
        assert asked == []
        assert next(found).name == "t1"
        found.close()  # type: ignore[attr-defined]
        assert asked == [32] * 3 + [128] * 3  # no more than one piece ahead

    @pytest.mark.parametrize(
        ("count", "size", "expected"),
        [
            pytest.param(32, 0, 128, id="nothing weighed: four times as many"),
            pytest.param(32, tensors.PIECE_BYTES // 2, 64, id="twice as many fit"),
            pytest.param(32, tensors.PIECE_BYTES, 32, id="just as many fit"),
            pytest.param(32, 64 * tensors.PIECE_BYTES, 1, id="not one fits"),
            pytest.param(1, 1, 4, id="growth from one is bounded too"),
        ],
    )
    def test_the_next_piece_follows_from_the_last(
        self, count: int, size: int, expected: int
    ) -> None:
        assert tensors._next_count(count, size) == expected


def test_the_reference_evaluator_compares_what_onnxruntime_cannot_run(lab: Lab) -> None:
    text = """
        g (float[1, 1, 2, 2, 2] x, float[1, 1, 1, 1, 3] at) => (float[1, 1, 1, 1, 1] y)
        { a = Abs(x) s = GridSample<mode = "cubic">(a, at) y = OPOP(s) }
    """
    a, b = (lab.model(text.replace("OPOP", op), opset=20, ir_version=9) for op in ("Neg", "Exp"))
    feeds = generate(a)
    with pytest.raises(ModelError):
        list(compare_tensors(a, b, feeds))
    found = list(compare_tensors(a, b, feeds, kind=ReferenceRunner))
    assert [tensor.diverges for tensor in found] == [False, False, True]


def test_a_problem_diverges_whatever_is_allowed() -> None:
    difference = compare(np.zeros(2), np.zeros(3))
    tensor = TensorDifference("t", 0, "", 0.0, difference, Tolerance(math.inf, ""))
    assert tensor.diverges
    assert not tensor.agrees
