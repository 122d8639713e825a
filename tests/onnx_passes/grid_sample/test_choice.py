"""What ``auto`` chooses, why, and how many points it treats at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import UsageError
from onnx_passes.grid_sample.choice import AI_CPU_DATA_BYTES, choose
from onnx_passes.grid_sample.problem import Problem
from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample

if TYPE_CHECKING:
    from onnx_passes.grid_sample.problem import Mode, Padding
    from tests.onnx_passes.grid_sample.conftest import Case, Sampling


def problem(
    x: tuple[int | None, ...],
    grid: tuple[int | None, ...],
    mode: Mode = "linear",
    padding: Padding = "zeros",
) -> Problem:
    return Problem(
        mode=mode,
        padding=padding,
        align_corners=False,
        spatial=len(x) - 2,
        x_dtype=ir.DataType.FLOAT,
        x_dims=x,
        grid_dims=grid,
        compute=ir.DataType.FLOAT,
    )


STARNET = problem((1, 3, 32, 100), (1, 32, 100, 2))
MAP = problem((1, 64, 120, 160), (1, 120, 160, 2))
BIRDS_EYE = problem((6, 256, 16, 44), (6, 40000, 1, 2))
VOLUME = problem((1, 32, 16, 64, 64), (1, 16, 64, 64, 3))


@pytest.mark.parametrize(
    ("node", "target", "form", "reason"),
    [
        pytest.param(STARNET, "cpu", "elements", "3 channels", id="few channels"),
        pytest.param(MAP, "cpu", "rows", "64 channels", id="many channels"),
        pytest.param(
            problem((1, None, 8, 8), (1, 9, 9, 2)), "cpu", "rows", "dynamic", id="unknown channels"
        ),
        pytest.param(STARNET, "ascend310p", "elements", "stays on AI Core", id="a small picture"),
        pytest.param(MAP, "ascend310p", "rows", "fall to AI CPU", id="a picture over the limit"),
        pytest.param(
            problem((None, 3, 32, 100), (None, 32, 100, 2)),
            "ascend310p",
            "rows",
            "may fall to AI CPU",
            id="a dynamic batch on Ascend",
        ),
        pytest.param(
            problem((1, 64, 120, 160), (1, 1, 31, 2)),
            "ascend310p",
            "elements",
            "1984 elements",
            id="few points on a large picture",
        ),
    ],
)
def test_auto(node: Problem, target: str, form: str, reason: str) -> None:
    choice = choose(node, "auto", target, 0, 0)
    assert choice.form == form
    assert reason in choice.reason


def test_the_limit_of_gather_elements_counts_the_frame() -> None:
    bare = problem((1, 3, 500, 512), (1, 64, 64, 2), padding="border")
    framed = problem((1, 3, 500, 512), (1, 64, 64, 2))
    assert bare.table_bytes == 3 * 500 * 512 * 4
    assert framed.table_bytes == 3 * 504 * 516 * 4 >= AI_CPU_DATA_BYTES
    just_below = problem((1, 3, 496, 511), (1, 64, 64, 2), padding="border")
    assert choose(just_below, "auto", "ascend310p", 0, 0).form == "elements"


@pytest.mark.parametrize(
    ("node", "chunk"),
    [
        pytest.param(STARNET, 0, id="elements are not cut"),
        pytest.param(MAP, 38 * 160, id="whole rows of the output"),
        pytest.param(BIRDS_EYE, 1536, id="rows of one point"),
        pytest.param(VOLUME, 2048, id="less than a slice of a volume"),
        pytest.param(
            problem((1, 32, 16, 64, 64), (1, 16, 32, 32, 3)), 2048, id="whole slices of a volume"
        ),
        pytest.param(problem((1, 64, 20, 20), (1, 20, 20, 2)), 0, id="little enough for one run"),
        pytest.param(problem((1, 64, 20, 20), (1, None, 20, 2)), 0, id="a dynamic output"),
    ],
)
def test_rows_on_a_cpu_are_cut_to_fit_the_cache(node: Problem, chunk: int) -> None:
    assert choose(node, "auto", "cpu", 0, 0).chunk == chunk


@pytest.mark.parametrize(
    ("node", "target", "fetch"),
    [
        pytest.param(VOLUME, "cpu", "GatherND", id="a volume on a CPU"),
        pytest.param(VOLUME, "ascend310p", "Gather", id="a volume on Ascend"),
        pytest.param(BIRDS_EYE, "cpu", "Gather", id="a map on a CPU"),
    ],
)
def test_what_fetches_a_row(node: Problem, target: str, fetch: str) -> None:
    assert choose(node, "auto", target, 0, 0).fetch == fetch


def test_max_bytes_bounds_a_run() -> None:
    choice = choose(BIRDS_EYE, "rows", "ascend310p", 0, 64 << 20)
    assert choice.chunk == (64 << 20) // (6 * 256 * 4 * 10)


def test_max_bytes_says_where_it_cannot_help() -> None:
    choice = choose(problem((1, 3, 8, 8), (1, None, 9, 2)), "rows", "cpu", 0, 1 << 20)
    assert (choice.chunk, choice.reason) == (0, "max_bytes cannot bound a dynamic number of points")


def test_max_bytes_bounds_what_the_model_holds(sampling: Sampling, case: type[Case]) -> None:
    x, grid = np.zeros((2, 8, 6, 7), np.float32), np.zeros((2, 30, 40, 2), np.float32)
    model = case("linear", "border", 0).model(x, grid)
    for limit in (50_000, 200_000):
        item = DecomposeGridSample(form="elements", max_bytes=limit)
        rewritten = sampling.rewrite(model, item)
        fetched = {n.output[0] for n in rewritten.graph.node if n.op_type == "GatherElements"}
        sizes = [
            4 * np.prod([dim.dim_value for dim in value.type.tensor_type.shape.dim])
            for value in rewritten.graph.value_info
            if value.name in fetched
        ]
        assert len(sizes) == len(fetched)
        assert max(sizes) * 10 <= limit


def test_the_note_says_form_runs_and_reason(case: type[Case]) -> None:
    x, grid = np.zeros((1, 64, 8, 8), np.float32), np.zeros((1, 200, 200, 2), np.float32)
    loaded = ir.from_proto(case().model(x, grid))
    (note,) = DecomposeGridSample().run(loaded).rewritten
    assert note.text.startswith("form rows in runs of 6000 points, ")
    assert note.text.endswith(" nodes: one row holds 64 channels")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"form": "fast"}, "option form is 'fast', expected one of auto", id="form"),
        pytest.param({"zeros": "minus"}, "option zeros is 'minus'", id="zeros"),
        pytest.param({"target": "910b"}, "option target is '910b'", id="target"),
        pytest.param({"chunk": -1}, "option chunk is -1, expected 0 or more", id="chunk"),
    ],
)
def test_refuses_an_option_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DecomposeGridSample(**options)


@pytest.mark.parametrize(("mode", "padding"), [("cubic", "zeros"), ("linear", "reflection")])
def test_tent_refuses(case: type[Case], mode: str, padding: str) -> None:
    x, grid = np.zeros((1, 2, 8, 8), np.float32), np.zeros((1, 3, 3, 2), np.float32)
    model = ir.from_proto(case(mode, padding, 0).model(x, grid))
    result = DecomposeGridSample(form="tent").run(model)
    assert result.rewritten == []
    (note,) = result.skipped
    assert note.text == f"form tent cannot do {mode} with {padding}; use form auto"
