"""The command bench: both backends in one table, its JSON as documented, and what goes wrong."""

from __future__ import annotations

import re
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx.parser
import pytest

from pipeline.bench import Case, sweep
from pipeline.errors import PipelineError
from pipeline.published import published
from tests.ascend.standins.ais_bench.om import ROWS, write_om
from tests.ascend.standins.toolkit import STANDINS, make_toolkit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Call = Callable[..., Any]

DOCUMENTED = Path(__file__).parents[3] / "docs" / "bench.md"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(ROWS), tmp_path / "rows.onnx")
    return tmp_path / "rows.onnx"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Make ais_bench known to this Python, which the returned option names."""
    monkeypatch.setenv("PYTHONPATH", str(STANDINS))
    return ("--python", sys.executable)


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    """Return the name that stands for rows_bs1.om and rows_bs4.om."""
    for batch in (1, 4):
        write_om(tmp_path / f"rows_bs{batch}.om", {"x": [batch, 4]})
    return tmp_path / "rows.om"


def check(row: dict[str, Any], repeat: int) -> None:
    """Check what the figures of a row have to do with each other."""
    assert len(row["mean_ms"]) == repeat
    assert row["ms"] == statistics.median(row["mean_ms"])
    assert [row["ms_min"], row["ms_max"]] == [min(row["mean_ms"]), max(row["mean_ms"])]
    assert row["fps"] == pytest.approx(1000 * row["batch"] / row["ms"])
    assert row["fps_min"] <= row["fps"] <= row["fps_max"]


class TestJson:
    def test_both_backends_stand_in_one_report(
        self, call: Call, standin: list[str], compiled: Path, model: Path, tmp_path: Path
    ) -> None:
        toolkit = make_toolkit(tmp_path / "Ascend")
        report = call(
            *("bench", compiled, model, "--batch", "1,4", "--repeat", 2, "--loop", 5, "--json"),
            *("--toolkit", toolkit, "--published", "starnet", *standin),
        ).document
        rows = report["rows"]
        assert [row["model"] for row in rows] == ["rows_bs1.om", "rows_bs4.om", *["rows.onnx"] * 2]
        assert [row["batch"] for row in rows] == [1, 4, 1, 4]
        assert [row["on_device"] for row in rows] == [True, True, False, False]
        assert rows[0]["hardware"].startswith("310P3, device 0")
        assert rows[2]["hardware"].startswith("CPU (")
        assert rows[2]["hardware"].endswith("NOT a device figure")
        for row in rows:
            check(row, 2)
            assert row["loop"] == 5
            assert row["ratio"] == pytest.approx(row["fps"] / row["published_fps"])
        assert rows[1]["published_fps"] == 1252.858

    def test_the_keys_are_those_that_are_documented(self, call: Call, model: Path) -> None:
        report = call("bench", model, "--batch", 1, "--published", "starnet", "--json").document
        text = DOCUMENTED.read_text()
        top, row = re.split(r"^A row:", text, flags=re.MULTILINE)
        for part, keys in ((top, report), (row, report["rows"][0])):
            first = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
            assert sorted(re.findall(r"`(\w+)`", " ".join(first))) == sorted(keys)
        assert report["schema"] in text
        assert all(f"`{key}`" in row for key in report["published"])

    def test_a_batch_that_nobody_published_has_no_ratio(self, call: Call, model: Path) -> None:
        report = call("bench", model, "--batch", 3, "--published", "starnet", "--json").document
        assert (report["rows"][0]["published_fps"], report["rows"][0]["ratio"]) == (None, None)

    def test_a_name_stands_for_all_its_batches(
        self, call: Call, standin: list[str], compiled: Path
    ) -> None:
        report = call("bench", compiled, "--repeat", 1, "--loop", 1, "--json", *standin).document
        assert [row["batch"] for row in report["rows"]] == [1, 4]
        assert report["published"] is None

    def test_gears_of_one_model_are_measured_one_by_one(
        self, call: Call, standin: list[str], tmp_path: Path
    ) -> None:
        model = write_om(
            tmp_path / "rows.om", {"x": [4, 4]}, gears={"dynamic_batch_size": [[1], [4]]}
        )
        command = ("bench", model, "--gears", "--batch", "1,4", "--repeat", 1, "--loop", 1)
        report = call(*command, "--json", *standin).document
        assert [(row["model"], row["batch"]) for row in report["rows"]] == [
            ("rows.om", 1),
            ("rows.om", 4),
        ]


class TestTable:
    def test_each_row_says_what_it_was_measured_on(
        self, call: Call, standin: list[str], compiled: Path, model: Path, tmp_path: Path
    ) -> None:
        toolkit = make_toolkit(tmp_path / "Ascend")
        command = ("bench", compiled, model, "--batch", 4, "--repeat", 1, "--loop", 1)
        text = call(*command, "--toolkit", toolkit, "--published", "starnet", *standin).out
        (device,) = (line for line in text.splitlines() if line.startswith("rows_bs4.om"))
        (cpu,) = (line for line in text.splitlines() if line.startswith("rows.onnx"))
        assert "310P3" in device
        assert "CPU, NOT a device figure" in cpu
        assert "not measured here. Source: ACL_PyTorch/" in text


class TestRefuses:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            pytest.param(["--batch", "0"], "no list of batch sizes", id="batch 0"),
            pytest.param(["--batch", "1;2"], "no list of batch sizes", id="another separator"),
            pytest.param(["--published", "starnett"], "did you mean 'starnet'?", id="a name"),
        ],
    )
    def test_options(self, refused: Call, model: Path, options: list[str], message: str) -> None:
        assert message in refused("bench", model, *options)

    def test_a_batch_that_was_not_compiled(self, refused: Call, compiled: Path) -> None:
        assert "for batch 8 (there: 1, 4)" in refused("bench", compiled, "--batch", "1,8")

    def test_a_batch_that_the_model_does_not_take(self, refused: Call, tmp_path: Path) -> None:
        fixed = ROWS.replace("float[N,", "float[4,")
        onnx.save(onnx.parser.parse_model(fixed), tmp_path / "fixed.onnx")
        message = refused("bench", tmp_path / "fixed.onnx", "--batch", "4,8")
        assert "runs at batch 4 only, not at 8" in message

    def test_gears_without_a_batch(self, refused: Call, compiled: Path) -> None:
        assert "needs --batch" in refused("bench", compiled, "--gears")

    def test_a_name_that_tells_another_batch(
        self, refused: Call, standin: list[str], tmp_path: Path
    ) -> None:
        model = write_om(tmp_path / "rows_bs8.om", {"x": [4, 4]})
        command = ("bench", model, "--repeat", 1, "--loop", 1, *standin)
        assert "ran at batch 4, not at 8 as its name says" in refused(*command)


class TestSweep:
    def case(self, name: str, log: list[str], times: Iterator[float]) -> Case:
        def measure() -> tuple[float, int | None]:
            log.append(name)
            return next(times), None

        return Case(name, "onnxruntime", "CPU", 8, 1, measure)

    def test_cases_take_turns_and_the_median_counts(self) -> None:
        log: list[str] = []
        seen: list[tuple[int, int]] = []
        cases = [
            self.case("a", log, iter([5.0, 1.0, 2.0])),
            self.case("b", log, iter([4.0, 4.0, 8.0])),
        ]
        rows = sweep(cases, 3, lambda *done: seen.append(done))
        assert log == ["a", "b"] * 3
        assert [row.ms for row in rows] == [2.0, 4.0]
        assert rows[1].fps(rows[1].ms) == 2000
        assert seen == [(number, 6) for number in range(1, 7)]

    def test_a_batch_that_nobody_tells_is_refused(self) -> None:
        case = Case("net.om", "ais_bench", "310P3", None, 1, lambda: (1.0, None))
        with pytest.raises(PipelineError, match="tells its batch size neither"):
            sweep([case], 1)


def test_the_published_figures_are_the_guides() -> None:
    figures = published("starnet").fps
    assert figures == {
        1: 356.369,
        4: 1252.858,
        8: 1930.678,
        16: 2518.828,
        32: 2608.216,
        64: 2617.897,
    }
