from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from onnx_passes.core import model_io
from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.core.emit import PRECISION_KEY
from onnx_passes.core.manager import optimize
from onnx_passes.numerics import runner, watch
from onnx_passes.numerics.compare import same_bits
from onnx_passes.numerics.half import emulate_half
from onnx_passes.numerics.half_error import half_error
from onnx_passes.numerics.half_rounding import round_to_half

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import numpy.typing as npt

    Float32 = npt.NDArray[np.float32]
    Half = npt.NDArray[np.float16]


def _model(text: str, domains: str = "", /, **constants: npt.ArrayLike) -> ir.Model:
    """Parse a graph of opset 16; each of the ``constants`` becomes a float32 initializer."""
    header = f'<ir_version: 8, opset_import: ["": 16{domains}]>'
    tensors = [
        ir.Tensor(np.asarray(array, np.float32), name=name) for name, array in constants.items()
    ]
    return ir.from_onnx_text(header + text, initializers=tensors)


def _named(model: ir.Model, op_type: str, name: str) -> ir.Node:
    node = next(node for node in model.graph.all_nodes() if node.op_type == op_type)
    node.name = name
    return node


def _few_bits(shape: tuple[int, ...], seed: int) -> Float32:
    """Return numbers whose products and sums are exact in float32, whatever their order."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-60, 60, shape) / 8).astype(np.float32)


def _half(array: Float32) -> Half:
    return array.astype(np.float16)


class TestArithmetic:
    def test_a_chain_of_additions_equals_numpy_float16_bit_for_bit(self) -> None:
        model = _model(
            "g (float[64] x, float[64] z) => (float[64] y)"
            "{ a = Add(x, z) b = Mul(a, x) c = Sub(b, z) y = Div(c, z) }"
        )
        rng = np.random.default_rng(0)
        x, z = (rng.standard_normal(64).astype(np.float32) for _ in range(2))
        out = runner.run_model(emulate_half(model), {"x": x, "z": z})["y"]
        expected = ((_half(x) + _half(z)) * _half(x) - _half(z)) / _half(z)
        assert expected.dtype == np.float16
        assert same_bits(out, expected.astype(np.float32))
        assert not same_bits(out, ((x + z) * x - z) / z)

    def test_a_matrix_product_sums_in_float32_and_rounds_once(self) -> None:
        x, w = _few_bits((5, 48), 1), _few_bits((48, 7), 2)
        model = _model("g (float[5, 48] x) => (float[5, 7] y) { y = MatMul(x, w) }", w=w)
        out = runner.run_model(emulate_half(model), {"x": x})["y"]
        assert same_bits(out, round_to_half(x @ w))
        in_half = np.zeros((5, 7), np.float16)
        for k in range(48):  # what summing in float16 would give
            in_half += _half(x[:, k : k + 1]) * _half(w[k : k + 1])
        assert not np.array_equal(out, in_half.astype(np.float32))

    def test_weights_and_inputs_are_rounded_before_the_product(self) -> None:
        x, w = (np.array([[1 + 2.0**-12]], np.float32) for _ in range(2))
        model = _model("g (float[1, 1] x) => (float[1, 1] y) { y = MatMul(x, w) }", w=w * 2048)
        assert runner.run_model(emulate_half(model), {"x": x})["y"] == 2048

    def test_a_convolution_equals_numpy_with_float32_sums_bit_for_bit(self) -> None:
        x, w, b = _few_bits((1, 3, 6, 6), 3), _few_bits((4, 3, 3, 3), 4), _few_bits((4,), 5)
        model = _model(
            "g (float[1, 3, 6, 6] x) => (float[1, 4, 4, 4] y) { c = Conv(x, w, b) y = Relu(c) }",
            w=w,
            b=b,
        )
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
        sums = np.einsum("nchwij,ocij->nohw", windows, w) + b[:, None, None]
        expected = round_to_half(np.maximum(round_to_half(sums.astype(np.float32)), 0))
        assert same_bits(runner.run_model(emulate_half(model), {"x": x})["y"], expected)

    def test_a_planted_overflow_gives_infinity_and_is_named(self) -> None:
        model = _model("g (float[2] x) => (float[2] y) { big = Mul(x, x) y = Neg(big) }")
        x = np.array([255.0, 256.0], np.float32)
        report = half_error(model, [{"x": x}])
        assert runner.run_model(emulate_half(model), {"x": x})["y"].tolist() == [-65024, -np.inf]
        assert report.overflows == ("big", "y")
        assert report.max_abs == np.inf

    def test_the_cast_rounds_as_numpy_does_ties_and_subnormals_included(self) -> None:
        model = _model("g (float[N] x) => (float[N] y) { y = Identity(x) }")
        halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
        ties = (halves[:-1] + halves[1:]) / 2
        x = np.concatenate([halves, ties, np.nextafter(ties, np.float32(np.inf)), [65520, np.nan]])
        x = np.concatenate([x, -x]).astype(np.float32)
        out = runner.run_model(emulate_half(model), {"x": x})["y"]
        assert same_bits(out, round_to_half(x))

    @pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
    def test_no_optimisation_of_onnxruntime_removes_a_rounding(self, level: str) -> None:
        model = _model("g (float[8] x) => (float[8] y) { a = Add(x, x) b = Add(a, x) y = Relu(b) }")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        content = ir.to_proto(emulate_half(model)).SerializeToString()
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        x = np.random.default_rng(0).standard_normal(8).astype(np.float32)
        (out,) = session.run(None, {"x": x})
        expected = np.maximum(_half(x) + _half(x) + _half(x), np.float16(0))
        assert same_bits(out, expected.astype(np.float32))


FRACTION = "g (float[4] x) => (float[4] y) { far = Add(x, two_k) y = Sub(far, two_k) }"
TWO_K = np.array([2048], np.float32)
X = np.array([0.25, 0.5, 0.75, 1.0], np.float32)


class TestKeeping:
    def test_without_a_mark_adding_2048_loses_the_fraction(self) -> None:
        model = _model(FRACTION, two_k=TWO_K)
        assert runner.run_model(emulate_half(model), {"x": X})["y"].tolist() == [0, 0, 0, 0]

    def test_with_marks_the_fraction_stays(self) -> None:
        model = _model(FRACTION, two_k=TWO_K)
        for node in model.graph:
            node.metadata_props[PRECISION_KEY] = "float32"
        assert same_bits(runner.run_model(emulate_half(model), {"x": X})["y"], X)
        unmarked = emulate_half(model, marks=False)
        assert runner.run_model(unmarked, {"x": X})["y"].tolist() == [0, 0, 0, 0]

    def test_names_do_what_marks_do(self) -> None:
        model = _model(FRACTION, two_k=TWO_K)
        _named(model, "Add", "there")
        _named(model, "Sub", "back")
        kept = emulate_half(model, {"there", "back"})
        assert same_bits(runner.run_model(kept, {"x": X})["y"], X)

    def test_a_float16_node_rounds_what_a_kept_node_hands_it(self) -> None:
        model = _model(FRACTION, two_k=TWO_K)
        _named(model, "Add", "there")
        kept = emulate_half(model, {"there"})
        assert runner.run_model(kept, {"x": X})["y"].tolist() == [0, 0, 0, 0]

    def test_a_kept_node_reads_what_a_float16_node_stored(self) -> None:
        model = _model(FRACTION, two_k=TWO_K)
        _named(model, "Sub", "back")
        kept = emulate_half(model, {"back"})
        assert runner.run_model(kept, {"x": X})["y"].tolist() == [0, 0, 0, 0]

    def test_a_kept_node_reads_constants_and_inputs_unrounded(self) -> None:
        model = _model("g (float[1] x) => (float[1] y) { y = Add(x, w) }", w=TWO_K / 3)
        _named(model, "Add", "sum")
        x = np.array([1 / 3], np.float32)
        assert same_bits(
            runner.run_model(emulate_half(model, {"sum"}), {"x": x})["y"], x + TWO_K / 3
        )

    def test_a_constant_read_by_both_kinds_of_nodes_is_rounded_for_one_only(self) -> None:
        third = np.array([1 / 3], np.float32)
        model = _model(
            "g (float[1] x) => (float[1] y, float[1] z) { y = Add(x, w) z = Sub(x, w) }", w=third
        )
        _named(model, "Sub", "kept")
        out = runner.run_model(emulate_half(model, {"kept"}), {"x": np.zeros(1, np.float32)})
        assert same_bits(out["y"], round_to_half(third))
        assert same_bits(out["z"], -third)

    def test_a_node_without_a_name_is_called_by_its_output(self) -> None:
        model = _model(FRACTION, two_k=TWO_K)
        assert not any(node.name for node in model.graph)
        kept = emulate_half(model, {"far", "y"})
        assert same_bits(runner.run_model(kept, {"x": X})["y"], X)

    def test_an_unknown_name_is_refused_with_the_nearest(self) -> None:
        model = _model(FRACTION, two_k=TWO_K)
        _named(model, "Add", "there")
        with pytest.raises(UsageError, match=r"no node is named 'ther'.*did you mean 'there'"):
            emulate_half(model, {"ther"})


class TestStructure:
    def test_the_model_is_left_alone_and_the_interface_stays(self) -> None:
        model = _model(
            "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { y = Relu(x) z = Add(y, w) }",
            w=[1 / 3] * 4,
        )
        before = ir.to_proto(model).SerializeToString(deterministic=True)
        half = emulate_half(model)
        assert ir.to_proto(model).SerializeToString(deterministic=True) == before
        proto, original = ir.to_proto(half), ir.to_proto(model)
        onnx.checker.check_model(proto, full_check=True)
        assert list(proto.graph.input) == list(original.graph.input)
        assert list(proto.graph.output) == list(original.graph.output)

    def test_each_tensor_is_rounded_once(self) -> None:
        model = _model(
            "g (float[4] x) => (float[4] y) { a = Add(x, x) b = Mul(a, x) y = Sub(b, a) }"
        )
        half = emulate_half(model)
        rounded = ("x", "a", "b", "y")
        assert [node.op_type for node in half.graph].count("Cast") == 2 * len(rounded)

    def test_what_shape_inference_learns_does_not_change_the_interface(self) -> None:
        model = _model("g (float[N, 4] x) => (float[N, M] y) { a = Relu(x) y = Neg(a) }")
        half = emulate_half(model)
        assert list(ir.to_proto(half).graph.output) == list(ir.to_proto(model).graph.output)

    def test_random_numbers_are_not_taken_for_constants(self) -> None:
        model = _model("g () => (float[4] y) { r = RandomNormalLike(k) y = Neg(r) }", k=[0] * 4)
        model = watch.expose(emulate_half(model), ["r"])
        out = runner.run_model(model, {})
        assert same_bits(out["r"], round_to_half(out["r"]))

    def test_integers_booleans_and_float64_are_untouched(self) -> None:
        model = _model(
            "g (int64[3] i, double[3] d) => (int64[3] j, double[3] e, bool[3] b)"
            "{ j = Mul(i, i) e = Mul(d, d) b = Less(d, e) }"
        )
        half = emulate_half(model)
        assert [node.op_type for node in half.graph] == ["Mul", "Mul", "Less"]

    def test_a_comparison_sees_rounded_numbers(self) -> None:
        model = _model("g (float[1] x) => (bool[1] b) { b = Less(x, w) }", w=[2048.25])
        x = np.array([2048.0], np.float32)
        assert runner.run_model(model, {"x": x})["b"].item()
        assert not runner.run_model(emulate_half(model), {"x": x})["b"].item()

    def test_what_depends_on_constants_and_shapes_alone_stays_float32(self) -> None:
        model = _model(
            "g (float[1, 1, 1, 2049] x) => (float[1, 1, 1, w] y) {"
            " s = Shape(x) f = Cast<to = 1>(s) g = Sub(f, most) y = Resize(x, , g) }",
            most=[0, 0, 0, 2048],
        )
        half = emulate_half(model)
        assert [node.op_type for node in half.graph].count("Cast") == 1 + 2 + 2
        x = np.ones((1, 1, 1, 2049), np.float32)
        assert runner.run_model(half, {"x": x})["y"].shape == (1, 1, 1, 2049)

    def test_factors_of_a_resize_are_not_rounded(self) -> None:
        model = _model(
            "g (float[1, 1, 1, 4097] x) => (float[1, 1, 1, w] y) { y = Resize(x, , f) }",
            f=[1, 1, 1, 4099 / 4097],
        )
        x = np.ones((1, 1, 1, 4097), np.float32)
        assert runner.run_model(emulate_half(model), {"x": x})["y"].shape[3] == 4099

    def test_statistics_of_a_batch_norm_are_not_rounded(self) -> None:
        constants = {"mean": [1e-6], "var": [1e-6], "scale": [1.0], "bias": [1.0]}
        model = _model(
            "g (float[1, 1] x) => (float[1, 1] y)"
            "{ y = BatchNormalization <epsilon = 0.0> (x, scale, bias, mean, var) }",
            **constants,
        )
        x = np.array([[0.5]], np.float32)
        expected = round_to_half(runner.run_model(model, {"x": x})["y"])
        assert same_bits(runner.run_model(emulate_half(model), {"x": x})["y"], expected)

    def test_an_lstm_rounds_inputs_weights_and_results_once(self) -> None:
        rng = np.random.default_rng(0)
        arrays = {
            name: rng.standard_normal(shape).astype(np.float32)
            for name, shape in (("w", (1, 8, 3)), ("r", (1, 8, 2)), ("b", (1, 16)))
        }
        text = (
            "g (float[5, 1, 3] x) => (float[5, 1, 1, 2] y, float[1, 1, 2] h)"
            "{ y, h = LSTM <hidden_size = 2> (x, w, r, b) }"
        )
        x = rng.standard_normal((5, 1, 3)).astype(np.float32)
        rounded = _model(text, **{name: round_to_half(array) for name, array in arrays.items()})
        expected = runner.run_model(rounded, {"x": round_to_half(x)})
        out = runner.run_model(emulate_half(_model(text, **arrays)), {"x": x})
        assert all(same_bits(out[name], round_to_half(expected[name])) for name in ("y", "h"))

    def test_branches_of_an_if_are_rounded_and_a_kept_if_keeps_them(self) -> None:
        model = _model(
            "g (bool c, float[1] x) => (float[1] y) {"
            " y = If(c) <then_branch = t () => (float[1] a) { f = Add(x, k) a = Sub(f, k) },"
            " else_branch = e () => (float[1] b) { b = Neg(x) }> }",
            k=TWO_K,
        )
        _named(model, "If", "choice")
        feeds = {"c": np.array(1, bool), "x": X[:1]}
        assert runner.run_model(model, feeds)["y"] == X[0]
        assert runner.run_model(emulate_half(model), feeds)["y"] == 0
        assert runner.run_model(emulate_half(model, {"choice"}), feeds)["y"] == X[0]
        feeds["c"] = np.array(0, bool)
        feeds["x"] = np.array([1 / 3], np.float32)
        out = runner.run_model(emulate_half(model), feeds)["y"]
        assert same_bits(out, -round_to_half(feeds["x"]))

    def test_a_loop_rounds_its_state_in_every_turn(self) -> None:
        model = _model(
            "g (int64 n, bool c, float[1] x) => (float[1] y) {"
            " y = Loop(n, c, x) <body = b (int64 i, bool going, float[1] s)"
            " => (bool more, float[1] r) { more = Identity(going) r = Mul(s, s) }> }"
        )
        x = np.array([1.1], np.float32)
        feeds = {"n": np.array(3), "c": np.array(1, bool), "x": x}
        expected = _half(x)
        for _ in range(3):
            expected = expected * expected
        out = runner.run_model(emulate_half(model), feeds)["y"]
        assert same_bits(out, expected.astype(np.float32))

    @pytest.mark.parametrize("marked", ["nothing", "the call", "the body"])
    def test_functions_are_inlined_with_their_marks(self, marked: str) -> None:
        model = _model(
            "g (float[4] x) => (float[4] y) { far = own.far(x) y = Neg(far) }"
            '<domain: "own", opset_import: ["": 16]> far (x) => (z)'
            "{ k = Constant <value_float = 2048.0> () f = Add(x, k) z = Sub(f, k) }",
            ', "own": 1',
        )
        (body,) = model.functions.values()
        nodes = {"nothing": [], "the call": [model.graph[0]], "the body": list(body)}[marked]
        for node in nodes:
            node.metadata_props[PRECISION_KEY] = "float32"
        half = emulate_half(model)
        assert not half.functions
        expected = [0, 0, 0, 0] if marked == "nothing" else (-X).tolist()
        assert runner.run_model(half, {"x": X})["y"].tolist() == expected

    def test_types_that_are_missing_are_inferred(self) -> None:
        model = _model(FRACTION, two_k=TWO_K)
        far = next(iter(model.graph)).outputs[0]
        assert far.type is None
        assert runner.run_model(emulate_half(model), {"x": X})["y"].tolist() == [0, 0, 0, 0]

    def test_a_tensor_of_unknown_type_is_refused_by_name(self) -> None:
        model = _model(
            "g (float[4] x) => (float[4] y) { odd = own.Strange(x) y = Relu(odd) }",
            ', "own": 1',
        )
        with pytest.raises(ModelError, match=r"Strange -> 'odd' uses 'odd', whose type"):
            emulate_half(model)

    def test_weights_on_disk_stay_there_until_they_are_written(self, tmp_path: Path) -> None:
        model = _model(
            "g (float[1, 2] x) => (float[1, 2] y) { y = MatMul(x, w) }",
            w=np.eye(2) / 3,
        )
        ir.save(model, tmp_path / "m.onnx", external_data="m.data")
        half = emulate_half(model_io.load(tmp_path / "m.onnx"))
        (tensor,) = (value.const_value for value in half.graph.initializers.values())
        assert isinstance(tensor, ir.LazyTensor)
        model_io.save(half, tmp_path / "half.onnx")
        x = np.ones((1, 2), np.float32)
        out = runner.run_model(tmp_path / "half.onnx", {"x": x})["y"]
        assert same_bits(out, round_to_half(np.full((1, 2), 1 / 3, np.float32)))


class TestReport:
    def test_tensors_come_largest_share_first_with_their_producer(self) -> None:
        model = _model(
            "g (float[4] x) => (float[4] y) { small = Mul(x, x) far = Add(small, two_k)"
            " back = Sub(far, two_k) y = Neg(back) }",
            two_k=TWO_K,
        )
        report = half_error(model, [{"x": X}])
        assert [tensor.name for tensor in report.tensors][:2] == ["back", "y"]
        assert report.tensors[0].node == "Sub -> 'back'"
        assert report.outputs["y"].max_abs == report.max_abs > 0.4
        assert {tensor.name for tensor in report.tensors} == {"small", "far", "back", "y"}

    def test_outputs_are_the_worst_over_all_feeds(self) -> None:
        model = _model("g (float[1] x) => (float[1] y) { y = Identity(x) }")
        feeds: list[dict[str, Any]] = [{"x": np.array([v], np.float32)} for v in (1, 1 / 3, 2049)]
        report = half_error(model, feeds, tensors=False)
        assert report.max_abs == 1
        assert report.tensors == ()

    def test_no_feeds_are_refused(self) -> None:
        with pytest.raises(UsageError, match="no feeds"):
            half_error(_model(FRACTION, two_k=TWO_K), [])


@pytest.fixture(scope="module")
def decomposed(starnet_onnx: Path) -> tuple[ir.Model, str]:
    model = model_io.load(starnet_onnx)
    (sample,) = (node for node in model.graph if node.op_type == "GridSample")
    rectified = sample.outputs[0].name or ""
    outcome = optimize(model, "drop-identity,decompose-grid-sample", check=False)
    return watch.expose(outcome.model, [rectified]), rectified


class TestStarNet:
    """The rectified image and the grid that samples it."""

    def test_the_marks_save_it(
        self, decomposed: tuple[ir.Model, str], word_images: Float32
    ) -> None:
        model, rectified = decomposed
        nothing, marked = (
            half_error(model, [{"x": word_images[:2]}], (), marks=marks, tensors=False)
            .outputs[rectified]
            .max_abs
            for marks in (False, True)
        )
        # Measured 1.0 and 0.006; pictures are in [-1, 1].
        assert nothing > 0.1
        assert marked < 0.02
