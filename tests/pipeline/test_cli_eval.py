from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import pytest

from pipeline.cli import main

ROOT = Path(__file__).resolve().parents[2]
# Answers every image alike: its pixels are only averaged, multiplied by 0 and added to the answer.
ANSWERS = """<ir_version: 8, opset_import: ["" : 17]>
reader (float[N, 3, 32, 100] x) => (float[N, 25, 37] y) {
    mean = ReduceMean <axes = [1, 2, 3], keepdims = 0> (x)
    nothing = Mul(mean, zero)
    axes = Constant <value_ints = [1, 2]> ()
    per_image = Unsqueeze(nothing, axes)
    y = Add(per_image, answer)
}"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two data sets: "a" and "b" in the first, a bad record in the second."""
    png = cv2.imencode(".png", np.zeros((32, 50, 3), np.uint8))[1].tobytes()
    for name, labels in {"CUTE80": [b"a", b"B"], "[SVT]": [b"?!"]}.items():
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        env = lmdb.open(str(folder))
        with env.begin(write=True) as transaction:
            transaction.put(b"num-samples", str(len(labels)).encode())
            for number, label in enumerate(labels, 1):
                transaction.put(b"image-%09d" % number, png)
                transaction.put(b"label-%09d" % number, label)
        env.close()
    return tmp_path / "data"


def answer() -> npt.NDArray[np.float32]:
    """Return [1, 25, 37] that reads "a"."""
    probabilities = np.zeros((1, 25, 37), np.float32)
    probabilities[0, 1:, 0] = 1
    probabilities[0, 0, 11] = 1
    return probabilities


@pytest.fixture
def model(tmp_path: Path) -> Path:
    proto = onnx.parser.parse_model(ANSWERS)
    values = {"answer": answer(), "zero": np.zeros(1, np.float32)}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in values.items()
    )
    onnx.save(proto, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of ``onnx-passes eval ARGUMENTS``."""
    with pytest.raises(SystemExit) as left:
        main(["eval", *map(str, arguments)])
    assert isinstance(left.value.code, int)
    return left.value.code, *capsys.readouterr()


def call_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:  # noqa: ANN401  JSON
    code, stdout, _ = call(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(stdout)


@pytest.mark.parametrize("command", ["preprocess", "score", "run", "compare"])
def test_help_shows_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, stdout, _ = call(capsys, command, "--help")
    assert code == 0
    assert f"Example:\n    onnx-passes eval {command} " in stdout


def test_run_prints_a_table_and_every_digit(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path
) -> None:
    code, stdout, _ = call(capsys, "run", model, "--data", data, "--batch", 2)
    assert code == 0
    assert "CUTE80" in stdout
    assert "[SVT]" in stdout
    assert f"acc {1 / (3 + 1e-5)!r}, norm_edit_dis {1 - 2 / (3 + 1e-5)!r}" in stdout
    assert "images/s at batch 2, 2 images in" in stdout


def test_run_prints_nothing_but_json(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path
) -> None:
    document = call_json(capsys, "run", model, "--data", data)
    assert document["acc"] == 1 / (3 + 1e-5)
    assert list(document["datasets"]) == ["CUTE80", "[SVT]"]
    assert [entry["text"] for entry in document["texts"]] == ["a", "a", None]
    assert document["throughput"]["images"] == 2


def test_bad_records_can_be_excluded(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path
) -> None:
    document = call_json(capsys, "run", model, "--data", data, "--bad", "exclude")
    assert (document["acc"], document["counted"]) == (1 / (2 + 1e-5), 2)


def test_preprocess_and_score_are_the_two_ends_of_a_flow(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path
) -> None:
    bins, results = tmp_path / "bins", tmp_path / "results"
    written = call_json(capsys, "preprocess", "--data", data, "--out", bins)
    assert (written["records"], written["written"], written["out"]) == (3, 2, str(bins))
    assert [entry["reason"] for entry in written["bad"]] == ["label empty after filtering"]
    results.mkdir()
    for path in bins.glob("*.bin"):
        (results / f"{path.stem}_0.bin").write_bytes(answer().tobytes())
    arguments = ("score", "--results", results, "--manifest", bins / "manifest.json")
    document = call_json(capsys, *arguments)
    assert (document["acc"], document["throughput"]) == (1 / (3 + 1e-5), None)
    assert call_json(capsys, *arguments, "--bad", "exclude")["acc"] == 1 / (2 + 1e-5)
    code, stdout, _ = call(capsys, *arguments)
    assert code == 0
    assert f"acc {1 / (3 + 1e-5)!r}" in stdout
    assert "images/s" not in stdout


def test_preprocess_says_which_records_are_bad_and_why(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path
) -> None:
    code, stdout, _ = call(capsys, "preprocess", "--data", data, "--out", tmp_path / "bins")
    assert code == 0
    assert "label empty after filtering: 1" in stdout
    assert "2 files in" in stdout


def test_strict_ends_with_1_after_the_result_where_a_record_is_bad(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, model: Path
) -> None:
    bins = tmp_path / "bins"
    commands = {
        "preprocess": ("--data", data, "--out", bins),
        "run": (model, "--data", data),
        "compare": (model, model, "--data", data),
        "score": ("--results", tmp_path, "--manifest", bins / "manifest.json"),
    }
    for index in (0, 1):
        answer().astype("<f4").tofile(tmp_path / f"img_{index}_0.bin")
    said = "1 of 3 records are bad (label empty after filtering: 1)"
    for command, arguments in commands.items():
        assert call(capsys, command, *arguments)[0] == 0
        code, stdout, stderr = call(capsys, command, *arguments, "--strict")
        assert code == 1
        assert "bad: [SVT], record 1, label '?!': label empty after filtering\n" in stdout
        assert stderr == f"onnx-passes: {said}; leave --strict out to accept that\n"
        code, stdout, _ = call(capsys, command, *arguments, "--strict", "--json")
        assert (code, bool(json.loads(stdout))) == (1, True)
        good = ("--data", data / "CUTE80", "--out", tmp_path / "good")
    assert call(capsys, "preprocess", *good, "--strict")[0] == 0


def test_many_bad_records_are_counted_after_some(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipeline.cli.bad_records.MAX_ROWS", 0)
    _, stdout, _ = call(capsys, "preprocess", "--data", data, "--out", tmp_path / "bins")
    assert "bad: " not in stdout
    assert "1 more bad records" in stdout
    assert "1 of 3 records are bad (label empty after filtering: 1)" in stdout


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_lanes_changes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, model: Path, workers: int
) -> None:
    given = ("--data", data, "--workers", workers)
    assert call_json(capsys, "preprocess", *given, "--out", tmp_path / "bins")["written"] == 2
    assert call_json(capsys, "run", model, *given)["acc"] == 1 / (3 + 1e-5)


def test_an_interrupted_preprocess_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    arguments = ("preprocess", "--data", data, "--out", tmp_path / "bins")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.cli.console.Meter.update", interrupt)
        code, stdout, stderr = call(capsys, *arguments)
    assert (code, stdout) == (130, "")
    lines = [line for line in stderr.splitlines() if line]
    assert lines == ["stopped; the same command goes on from here", "onnx-passes: interrupted"]
    assert call(capsys, *arguments)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "found"),
    [
        pytest.param(
            ["run", "nowhere.onnx", "--data", "{data}"], 2, "is not a file", id="no model"
        ),
        pytest.param(
            ["run", "nowhere.onnx", "--data", "nowhere"],
            2,
            "does not exist; give a folder",
            id="no data",
        ),
        pytest.param(
            ["preprocess", "--data", "{data}", "--out", "{data}"],
            2,
            "is inside the data folder",
            id="output in the data",
        ),
        pytest.param(
            ["score", "--results", ".", "--manifest", "nowhere.json"],
            2,
            "cannot read manifest nowhere.json",
            id="no manifest",
        ),
    ],
)
def test_a_mistake_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], data: Path, arguments: list[str], code: int, found: str
) -> None:
    left, stdout, stderr = call(capsys, *(word.format(data=data) for word in arguments))
    assert (left, stdout) == (code, "")
    assert found in stderr
    assert len(stderr.strip().splitlines()) == 1


def test_a_cut_data_set_ends_in_one_line(
    capsys: pytest.CaptureFixture[str], data: Path, model: Path
) -> None:
    file = data / "CUTE80" / "data.mdb"
    file.write_bytes(file.read_bytes()[:8192])
    code, stdout, stderr = call(capsys, "run", model, "--data", data)
    assert (code, stdout) == (2, "")
    assert "data.mdb is cut short: 8192 bytes" in stderr
    assert len(stderr.strip().splitlines()) == 1


def test_numbers_that_are_not_finite_end_with_code_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path
) -> None:
    call(capsys, "preprocess", "--data", data, "--out", tmp_path / "bins")
    (tmp_path / "img_0_0.bin").write_bytes(np.full(925, np.nan, "<f4").tobytes())
    manifest = tmp_path / "bins" / "manifest.json"
    code, _, stderr = call(capsys, "score", "--results", tmp_path, "--manifest", manifest)
    assert code == 1
    assert "img_0_0.bin holds NaN or infinity" in stderr


class TestCompare:
    @pytest.fixture
    def other(self, tmp_path: Path, model: Path) -> Path:
        """A model that reads "b" wherever the first reads "a"."""
        proto = onnx.load(model)
        (place,) = (i for i, t in enumerate(proto.graph.initializer) if t.name == "answer")
        read_b = np.roll(answer(), 1, axis=2)
        read_b[0, 1:] = answer()[0, 1:]
        tensor = onnx.numpy_helper.from_array(read_b, "answer")
        proto.graph.initializer[place].CopyFrom(tensor)
        onnx.save(proto, tmp_path / "other.onnx")
        return tmp_path / "other.onnx"

    def test_says_what_changed_and_whether_it_matters(
        self, capsys: pytest.CaptureFixture[str], data: Path, model: Path, other: Path
    ) -> None:
        found = call_json(capsys, "compare", model, other, "--data", data)
        assert (found["records"], found["difference"], found["mcnemar_p"]) == (2, 0.0, 1.0)
        assert found["acc"] == [1 / (3 + 1e-5)] * 2
        assert [(c["label"], c["before"], c["after"], c["verdict"]) for c in found["changes"]] == [
            ("a", "a", "b", "lost"),
            ("b", "a", "b", "gained"),
        ]
        code, stdout, _ = call(capsys, "compare", model, other, "--data", data)
        assert code == 0
        assert "2 of 2 texts differ; 1 were right only before, 1 only after." in stdout

    def test_the_sheet_shows_the_pictures_and_escapes_names(
        self,
        capsys: pytest.CaptureFixture[str],
        data: Path,
        model: Path,
        other: Path,
        tmp_path: Path,
    ) -> None:
        sheet, named = tmp_path / "sheet.html", tmp_path / "<b>.onnx"
        other.rename(named)
        assert call(capsys, "compare", model, named, "--data", data, "--sheet", sheet)[0] == 0
        page = sheet.read_text(encoding="utf-8")
        assert page.count('src="data:image/png;base64,iVBOR') == 2
        assert page.index('class="lost"') < page.index('class="gained"')
        assert "&lt;b&gt;.onnx" in page
        assert "<b>" not in page
        assert "http" not in page

    def test_a_folder_of_results_takes_the_place_of_a_model(
        self,
        capsys: pytest.CaptureFixture[str],
        data: Path,
        model: Path,
        other: Path,
        tmp_path: Path,
    ) -> None:
        for index in (0, 1):
            answer().astype("<f4").tofile(tmp_path / f"img_{index}_0.bin")
        same = call_json(capsys, "compare", model, tmp_path, "--data", data)
        assert same["changes"] == []
        assert call_json(capsys, "compare", other, tmp_path, "--data", data)["changes"]

    def test_a_sheet_that_cannot_be_written_is_refused_before_the_work(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        sheet = tmp_path / "nowhere" / "sheet.html"
        code, _, stderr = call(capsys, "compare", "a", "b", "--data", "c", "--sheet", sheet)
        assert code == 2
        assert f"cannot write {sheet}" in stderr


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_provider_that_is_not_here_ends_with_4_and_one_line(
    capsys: pytest.CaptureFixture[str],
    data: Path,
    model: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    models = [model] if command == "run" else [model, model]
    code, stdout, stderr = call(capsys, command, *models, "--data", data, "--provider", "cuda")
    assert (code, stdout) == (4, "")
    assert "this onnxruntime has no CUDAExecutionProvider, only " in stderr
    assert len(stderr.splitlines()) == 1


SLOW = """
import sys, time
import eval.preprocess
real = eval.preprocess.digest_of
eval.preprocess.digest_of = lambda sample: (time.sleep(0.01), real(sample))[1]
from pipeline.cli import main
main(sys.argv[1:])
"""


def test_ctrl_c_at_a_terminal_reaches_all_processes_and_ends_in_two_lines(tmp_path: Path) -> None:
    """A terminal sends the signal to the whole group; what was written is used by the next run."""
    words = ROOT / "tests" / "data" / "words"
    out = tmp_path / "bins"
    arguments = ["eval", "preprocess", "--data", str(words), "--out", str(out), "--workers", "3"]
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments],
        cwd=ROOT,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        new = tmp_path / ".bins.part" / "new"
        give_up = time.monotonic() + 60
        while not new.exists() or len(list(new.iterdir())) < 100:  # the processes work by now
            assert time.monotonic() < give_up
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGINT)
        _, stderr = run.communicate(timeout=60)
    lines = [line for line in stderr.splitlines() if line]
    assert run.returncode == 130
    assert lines == ["stopped; the same command goes on from here", "onnx-passes: interrupted"]
    kept = {path.name: path.stat().st_ino for path in new.iterdir()}
    assert 100 <= len(kept) < 300
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    assert kept == {name: (out / name).stat().st_ino for name in kept}
    assert len(list(out.iterdir())) == 301
