from __future__ import annotations

from typing import Any

import pytest

from ascend.errors import AscendError
from ascend.op_support.query import Operator, Tensor, Verdict
from ascend.op_support.table import OpSupport

X = (8, 3, 32, 100)
SAMPLED = {"mode": "bilinear", "padding_mode": "zeros"}


def floats(*shapes: tuple[int, ...], dtype: str = "float32") -> tuple[Tensor, ...]:
    return tuple(Tensor(dtype, shape) for shape in shapes or (X,))


def ask(
    name: str,
    inputs: tuple[Tensor | None, ...] = floats(),
    cann: str = "8.1.RC1",
    opset: int = 16,
    soc: str = "Ascend310P3",
    **fields: Any,  # noqa: ANN401  fields of an operator
) -> Verdict:
    return OpSupport(cann, soc).verdict(Operator(name, opset, inputs=inputs, **fields))


def sampled(cann: str, opset: int, *inputs: Tensor | None, **attributes: Any) -> Verdict:  # noqa: ANN401
    given = inputs or floats(X, (8, 32, 100, 2))
    return ask("GridSample", given, cann, opset, attributes={**SAMPLED, **attributes})


@pytest.mark.parametrize(
    ("cann", "opset", "answer", "certainty"),
    [
        pytest.param("5.0.4.6", 11, "refused", "documented", id="not in the list of 5.0.4.6"),
        pytest.param("5.1.RC1", 11, "unknown", "unverified", id="listed later, seen later"),
        pytest.param("6.0.RC1", 11, "parsed", "source", id="observed in graphs of opset 11"),
        pytest.param("6.0.RC1", 12, "unknown", "source", id="not observed in others"),
        pytest.param("6.0.1", 11, "parsed", "unverified", id="observed in an older version"),
        pytest.param("7.0.0", 16, "unknown", "unverified", id="nothing known of 7.0.0 and 16"),
        pytest.param("8.0.0", 16, "parsed", "documented", id="listed, engine unknown"),
        pytest.param("8.0.0", 13, "unknown", "unverified", id="a newer one refuses that opset"),
        *(
            pytest.param("8.1.RC1", opset, "refused", "source", id=f"opset {opset} not registered")
            for opset in (10, 12, 13, 14, 15, 19, 20)
        ),
        *(
            pytest.param("8.1.RC1", opset, "AI Core", "source", id=f"opset {opset} registered")
            for opset in (11, 16, 17, 18)
        ),
        pytest.param("8.2.RC1", 16, "AI Core", "unverified", id="8.1 answers for a later version"),
        pytest.param("8.2.RC1", 19, "unknown", "unverified", id="a later one may take more opsets"),
    ],
)
def test_grid_sample_by_version_and_opset(
    cann: str, opset: int, answer: str, certainty: str
) -> None:
    verdict = sampled(cann, opset)
    assert (verdict.answer, verdict.certainty) == (answer, certainty)
    assert verdict.source
    assert verdict.reason


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        pytest.param({"mode": "bicubic"}, "AI Core", id="bicubic"),
        pytest.param({"padding_mode": "border"}, "AI Core", id="border"),
        pytest.param({"padding_mode": "reflection"}, "AI Core", id="reflection"),
        pytest.param({"mode": "nearest"}, "AI CPU", id="nearest"),
        pytest.param({"mode": ""}, "AI CPU", id="an empty mode"),
        pytest.param({"mode": "linear"}, "AI CPU", id="spelled as in opset 20"),
        pytest.param({"padding_mode": ""}, "AI CPU", id="an empty padding_mode"),
    ],
)
def test_grid_sample_by_attributes(change: dict[str, str], answer: str) -> None:
    assert sampled("8.1.RC1", 16, **change).answer == answer


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        pytest.param(Tensor("float16", X), "AI CPU", id="float16"),
        pytest.param(Tensor("float64", X), "AI CPU", id="float64"),
        pytest.param(Tensor("float32", (1, 2, 3, 4, 5)), "AI CPU", id="rank 5"),
        pytest.param(Tensor("float32", (None, None, 4, 4)), "AI Core", id="dynamic sizes"),
        pytest.param(Tensor("float32"), "parsed", id="rank not known"),
        pytest.param(Tensor(None, X), "parsed", id="dtype not known"),
    ],
)
def test_grid_sample_by_data(data: Tensor, answer: str) -> None:
    assert sampled("8.1.RC1", 16, data).answer == answer


def test_grid_sample_of_one_channel_needs_no_other_layout() -> None:
    assert "NHWC" in sampled("8.1.RC1", 16).reason
    assert "NHWC" not in sampled("8.1.RC1", 16, Tensor("float32", (8, 1, 32, 100))).reason


@pytest.mark.parametrize("cann", ["5.0.4.6", "6.0.RC1", "6.0.1", "7.0.0", "8.0.0"])
def test_no_engine_is_known_before_8_1(cann: str) -> None:
    for name in ("Conv", "Add", "Gather", "AffineGrid", "ScatterElements"):
        verdict = ask(name, cann=cann, opset=11)
        assert verdict.answer == "parsed"
        assert f"not known for CANN {cann}" in verdict.reason


def test_no_engine_is_known_of_a_chip_that_is_not_in_the_table() -> None:
    verdict = ask("Conv", soc="Ascend910A")
    assert (verdict.answer, verdict.why) == ("parsed", "no data")


@pytest.mark.parametrize(
    ("name", "dtype", "answer"),
    [
        ("Floor", "float32", "AI Core"),
        ("Floor", "float64", "AI CPU"),
        ("Add", "float64", "AI CPU"),
        ("Add", "int32", "AI Core"),
        ("Add", "int64", "parsed"),
        ("HardSwish", "float64", "refused"),
        ("Expand", "int64", "AI CPU"),
        ("Expand", "int32", "AI Core"),
        ("Mod", "int64", "AI CPU"),
        ("Mod", "int32", "AI Core"),
        ("MaxPool", "float32", "AI Core"),
        ("MaxPool", "int8", "AI CPU"),
        ("AveragePool", "float16", "AI Core"),
        ("LSTM", "float32", "AI Core"),
        ("LSTM", "float64", "refused"),
        ("GRU", "float16", "AI Core"),
        ("TopK", "float32", "AI Core"),
        ("TopK", "int32", "AI CPU"),
        ("ScatterND", "float32", "AI Core"),
        ("ScatterND", "int32", "AI CPU"),
        ("ScatterElements", "float32", "AI CPU"),
        ("AffineGrid", "float32", "AI CPU"),
        ("IsNaN", "float32", "AI CPU"),
        ("Unique", "float32", "AI CPU"),
        ("Einsum", "float32", "unknown"),
        ("Sin", "float32", "parsed"),
        ("Conv", None, "parsed"),
        ("CastLike", "float32", "refused"),
    ],
)
def test_engine_by_dtype(name: str, dtype: str | None, answer: str) -> None:
    assert ask(name, (Tensor(dtype, (4, 4)),)).answer == answer


@pytest.mark.parametrize("name", ["MaxPool", "AveragePool"])
def test_what_is_kept_float32_misses_kernels_for_float16(name: str) -> None:
    verdict = ask(name, keep_float32=True)
    assert verdict.answer == "AI CPU"
    assert "float32 (kept)" in verdict.reason


def test_lstm_that_is_kept_float32_has_no_kernel() -> None:
    verdict = ask("LSTM", floats(X, X, X), keep_float32=True)
    assert (verdict.answer, verdict.why) == ("refused", "no kernel")


def test_float16_where_the_kernel_has_float32_is_not_judged() -> None:
    model16 = (*floats(X, dtype="float16"), *floats((3,), dtype="float16"))
    assert ask("BatchNormalization", model16).answer == "parsed"
    assert ask("BatchNormalization", floats(X, (3,))).answer == "AI Core"


def test_cast_is_judged_by_both_ends() -> None:
    assert ask("Cast", outputs=floats(X, dtype="int64")).answer == "AI Core"
    assert ask("Cast", outputs=floats(X, dtype="float64")).answer == "AI CPU"


@pytest.mark.parametrize(
    ("name", "opset", "answer", "why"),
    [
        ("LayerNormalization", 16, "refused", "opset"),
        ("LayerNormalization", 17, "AI Core", "kernel"),
        ("ReduceL2", 18, "refused", "opset"),
        ("Conv", 19, "refused", "opset"),
        ("Add", 19, "refused", "opset range"),
        ("Add", 18, "AI Core", "kernel"),
        ("AscendQuant", 20, "parsed", "no data"),
    ],
)
def test_the_models_opset_decides(name: str, opset: int, answer: str, why: str) -> None:
    verdict = ask(name, opset=opset)
    assert (verdict.answer, verdict.why) == (answer, why)


@pytest.mark.parametrize(
    ("cann", "opset", "answer", "certainty"),
    [
        ("5.0.4.6", 13, "parsed", "documented"),
        ("5.0.4.6", 14, "refused", "documented"),
        ("5.1.RC1", 13, "parsed", "unverified"),
        ("5.1.RC1", 14, "refused", "unverified"),
        ("6.1.RC1", 14, "unknown", "unverified"),
        ("7.0.0", 18, "parsed", "unverified"),
        ("7.0.0", 19, "refused", "documented"),
        ("9.0.0", 19, "unknown", "unverified"),
    ],
)
def test_a_version_between_takes_what_both_neighbours_agree_on(
    cann: str, opset: int, answer: str, certainty: str
) -> None:
    verdict = ask("Add", cann=cann, opset=opset)
    if answer == "parsed":
        assert verdict.answer in {"parsed", "AI Core"}
    else:
        assert verdict.answer == answer
    assert verdict.certainty == certainty


def test_a_version_older_than_all_data_is_not_guessed() -> None:
    assert ask("Add", cann="3.1", opset=11).answer == "unknown"
    assert ask("GridSample", cann="3.1", opset=11).answer == "refused"


def test_only_if_has_sub_graphs() -> None:
    for name in ("Loop", "Scan", "SequenceMap"):
        verdict = ask(name, has_subgraphs=True)
        assert (verdict.answer, verdict.why) == ("refused", "sub-graph")
    assert ask("If", floats(dtype="bool"), has_subgraphs=True).answer == "parsed"


def test_a_custom_domain_needs_a_plugin() -> None:
    verdict = ask("grid_sampler", domain="mmcv", opset=1)
    assert (verdict.answer, verdict.why) == ("refused", "domain")
    assert "mmcv::1::grid_sampler" in verdict.reason
    assert ask("Conv", domain="ai.onnx").answer == "AI Core"


@pytest.mark.parametrize("cann", ["", "8", "latest", "8.1.RC", "8.1.RC1\n", "8.1.٣", "1." * 99])
def test_refuses_what_is_no_version(cann: str) -> None:
    with pytest.raises(AscendError, match=r"is not one; it is written as 8\.1\.RC1"):
        OpSupport(cann, "Ascend310P3")
