"""The command infer: an .onnx for real, an .om through the stand-in, and what goes wrong."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from tests.ascend.standins.ais_bench.om import PAIR, ROWS, write_om
from tests.ascend.standins.toolkit import STANDINS, make_toolkit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Call = Callable[..., Any]

FIXED = ROWS.replace("float[N,", "float[4,")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a folder of 11 files; file n is the row [n, n, n, n]."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for number in range(11):
        np.full(4, number, np.float32).tofile(folder / f"img_{number}.bin")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a model from its text."""

    def go(text: str) -> Path:
        onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return go


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Make ais_bench known to this Python, which the returned option names."""
    monkeypatch.setenv("PYTHONPATH", str(STANDINS))
    return ("--python", sys.executable)


def read(folder: Path, number: int) -> list[list[float]]:
    """Return both outputs of a file."""
    return [np.fromfile(folder / f"img_{number}_{k}.bin", np.float32).tolist() for k in (0, 1)]


def all_right(folder: Path) -> bool:
    return all(read(folder, number) == [[4.0 * number], [number] * 4] for number in range(11))


class TestOnTheCpu:
    @pytest.mark.parametrize(
        ("text", "batch"),
        [
            pytest.param(ROWS, [], id="open batch, one by one"),
            pytest.param(ROWS, ["--batch", "4"], id="open batch, in fours"),
            pytest.param(ROWS, ["--batch", "16"], id="open batch, more than there are"),
            pytest.param(FIXED, [], id="fixed batch"),
            pytest.param(FIXED, ["--batch", "4"], id="fixed batch, and said"),
        ],
    )
    def test_every_file_gets_its_own_results(
        self, call: Call, write: Call, rows: Path, tmp_path: Path, text: str, batch: list[str]
    ) -> None:
        answer = call("infer", write(text), "--inputs", rows, "--out", tmp_path / "out", *batch)
        assert answer.code == 0
        assert all_right(tmp_path / "out")
        assert "NOT a device figure" in answer.out

    def test_two_inputs_go_together(self, call: Call, write: Call, tmp_path: Path) -> None:
        for name, dtype, width in (("a", np.float32, 2), ("b", np.int64, 1)):
            (tmp_path / name).mkdir()
            for number in range(3):
                np.full(width, number, dtype).tofile(tmp_path / name / f"img_{number}.bin")
        folders = ["--inputs", tmp_path / "a", "--inputs", tmp_path / "b"]
        answer = call("infer", write(PAIR), *folders, "--out", tmp_path / "out", "--batch", 2)
        assert answer.code == 0
        assert np.fromfile(tmp_path / "out/img_2_0.bin", np.float32).tolist() == [4.0, 4.0]

    @pytest.mark.parametrize(
        ("text", "options", "message"),
        [
            pytest.param(FIXED, ["--batch", 3], "takes 4 files a run, not 3", id="another batch"),
            pytest.param(
                ROWS.replace("N, 4] x", "N, 3] x"), [], "16 bytes and the input", id="another size"
            ),
            pytest.param(ROWS.replace("N, 4] x", "N, M] x"), [], "pin-shape", id="an open width"),
            pytest.param(PAIR, [], "has 2 inputs, 1 were given", id="an input too few"),
            pytest.param(
                ROWS.replace(
                    "axes = Constant <value_ints = [1]>", "axes = Constant <value_ints = [0]>"
                ),
                ["--batch", 2],
                "shared among them",
                id="an output without the batch",
            ),
        ],
    )
    def test_a_model_that_does_not_fit_is_refused(
        self,
        refused: Call,
        write: Call,
        rows: Path,
        tmp_path: Path,
        text: str,
        options: list[Any],
        message: str,
    ) -> None:
        out = tmp_path / "out"
        assert message in refused("infer", write(text), "--inputs", rows, "--out", out, *options)
        assert not out.exists()


class TestOnAProvider:
    @pytest.mark.parametrize("command", ["infer", "bench"])
    def test_one_that_is_not_here_ends_with_4(
        self,
        call: Call,
        write: Call,
        rows: Path,
        tmp_path: Path,
        command: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"]
        )
        files = ("--inputs", rows, "--out", tmp_path / "out") if command == "infer" else ()
        answer = call(command, write(ROWS), *files, "--provider", "cann")
        assert answer.code == 4
        assert "this onnxruntime has no CANNExecutionProvider, only " in answer.err
        assert answer.err.count("\n") == 1
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("name", "on_device", "hardware"),
        [("cuda", False, "CUDA device 1, onnxruntime "), ("cann", True, "device 1, ")],
    )
    def test_the_result_says_which_one_ran(
        self,
        call: Call,
        write: Call,
        rows: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        on_device: bool,  # noqa: FBT001, RUF100  a parameter
        hardware: str,
    ) -> None:
        full = f"{name.upper()}ExecutionProvider"
        real = onnxruntime.InferenceSession
        given: list[Any] = []

        def session(path: str, options: Any, providers: Any) -> Any:  # noqa: ANN401
            given.append(providers)
            found = real(path, options, providers=["CPUExecutionProvider"])
            monkeypatch.setattr(found, "get_providers", lambda: [full])
            return found

        monkeypatch.setattr(onnxruntime, "InferenceSession", session)
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [full])
        chosen = ("--provider", name, "--device", 1)
        files = ("--inputs", rows, "--out", tmp_path / "out", *chosen, "--json")
        record = call("infer", write(ROWS), *files).document
        assert (record["provider"], record["on_device"]) == (full, on_device)
        assert record["hardware"].startswith(hardware)
        assert full in record["hardware"]
        assert ("NOT a device figure" in record["hardware"]) == (not on_device)
        (row,) = call("bench", write(ROWS), "--batch", 2, *chosen, "--json").document["rows"]
        assert (row["provider"], row["on_device"]) == (full, on_device)
        assert row["hardware"] == record["hardware"]
        assert [entries[0][0] for entries in given] == [full, full]
        assert [entries[0][1]["device_id"] for entries in given] == ["1", "1"]


class TestOnTheDevice:
    def test_the_same_files_come_out_and_the_record_says_where(
        self, call: Call, standin: list[str], rows: Path, tmp_path: Path
    ) -> None:
        model = write_om(tmp_path / "rows_bs4.om", {"x": [4, 4]})
        toolkit = make_toolkit(tmp_path / "Ascend")
        answer = call(
            *("infer", model, "--inputs", rows, "--out", tmp_path / "out", "--json"),
            *("--toolkit", toolkit, *standin),
        )
        assert answer.code == 0
        assert all_right(tmp_path / "out")
        record = answer.document
        assert record.pop("out") == str(tmp_path / "out")
        assert json.loads((tmp_path / "out" / "infer.json").read_text()) == record
        assert (record["files"], record["batch"], record["on_device"]) == (11, 4, True)
        assert record["result_bytes"] == {"0": 4, "1": 16}
        assert record["fps"] == pytest.approx(4000 / record["mean_ms"])
        # The stand-in npu-smi lists 310P3 as device 0.
        assert record["hardware"].startswith("310P3, device 0")

    def test_a_run_that_loses_results_writes_nothing_and_keeps_the_earlier_ones(
        self,
        call: Call,
        standin: list[str],
        rows: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        model = write_om(tmp_path / "rows_bs4.om", {"x": [4, 4]})
        command = ("infer", model, "--inputs", rows, "--out", tmp_path / "out", *standin)
        assert call(*command).code == 0
        monkeypatch.setenv("STANDIN_AIS_BENCH_FAIL", "partial")
        answer = call(*command)
        assert answer.code == 3
        assert "14 of 22 results are missing: img_4_0.bin" in answer.err
        assert answer.err.count("\n") == 1
        assert all_right(tmp_path / "out")
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["out", "out.ais_bench.log", "rows", "rows_bs4.om"]

    def test_without_ais_bench_it_says_how_to_get_it(
        self, call: Call, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        model = write_om(tmp_path / "rows_bs4.om", {"x": [4, 4]})
        command = ("infer", model, "--inputs", rows, "--out", tmp_path / "out")
        answer = call(*command, "--python", sys.executable)
        assert answer.code == 4
        assert "install ais_bench" in answer.err
        assert not (tmp_path / "out").exists()


class TestRefuses:
    def test_another_kind_of_model(self, refused: Call, rows: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert "expected an .om" in refused("infer", "net.pb", "--inputs", rows, "--out", out)

    def test_a_model_that_is_not_there(self, refused: Call, rows: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        message = refused("infer", tmp_path / "net_bs1.om", "--inputs", rows, "--out", out)
        assert "onnx-passes compile" in message

    def test_inputs_that_their_manifest_does_not_tell(
        self, refused: Call, write: Call, rows: Path, tmp_path: Path
    ) -> None:
        record = {"dataset": "d", "record": 1, "label": "a", "reason": None}
        records = [{"index": number, **record} for number in range(10)]
        (rows / "manifest.json").write_text(json.dumps({"records": records}))
        message = refused("infer", write(ROWS), "--inputs", rows, "--out", tmp_path / "out")
        assert "also holds img_10.bin, against its manifest" in message

    def test_a_folder_that_holds_something_else(
        self, refused: Call, write: Call, rows: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.doc").touch()
        message = refused("infer", write(ROWS), "--inputs", rows, "--out", tmp_path / "out")
        assert "found thesis.doc" in message
