from __future__ import annotations

import re

import pytest

from onnx_passes.report.comparison import Histogram
from onnx_passes.report.plots import HEIGHT, MAX_MARKS, WIDTH, Mark, error_plot, histogram_plot


def mark(position: int, value: float, *, diverges: bool = False) -> Mark:
    return Mark(position, value, None, diverges, f"tensor {position}")


def heights(svg: str) -> list[float]:
    return [float(y) for y in re.findall(r'<circle class="dot" cx="[\d.]+" cy="([\d.]+)"', svg)]


def test_a_greater_error_is_drawn_higher_and_zero_on_the_base_line() -> None:
    zero, small, large, infinite = heights(
        error_plot([mark(i, v) for i, v in enumerate([0.0, 1e-7, 1e-3, float("inf")])], "errors")
    )
    assert zero > small > large > infinite
    assert ">0</text>" in error_plot([mark(0, 0.0)], "errors")
    assert ">inf</text>" in error_plot([mark(0, float("inf"))], "errors")


def test_what_rounding_explains_is_a_line_where_it_is_known_and_finite() -> None:
    roundings = [None, 1e-7, 1e-5, float("inf")]
    svg = error_plot([Mark(i, 1e-6, r, False, "") for i, r in enumerate(roundings)], "errors")
    (points,) = re.findall(r'class="rounding" points="([^"]*)"', svg)
    (_, low), (_, high) = (map(float, point.split(",")) for point in points.split())
    assert heights(svg)[0] == pytest.approx((low + high) / 2, abs=0.2)


def test_a_decade_is_as_high_as_any_other() -> None:
    a, b, c = heights(error_plot([mark(i, 10.0**-i) for i in range(3)], "errors"))
    assert b - a == pytest.approx(c - b, abs=0.2)


def test_a_diverging_tensor_has_a_shape_of_its_own() -> None:
    svg = error_plot([mark(0, 1e-7), mark(1, 1e-3, diverges=True)], "errors")
    assert svg.count("<circle") == 1
    assert svg.count("<polygon") == 1
    assert "tensor 1" in svg.split("<polygon")[1]


def test_thousands_of_tensors_keep_the_greatest_of_each_neighbourhood() -> None:
    marks = [mark(i, 1e-7) for i in range(10_000)]
    marks[5_001] = mark(5_001, 1e-2)
    marks[7_777] = mark(7_777, 1e-9, diverges=True)
    svg = error_plot(marks, "errors")
    assert svg.count("<circle") + svg.count("<polygon") <= MAX_MARKS
    assert "tensor 5001<" in svg
    assert "tensor 7777<" in svg


@pytest.mark.parametrize("values", [[], [0.0], [float("inf")], [5e-324], [1e308, 1e-308]])
def test_any_errors_stay_inside_the_drawing(values: list[float]) -> None:
    svg = error_plot([mark(i, value) for i, value in enumerate(values)], "errors")
    assert all(0 <= float(x) <= WIDTH for x in re.findall(r' c?x[12]?="([\d.-]+)"', svg))
    assert all(0 <= float(y) <= HEIGHT for y in re.findall(r' c?y[12]?="([\d.-]+)"', svg))


class TestHistogram:
    histogram = Histogram("y", 10, 3, 0, (1e-6, 1e-5, 1e-4, 1e-3), (1, 0, 6))

    def test_has_a_bar_for_each_filled_bin(self) -> None:
        svg = histogram_plot(self.histogram, None, "differences")
        assert svg.count("<rect") == 2
        low, high = (float(h) for h in re.findall(r'<rect.*?height="([\d.]+)"', svg))
        assert high == pytest.approx(6 * low, rel=0.01)
        assert "limit" not in svg
        assert "limit" not in histogram_plot(self.histogram, float("inf"), "differences")

    @pytest.mark.parametrize("limit", [1e-9, 3e-5, 10.0])
    def test_draws_the_limit_wherever_it_lies(self, limit: float) -> None:
        svg = histogram_plot(self.histogram, limit, "differences")
        (x,) = (float(x) for x in re.findall(r'class="limit" x1="([\d.]+)"', svg))
        bars = [float(b) for b in re.findall(r'<rect class="bar" x="([\d.]+)"', svg)]
        assert 0 <= x <= WIDTH
        assert [x > bar for bar in bars] == [limit > 1e-6, limit > 1e-4]
