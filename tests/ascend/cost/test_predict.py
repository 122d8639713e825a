"""The prediction: what is published, ranges, engines, and that it never claims to be measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
import pytest

from ascend.cost.chip import ASCEND_310P3
from ascend.cost.predict import predict
from ascend.cost.prices import PRICES_FILE, Work, load_prices, parse_prices
from ascend.errors import AscendError
from onnx_passes.core.model_io import clone, load
from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample
from onnx_passes.passes.infer_shapes import InferShapes
from onnx_passes.passes.pin_shape import PinShape

if TYPE_CHECKING:
    from collections.abc import Callable

    from ascend.cost.predict import Prediction

FIT = load_prices().fit
STARNET = {p["batch"]: p for p in FIT["points"] if p["network"] == "StarNet"}


def parse(text: str, opset: int = 16) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>{text}')
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


@pytest.fixture(scope="module")
def starnet(starnet_onnx: Path) -> dict[int, ir.Model]:
    """Return StarNet at the published batches. Do not change one."""
    exported = load(starnet_onnx)
    models = {}
    for batch in STARNET:
        models[batch] = clone(exported)
        PinShape(shapes=f"x={batch},3,32,100").run(models[batch])
    return models


@pytest.fixture(scope="module")
def predictions(starnet: dict[int, ir.Model]) -> dict[int, Prediction]:
    return {batch: predict(model) for batch, model in starnet.items()}


def test_published_times_are_met_as_well_as_the_fit_says(
    predictions: dict[int, Prediction],
) -> None:
    assert sorted(predictions) == [1, 4, 8, 16, 32, 64]
    for batch, prediction in predictions.items():
        point = STARNET[batch]
        assert not prediction.not_counted
        assert prediction.published_us == point["published_us"]
        error = prediction.us / point["published_us"] - 1
        assert error == pytest.approx(point["error"], abs=0.002), batch
        assert prediction.low_us < point["published_us"] < prediction.high_us, batch


def test_the_published_points_are_the_guides(predictions: dict[int, Prediction]) -> None:
    """1000 * batch / fps; the guide gives 24.447 ms for batch 64."""
    assert predictions[64].published_us == pytest.approx(24447.1, abs=0.1)
    assert predictions[1].published_us == pytest.approx(1e6 / 356.369, abs=0.1)


def test_a_larger_batch_never_takes_less_time(predictions: dict[int, Prediction]) -> None:
    for attribute in ("us", "low_us", "high_us"):
        times = [getattr(predictions[batch], attribute) for batch in sorted(predictions)]
        assert times == sorted(times)


def test_kernels_add_up_to_the_whole(predictions: dict[int, Prediction]) -> None:
    for prediction in predictions.values():
        total = sum(kernel.us for kernel in prediction.kernels)
        assert total == pytest.approx(prediction.us)
        for kernel in prediction.kernels:
            assert 0 < kernel.low_us <= kernel.us <= kernel.high_us


def test_says_that_it_is_a_prediction(predictions: dict[int, Prediction]) -> None:
    document = json.loads(json.dumps(predictions[8].to_json()))
    assert document["kind"] == "prediction"
    assert document["low_us"] < document["us"] < document["high_us"]
    assert document["not_counted"] == []


def test_a_simplified_model_is_predicted_like_the_export(
    starnet: dict[int, ir.Model], predictions: dict[int, Prediction]
) -> None:
    """Identity, constants and batch norms of the export cost (nearly) nothing."""
    from onnx_passes import optimize

    simpler = optimize(starnet[8], "onnxsim", check=False).model
    assert predict(simpler).us == pytest.approx(predictions[8].us, rel=0.03)


@pytest.mark.parametrize("form", ["elements", "rows", "packed", "tent"])
def test_every_form_of_grid_sample_is_counted(
    form: str, starnet: dict[int, ir.Model], predictions: dict[int, Prediction]
) -> None:
    model = clone(starnet[8])
    DecomposeGridSample(form=form).run(model)
    InferShapes().run(model)
    prediction = predict(model)
    assert not prediction.not_counted
    assert prediction.published_us is None
    assert prediction.work.copies == 0 < predictions[8].work.copies
    fetched = prediction.work.fetches + prediction.work.row_copies
    assert (fetched == 0) is (form == "tent")


def test_gather_elements_falls_to_the_ai_cpu_where_it_is_large() -> None:
    text = (
        "g (float16[1200000, 2] x, int32[{n}, 2] i) => (float16[{n}, 2] y)"
        "{{ y = GatherElements<axis=0>(x, i) }}"
    )
    small, large = (predict(parse(text.format(n=n))).kernels[0] for n in (1000, 1024))
    assert (small.engine, small.limit) == ("AI Core", "small copies")
    assert (large.engine, large.limit) == ("AI CPU", "AI CPU")
    assert "3072000" in large.engine_reason
    assert large.us > small.us


def test_an_engine_that_nobody_knows_is_assumed_and_said() -> None:
    model = parse("g (float16[8] x) => (float16[8] y) { y = Relu(x) }", opset=11)
    (known,) = predict(model, cann="8.1.RC1").kernels
    (assumed,) = predict(model, cann="6.0.1").kernels
    assert (known.engine, known.engine_known) == ("AI Core", True)
    assert (assumed.engine, assumed.engine_known) == ("AI Core", False)


def test_an_operator_that_atc_refuses_is_counted_and_said() -> None:
    model = parse("g (float16[8] x) => (float16[8] y) { y = Relu(x) }")
    old, new = predict(model, cann="5.0.4.6"), predict(model)
    ((node, reason),) = old.refused
    assert node == "Relu -> 'y'"
    assert "opset 9-13" in reason
    assert old.us == new.us
    assert not new.refused


@pytest.mark.parametrize(
    ("batch", "width", "published"),
    [
        pytest.param(8, 100, True, id="the shapes of StarNet"),
        pytest.param(9, 100, False, id="a batch that is not published"),
        pytest.param(8, 128, False, id="another width"),
    ],
)
def test_knows_the_published_network_by_its_shapes(batch: int, width: int, published: bool) -> None:
    model = parse(
        f"g (float[{batch},3,32,{width}] x) => (float[{batch},25,37] y)"
        f"<int64[4] s = {{{batch}, 25, 37, 2}}>"
        "{ grid = ConstantOfShape(s) picture = GridSample(x, grid)"
        " y = ReduceMean<axes=[1], keepdims=0>(picture) }"
    )
    assert (predict(model).published_us is not None) is published


@pytest.mark.parametrize(
    ("soc", "message"),
    [
        ("Ascend910B4", "known for Ascend310P3 only"),
        ("310P4", "did you mean"),
    ],
    ids=["another chip", "no chip"],
)
def test_refuses_a_chip_it_has_no_constants_for(soc: str, message: str) -> None:
    model = parse("g (float16[8] x) => (float16[8] y) { y = Relu(x) }")
    with pytest.raises(AscendError, match=message):
        predict(model, soc=soc)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "g (float16[N] x) => (float16[N] y) { y = Relu(x) }",
            r"no node could be counted \(Relu -> 'y': the shape or type of 'x' is not known\)",
            id="nothing but dynamic shapes",
        ),
        pytest.param(
            "g (float16[8] x) => (float16[8] y) { y = Identity(x) }",
            "the model starts no kernel",
            id="nothing but Identity",
        ),
    ],
)
def test_refuses_where_nothing_is_left_to_predict(text: str, message: str) -> None:
    with pytest.raises(AscendError, match=message):
        predict(parse(text))


def test_the_range_covers_folds_assumed_prices_and_the_error_left_out() -> None:
    def price(low: float, value: float, high: float, kind: str) -> dict[str, Any]:
        return {"low": low, "value": value, "high": high, "unit": "us", "kind": kind, "source": ""}

    fitted, assumed = price(1, 2, 3, "fitted"), price(10, 20, 40, "assumed")
    names = list(vars(Work()))
    prices = parse_prices(
        {
            "prices": {name: fitted if name == "launches" else assumed for name in names},
            "fit": {
                "leave_one_out": [{"prices": {"launches": 1.5}}, {"prices": {"launches": 2.5}}],
                "greatest_left_out_error": 0.1,
            },
        }
    )
    work = Work(launches=4, fetches=1)
    assert prices.time_us(work) == 4 * 2 + 20
    assert prices.range_us(work) == pytest.approx(((4 * 1.5 + 10) * 0.9, (4 * 2.5 + 40) * 1.1))


def test_the_shipped_prices_are_labelled_and_within_their_ranges() -> None:
    prices = load_prices()
    kinds = {name: price.kind for name, price in prices.table.items()}
    fitted = {name for name, kind in kinds.items() if kind == "fitted"}
    assert fitted == {"launches", "peak_us", "copies"}
    assert set(kinds.values()) == {"fitted", "assumed"}
    for price in prices.table.values():
        assert 0 < price.low <= price.value <= price.high
        assert price.unit
        assert price.source
    assert FIT["degrees_of_freedom"] == len(FIT["points"]) - len(fitted) == 5
    errors = [abs(fold["error"]) for fold in FIT["leave_one_out"]]
    assert len(errors) == 6
    assert prices.spread == max(errors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda text: text[:-3], "JSONDecodeError", id="cut off"),
        pytest.param(lambda text: text.replace('"copies"', '"x"'), "expected", id="another name"),
        pytest.param(lambda _: "{}", "KeyError 'prices'", id="empty"),
    ],
)
def test_says_what_is_wrong_with_a_file_of_prices(
    change: Callable[[str], str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "prices.json"
    path.write_text(change(PRICES_FILE.read_text()))
    with pytest.raises(AscendError, match=message) as refused:
        load_prices(path)
    assert "fit_cost.py" in str(refused.value)


def test_says_that_a_file_of_prices_is_missing(tmp_path: Path) -> None:
    with pytest.raises(AscendError, match="FileNotFoundError"):
        load_prices(tmp_path / "none.json")


def test_the_page_lists_every_constant_with_its_value() -> None:
    page = (Path(__file__).parents[3] / "docs" / "cost.md").read_text(encoding="utf-8")
    rows = [tuple(line.strip("| ").split(" | ")) for line in page.splitlines() if "|" in line]
    prices = load_prices().table
    told = {
        **{c["name"]: (c["value"], c["unit"], c["kind"]) for c in ASCEND_310P3.constants()},
        **{name: (p.value, p.unit, p.kind) for name, p in prices.items()},
    }
    listed = {row[0]: row[1:] for row in rows if len(row) == 4}
    for name, (value, unit, kind) in told.items():
        shown, *rest = listed[f"`{name}`"]
        assert float(shown) == pytest.approx(value, rel=1e-3), name
        assert rest == [unit, kind], name
