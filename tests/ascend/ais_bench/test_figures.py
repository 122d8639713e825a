"""The lines and summaries of both generations; and whatever else a file may hold."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.ais_bench.figures import Figures, parse_log, parse_summary, read_figures

if TYPE_CHECKING:
    from pathlib import Path

TIMES = {"min": 2.1, "max": 3.5, "mean": 2.456, "median": 2.4, "percentile(99%)": 3.4}
SUMMARY = json.dumps({"filesinfo": {}, "NPU_compute_time": TIMES, "throughput": 407.166})
LINE = (
    "[INFO] NPU_compute_time (ms): min = 2.1, max = 3.5, mean = 2.456, median = 2.4, "
    "percentile(99%) = 3.4\n"
)
NEW = "[INFO] throughput 1000*batchsize.mean(1)/NPU_compute_time.mean(2.456): 407.166"
OLD = "[INFO] throughput 1000*batchsize(16)/NPU_compute_time.mean(10.3489): 1546.055"


@pytest.mark.parametrize(
    ("line", "batch", "mean", "throughput"),
    [
        pytest.param(NEW, 1, 2.456, 407.166, id="the form of today"),
        pytest.param(OLD, 16, 10.3489, 1546.055, id="the form of 2022"),
        pytest.param(
            "1000*batchsize(8)\nthroughput 1000*batchsize(8)/NPU_compute_time.mean(1e-3): 8e+6",
            8,
            0.001,
            8e6,
            id="with an exponent",
        ),
    ],
)
def test_a_throughput_line_gives_batch_mean_and_speed(
    line: str, batch: float, mean: float, throughput: float
) -> None:
    found = parse_log(f"something\n{line}\nsomething")
    assert (found.batch, found.mean_ms, found.throughput) == (batch, mean, throughput)


def test_a_line_of_times_gives_all_five() -> None:
    found = parse_log(LINE + NEW)
    times = (found.min_ms, found.max_ms, found.mean_ms, found.median_ms, found.percentile_99_ms)
    assert times == (2.1, 3.5, 2.456, 2.4, 3.4)


def test_the_last_of_several_lines_counts() -> None:
    assert parse_log(f"{OLD}\n{NEW}").batch == 1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("throughput 1000*batchsize(.)/NPU_compute_time.mean(-): e", id="no numbers"),
        pytest.param(
            "throughput 1000*batchsize(0)/NPU_compute_time.mean(1e999): 1e-999", id="not positive"
        ),
        pytest.param("NPU_compute_time (ms): mean = nan, max = ++", id="times that are none"),
    ],
)
def test_what_is_not_a_number_above_0_is_none(text: str) -> None:
    assert parse_log(text) == Figures()


def test_a_summary_gives_times_and_speed() -> None:
    assert parse_summary(SUMMARY) == Figures(2.456, 2.1, 3.5, 2.4, 3.4, None, 407.166)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("run_summary.json", id="beside the folder"),
        pytest.param("run/sumary.json", id="inside the folder, as in 2022"),
    ],
)
def test_the_summary_goes_before_the_log_and_the_log_completes_it(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / name).write_text(SUMMARY)
    found = read_figures(tmp_path / "run", OLD)
    assert (found.mean_ms, found.batch, found.throughput) == (2.456, 16, 407.166)


def test_without_a_summary_the_log_is_read(tmp_path: Path) -> None:
    assert read_figures(tmp_path / "run", NEW).mean_ms == 2.456


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["NPU_compute_time", "mean", "min", "throughput"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


def sane(found: Figures) -> bool:
    numbers = [value for value in vars(found).values() if value is not None]
    return all(math.isfinite(value) and value > 0 for value in numbers)


@given(ANY_JSON)
def test_any_json_is_read_without_an_error(document: object) -> None:
    assert sane(parse_summary(json.dumps(document)))


@given(st.text() | st.just("[" * 100_000) | st.just('{"throughput": ' + "9" * 5000 + "}"))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert sane(parse_summary(text))
    assert sane(parse_log(text))


@given(st.lists(st.sampled_from([LINE, NEW, OLD, "(", ")", ".", "e", "1", "/", "= ", ","])))
def test_torn_lines_are_read_without_an_error(parts: list[str]) -> None:
    assert sane(parse_log("".join(parts)))
