"""Runs of ais_bench: the real driver, a stand-in program, real arithmetic and real files."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ascend.ais_bench.files import list_inputs
from ascend.ais_bench.runner import AisBench, Inference, Job, find_ais_bench, infer, measure
from ascend.errors import AscendError, MissingToolError, ToolFailedError
from tests.ascend.standins.ais_bench.om import PAIR, write_om
from tests.ascend.standins.toolkit import STANDINS, make_toolkit

if TYPE_CHECKING:
    from collections.abc import Callable

ROW_BYTES = 16  # float32 [1, 4]
GENERATIONS = ("2022", "2024")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> AisBench:
    """Return the stand-in, as a toolkit's environment makes it known to this Python."""
    monkeypatch.setenv("PYTHONPATH", str(STANDINS))
    return AisBench((sys.executable, "-m", "ais_bench"), sys.executable, os.environ)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a folder of 11 files; file n is the row [n, n, n, n]."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(11):
        np.full(4, number, np.float32).tofile(folder / f"img_{number}.bin")
    return folder


@pytest.fixture
def run(tool: AisBench, rows: Path, tmp_path: Path) -> Callable[..., Inference]:
    """Return ``run(batch)``: infer the rows with a model of that batch, into ``out``."""

    def go(compiled: int, **job: object) -> Inference:
        model = write_om(tmp_path / f"rows_bs{compiled}.om", {"x": [compiled, 4]})
        (tmp_path / "out").mkdir(exist_ok=True)
        asked = Job(model, **job)  # type: ignore[arg-type]
        return infer(tool, asked, list_inputs([rows]), tmp_path / "out", tmp_path / "log")

    return go


class TestInfer:
    @pytest.mark.parametrize("batch", [1, 4, 11, 16])
    def test_every_file_gets_its_own_result(
        self, run: Callable[..., Inference], tmp_path: Path, batch: int
    ) -> None:
        done = run(batch)
        assert (done.files, done.items_per_run) == (11, batch)
        assert done.result_bytes == {0: 4, 1: ROW_BYTES}
        assert len(list((tmp_path / "out").iterdir())) == 22
        for number in range(11):
            assert np.fromfile(tmp_path / f"out/img_{number}_0.bin", np.float32) == 4 * number
            same = np.fromfile(tmp_path / f"out/img_{number}_1.bin", np.float32)
            assert (same == number).all()

    @pytest.mark.parametrize("generation", GENERATIONS)
    def test_the_times_of_both_generations_are_read(
        self, run: Callable[..., Inference], monkeypatch: pytest.MonkeyPatch, generation: str
    ) -> None:
        monkeypatch.setenv("STANDIN_AIS_BENCH_GENERATION", generation)
        figures = run(4).figures
        assert all(value is not None for value in vars(figures).values())
        assert figures.batch == 4
        assert figures.throughput == pytest.approx(4000 / (figures.mean_ms or 0))

    def test_two_inputs_go_together(self, tool: AisBench, rows: Path, tmp_path: Path) -> None:
        model = write_om(tmp_path / "pair.om", {"a": [8, 2], "b": [8, 1]}, text=PAIR)
        for name, dtype, width in (("a", np.float32, 2), ("b", np.int64, 1)):
            (tmp_path / name).mkdir()
            for number in range(11):
                np.full(width, number, dtype).tofile(tmp_path / name / f"img_{number}.bin")
        (tmp_path / "out").mkdir()
        inputs = list_inputs([tmp_path / "a", tmp_path / "b"])
        infer(tool, Job(model), inputs, tmp_path / "out", tmp_path / "log")
        for number in range(11):
            found = np.fromfile(tmp_path / f"out/img_{number}_0.bin", np.float32)
            assert found.tolist() == [2 * number, 2 * number]

    def test_a_model_with_gears_runs_at_the_one_that_is_asked_for(
        self, tool: AisBench, rows: Path, tmp_path: Path
    ) -> None:
        model = write_om(
            tmp_path / "rows.om", {"x": [4, 4]}, gears={"dynamic_batch_size": [[1], [4]]}
        )
        (tmp_path / "out").mkdir()
        job = Job(model, batch=4, gears=True)
        done = infer(tool, job, list_inputs([rows]), tmp_path / "out", tmp_path / "log")
        assert done.result_bytes == {0: 4, 1: ROW_BYTES}
        assert done.figures.batch == 4

    def test_without_a_batch_gears_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(AscendError, match="several batches; say which"):
            _ = Job(tmp_path / "rows.om", gears=True).gear

    def test_a_session_that_does_not_describe_itself_is_no_obstacle(
        self, run: Callable[..., Inference], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_AIS_BENCH_NO_DESCRIPTION", "1")
        done = run(4, batch=4)
        assert (done.files, done.items_per_run) == (11, None)
        assert done.result_bytes == {0: 4, 1: ROW_BYTES}

    def test_the_output_is_passed_on_and_its_file_is_gone_afterwards(
        self, tool: AisBench, rows: Path, tmp_path: Path
    ) -> None:
        model = write_om(tmp_path / "rows.om", {"x": [1, 4]})
        (tmp_path / "out").mkdir()
        lines: list[str] = []
        log = tmp_path / "log"
        infer(tool, Job(model), list_inputs([rows]), tmp_path / "out", log, lines.append)
        assert any(line.startswith("[INFO] throughput 1000*batchsize") for line in lines)
        assert not log.exists()


class TestInferFails:
    @pytest.mark.parametrize(
        ("fail", "message"),
        [
            pytest.param("load-model", "load model from file failed.*compile it", id="load"),
            pytest.param("open-device", "acl open device 0 failed.*npu-smi", id="device"),
            pytest.param("crash", "SIGSEGV", id="crash"),
            pytest.param("exit", "status 9", id="a status after the work"),
            pytest.param("disk-full", "No space left on device.*make room", id="disk full"),
            pytest.param("partial", "14 of 22 results are missing: img_4_0.bin", id="results lost"),
            pytest.param("short", "another size than 4 bytes: img_0_0.bin", id="results cut"),
        ],
    )
    def test_in_one_sentence_and_keeps_what_was_printed(
        self,
        run: Callable[..., Inference],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        fail: str,
        message: str,
    ) -> None:
        monkeypatch.setenv("STANDIN_AIS_BENCH_FAIL", fail)
        with pytest.raises(ToolFailedError, match=message) as raised:
            run(4)
        assert list((tmp_path / "out").iterdir()) == []
        if "asking for the inputs" not in str(raised.value):
            assert f"output in {tmp_path / 'log'}" in str(raised.value)
            assert "load model" in (tmp_path / "log").read_text()

    def test_when_its_time_is_over(
        self, run: Callable[..., Inference], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_AIS_BENCH_FAIL", "hang")
        with pytest.raises(ToolFailedError, match=r"did not end within .* stopped"):
            run(4, timeout_s=4.0)

    def test_before_the_run_if_the_batch_is_another(self, run: Callable[..., Inference]) -> None:
        with pytest.raises(AscendError, match="takes 4 files a run, not 8"):
            run(4, batch=8)

    def test_before_the_run_if_the_files_do_not_fit(
        self, run: Callable[..., Inference], rows: Path
    ) -> None:
        for path in rows.iterdir():
            path.write_bytes(bytes(12))
        with pytest.raises(AscendError, match=r"has 12 bytes and the input .* takes 64"):
            run(4)

    def test_by_its_own_line_if_the_sizes_were_not_known(
        self, run: Callable[..., Inference], rows: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_AIS_BENCH_NO_DESCRIPTION", "1")
        for path in rows.iterdir():
            path.write_bytes(bytes(12))
        with pytest.raises(ToolFailedError, match="tensorsize: 64 filesize: 12 not match"):
            run(4)

    def test_with_the_line_that_tells_why_although_it_ended_well(
        self, run: Callable[..., Inference], rows: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_AIS_BENCH_NO_DESCRIPTION", "1")
        monkeypatch.setenv("STANDIN_AIS_BENCH_FAIL", "swallow")
        for path in rows.iterdir():
            path.write_bytes(bytes(12))
        with pytest.raises(ToolFailedError, match=r"11 of 11 results are missing.*filesize: 12"):
            run(4)

    def test_for_a_file_that_is_no_model(self, tool: AisBench, rows: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.om").write_bytes(b"STANDIN")
        job, inputs = Job(tmp_path / "cut.om"), list_inputs([rows])
        with pytest.raises(ToolFailedError, match="load model from file failed"):
            infer(tool, job, inputs, tmp_path, tmp_path / "log")


class TestMeasure:
    @pytest.mark.parametrize("generation", GENERATIONS)
    def test_a_mean_time_comes_back(
        self, tool: AisBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: str
    ) -> None:
        monkeypatch.setenv("STANDIN_AIS_BENCH_GENERATION", generation)
        model = write_om(tmp_path / "rows_bs4.om", {"x": [4, 4]})
        figures = measure(tool, Job(model), loop=5, warmup=2)
        assert figures.batch == 4
        assert 0 < (figures.min_ms or 0) <= (figures.mean_ms or 0) <= (figures.max_ms or 0)

    def test_without_a_time_it_fails_and_keeps_the_output(
        self, tool: AisBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_AIS_BENCH_FAIL", "mute")
        model = write_om(tmp_path / "rows_bs4.om", {"x": [4, 4]})
        with pytest.raises(ToolFailedError, match="told no NPU_compute_time") as raised:
            measure(tool, Job(model), loop=1, warmup=0)
        (log,) = re.findall(r"output in ([^)]+)\)", str(raised.value))
        assert "load model" in Path(log).read_text()


class TestFind:
    def test_the_toolkit_makes_it_known(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from ascend.toolkit import find_toolkit

        monkeypatch.delenv("PYTHONPATH", raising=False)
        toolkit = find_toolkit(make_toolkit(tmp_path))
        found = find_ais_bench(sys.executable, toolkit)
        assert found.launcher == (sys.executable, "-m", "ais_bench")
        assert str(STANDINS) in found.environ["PYTHONPATH"]

    def test_a_python_without_it_is_named_with_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        with pytest.raises(MissingToolError, match=f"in {re.escape(sys.executable)}.*--python"):
            find_ais_bench(sys.executable)

    def test_a_python_that_is_not_there_is_named(self) -> None:
        with pytest.raises(MissingToolError, match=r"no Python 'python3\.99'"):
            find_ais_bench("python3.99")

    def test_msit_takes_its_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Path
    ) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        msit = tmp_path / "bin" / "msit"
        msit.parent.mkdir()
        msit.write_text(
            f"#!/bin/sh\nPYTHONPATH={STANDINS} STANDIN_AIS_BENCH_SPELLING=dashed "
            f'exec {sys.executable} -m ais_bench "$@"\n'
        )
        msit.chmod(0o755)
        monkeypatch.setenv("PATH", str(msit.parent), prepend=os.pathsep)
        tool = find_ais_bench(sys.executable)
        assert tool.launcher == (str(msit), "benchmark")
        model = write_om(tmp_path / "rows.om", {"x": [4, 4]})
        (tmp_path / "out").mkdir()
        done = infer(tool, Job(model), list_inputs([rows]), tmp_path / "out", tmp_path / "log")
        assert (done.files, done.items_per_run) == (11, None)
