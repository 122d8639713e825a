"""ATC is run, against a stand-in: refusals of every kind, three signs of success, no lost files."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest

from ascend.atc.command import KEEP_FILE, shell_script
from ascend.atc.compiler import COMMAND, ENVIRONMENT, LOG, Job, atc_environment, compile_model
from ascend.atc.flags import Flags
from ascend.atc.remedies import plain_remedy, remedy_for
from ascend.atc.report import parse_report
from ascend.atc.shapes import parse_gears
from ascend.errors import AscendError, MissingToolError
from ascend.toolkit import find_toolkit
from tests.ascend.standins.toolkit import make_toolkit

if TYPE_CHECKING:
    from ascend.atc.compiler import Compiled
    from ascend.toolkit import Toolkit

MODEL = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3, 4, 4] x, float[N, 2, 2, 2] grid) => (float[N, 3, 2, 2] y)
{ r = Relu(x) y = GridSample<mode = "bilinear", padding_mode = "zeros">(r, grid) }
"""
SHAPES = (("x", (8, 3, 4, 4)), ("grid", (8, 2, 2, 2)))
TIMEOUT_S = 60.0


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toolkit(tmp_path_factory.mktemp("cann"))


@pytest.fixture
def toolkit(root: Path, monkeypatch: pytest.MonkeyPatch) -> Toolkit:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return find_toolkit(root)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx")


def write_model(path: Path, text: str = MODEL, names: tuple[str, ...] = ("relu", "grid")) -> Path:
    made = onnx.parser.parse_model(text)
    for node, name in zip(made.graph.node, names, strict=False):
        node.name = name
    onnx.save(made, path)
    return path


@pytest.fixture
def job(model: Path, tmp_path: Path) -> Job:
    folder = tmp_path / "out"
    folder.mkdir()
    return Job(Flags(model, "m_bs8", "Ascend310P3", SHAPES), folder)


def run(job: Job, root: Path, timeout_s: float = TIMEOUT_S) -> Compiled:
    """Compile with the environment as the test has set it."""
    return compile_model(job, find_toolkit(root), timeout_s=timeout_s)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def header(file: Path | None) -> dict[str, object]:
    assert file is not None
    magic, line, content = file.read_bytes().split(b"\n", 2)
    assert magic == b"STANDIN-OM"
    assert onnx.load_from_string(content).graph.node
    document: dict[str, object] = json.loads(line)
    return document


class TestSuccess:
    def test_the_model_is_where_it_belongs_and_nothing_else(self, job: Job, root: Path) -> None:
        lines: list[str] = []
        job = dataclasses.replace(
            job,
            flags=dataclasses.replace(job.flags, keep_dtype=Path(KEEP_FILE)),
            keep=("relu",),
        )
        toolkit = find_toolkit(root)
        result = compile_model(job, toolkit, timeout_s=TIMEOUT_S, on_line=lines.append)
        assert (result.verdict, result.reason) == ("compiled", "")
        assert result.file == job.folder / "m_bs8.om"
        assert result.size_bytes == result.file.stat().st_size
        assert names(job.folder) == ["m_bs8.om"]
        assert header(result.file)["inputs"] == {"x": [8, 3, 4, 4], "grid": [8, 2, 2, 2]}
        assert header(result.file)["keep_dtype"] == ["relu"]
        assert lines[0].startswith("ATC start working now")

    def test_gears(self, job: Job, root: Path) -> None:
        open_shapes = (("x", (-1, 3, 4, 4)), ("grid", (-1, 2, 2, 2)))
        gears = parse_gears("batch=1,4")
        flags = dataclasses.replace(job.flags, input_shape=open_shapes, gears=gears)
        document = header(run(dataclasses.replace(job, flags=flags), root).file)
        assert document["gears"] == {"dynamic_batch_size": [[1], [4]]}
        assert document["inputs"] == {"x": [4, 3, 4, 4], "grid": [4, 2, 2, 2]}

    def test_the_other_name_is_kept(
        self, job: Job, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_ATC_NAME", "linux_x86_64")
        assert run(job, root).file == job.folder / "m_bs8_linux_x86_64.om"
        assert names(job.folder) == ["m_bs8_linux_x86_64.om"]

    def test_a_warning_is_no_failure(
        self, job: Job, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_ATC_WARN", "1")
        result = run(job, root)
        assert result.verdict == "compiled"
        assert [entry.code for entry in result.report.warnings] == ["W11001"]

    def test_a_flood_of_lines_is_read(
        self, job: Job, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_ATC_FLOOD", "50000")
        assert run(job, root).verdict == "compiled"

    def test_what_stands_in_for_the_driver_comes_last(self, toolkit: Toolkit) -> None:
        paths = atc_environment(toolkit)["LD_LIBRARY_PATH"].split(":")
        assert paths[-1].endswith("x86_64-linux/devlib")
        assert len(paths) == 2
        assert all(paths)


class TestFailure:
    @pytest.fixture(autouse=True)
    def earlier(self, job: Job) -> None:
        """Leave a compiled model of an earlier run, and a record of an earlier failure."""
        (job.folder / "m_bs8.om").write_bytes(b"earlier")
        job.failed.mkdir()
        (job.failed / KEEP_FILE).write_text("old\n")

    @pytest.mark.parametrize(
        ("setting", "value", "verdict", "reason"),
        [
            ("CRASH", "11", "crashed", "atc was ended by SIGSEGV"),
            ("PARTIAL_LOG", "1", "crashed", "atc was ended by SIGKILL"),
            ("DISK_FULL", "1", "failed", "E19004: Write file [m_bs8.om] failed: No space left"),
            ("NO_FILE", "1", "failed", "atc reported no error, but it left no compiled model"),
            ("EXIT", "1", "failed", "atc reported no error, but it ended with 1, not 0"),
            ("SILENT", "1", "failed", "but it did not print its line of success; its last line: '"),
        ],
    )
    def test_is_told_and_recorded_and_loses_nothing(
        self,
        job: Job,
        root: Path,
        monkeypatch: pytest.MonkeyPatch,
        setting: str,
        value: str,
        verdict: str,
        reason: str,
    ) -> None:
        monkeypatch.setenv(f"STANDIN_ATC_{setting}", value)
        result = run(job, root)
        assert (result.verdict, result.file, result.size_bytes) == (verdict, None, None)
        assert reason in result.reason
        assert names(job.folder) == ["m_bs8.failed", "m_bs8.om"]
        assert (job.folder / "m_bs8.om").read_bytes() == b"earlier"
        assert names(job.failed) == sorted([LOG, COMMAND, ENVIRONMENT])
        assert "ATC start working now" in (job.failed / LOG).read_text()

    def test_a_hang_ends_after_the_time_limit(
        self, job: Job, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_ATC_HANG", "1")
        result = run(job, root, timeout_s=3)
        assert result.verdict == "timed out"
        assert "did not end within 3 s" in result.reason
        assert names(job.folder) == ["m_bs8.failed", "m_bs8.om"]
        assert "ATC start working now" in (job.failed / LOG).read_text()

    def test_the_record_repeats_the_run_and_a_success_removes_it(
        self, job: Job, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_ATC_CANN", "5.0.4.6")
        flags = dataclasses.replace(job.flags, keep_dtype=Path(KEEP_FILE))
        job = dataclasses.replace(job, flags=flags, keep=("grid",))
        assert "E19010" in run(job, root).reason
        assert (job.failed / KEEP_FILE).read_text() == "grid\n"
        again = subprocess.run(
            ["bash", COMMAND], cwd=job.failed, capture_output=True, text=True, check=False
        )
        assert again.returncode == 255
        assert again.stdout == (job.failed / LOG).read_text()
        monkeypatch.delenv("STANDIN_ATC_CANN")
        assert run(job, root).verdict == "compiled"
        assert names(job.folder) == ["m_bs8.om"]

    def test_a_file_of_the_user_in_the_folder_of_the_record_stays(
        self, job: Job, root: Path
    ) -> None:
        (job.failed / "notes.txt").write_text("mine")
        assert run(job, root).verdict == "compiled"
        assert names(job.failed) == ["notes.txt"]

    def test_what_an_observer_raises_ends_atc_and_leaves_no_folder(
        self, job: Job, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STANDIN_ATC_HANG", "1")

        def interrupt() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compile_model(job, find_toolkit(root), timeout_s=TIMEOUT_S, on_wait=interrupt)
        assert names(job.folder) == ["m_bs8.failed", "m_bs8.om"]


def test_a_toolkit_without_atc_is_refused(job: Job, tmp_path: Path) -> None:
    top = make_toolkit(tmp_path / "cann")
    (top / "latest/bin/atc").unlink()
    with pytest.raises(MissingToolError, match="no program 'atc'"):
        run(job, top)


def test_a_program_that_does_not_start_is_no_success(job: Job, tmp_path: Path) -> None:
    top = make_toolkit(tmp_path / "cann")
    message = "atc: error while loading shared libraries: libascend_hal.so"
    (top / "latest/bin/atc").write_text(f"#!/bin/sh\necho '{message}' >&2\nexit 127\n")
    result = run(job, top)
    assert result.reason == f"atc could not start; its last line: '{message}'"
    remedy = plain_remedy(result.output)
    assert remedy is not None
    assert "devlib" in remedy.text


def test_a_folder_that_is_not_there_is_refused(job: Job, root: Path) -> None:
    with pytest.raises(AscendError, match=r"cannot write into .*none: No such file"):
        run(dataclasses.replace(job, folder=job.folder / "none"), root)


def test_the_script_of_a_dry_run_compiles(job: Job, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    flags = dataclasses.replace(job.flags, keep_dtype=Path(KEEP_FILE))
    script = shell_script(flags, folder, ["relu", "grid"], str(root / "set_env.sh"))
    done = subprocess.run(
        ["bash", "-c", f"cd / && {script}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert names(folder) == ["m_bs8.om", "m_bs8.work"]
    assert header(folder / "m_bs8.om")["keep_dtype"] == ["relu", "grid"]


# --- refusals of the stand-in, read by the parser ------------------------------------------------

GOOD = {
    "framework": "5",
    "output": "m",
    "soc_version": "Ascend310P3",
    "input_shape": "x:8,3,4,4;grid:8,2,2,2",
}
MANY = ",".join(map(str, range(1, 102)))
BATCH_SHAPE = "x:-1,3,4,4;grid:-1,2,2,2"


@pytest.fixture
def atc(root: Path, model: Path, tmp_path: Path) -> object:
    """Return ``atc(flag=value)``: the code of its report; None for a success."""
    toolkit = find_toolkit(root)

    def call(**changes: str | None) -> str | None:
        flags = {"model": str(model), **GOOD, **changes}
        words = [f"--{name}={value}" for name, value in flags.items() if value is not None]
        done = subprocess.run(
            [str(toolkit.executable("atc")), *words],
            env={**toolkit.environ, **toolkit.environment()},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        report = parse_report(done.stdout)
        assert done.stderr == ""
        if report.success:
            assert done.returncode == 0
            return None
        assert (done.returncode, report.failure) == (255, True)
        assert remedy_for(report.errors[0])
        return report.errors[0].code

    return call


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({}, None, id="nothing is wrong"),
        pytest.param({"framework": None}, "E10007", id="no framework"),
        pytest.param({"soc_version": ""}, "E10054", id="no chip"),
        pytest.param({"output": None}, "E10054", id="no output"),
        pytest.param({"output": "out/"}, "E10022", id="no file name"),
        pytest.param({"output": "a b"}, "E10001", id="a space"),
        pytest.param({"model": "none.onnx"}, "E10041", id="no model"),
        pytest.param({"precision_mode": "force_fp61"}, "E10001", id="a precision"),
        pytest.param(
            {"dynamic_batch_size": "1,2", "dynamic_dims": "1;2"}, "E10009", id="two gears"
        ),
        pytest.param(
            {"dynamic_batch_size": "1,2", "input_shape_range": "x:[1~2]"}, "E10009", id="a range"
        ),
        pytest.param({"dynamic_batch_size": "1", "input_shape": BATCH_SHAPE}, "E10035", id="one"),
        pytest.param({"dynamic_batch_size": MANY, "input_shape": BATCH_SHAPE}, "E10036", id="101"),
        pytest.param({"input_shape": None}, "E10001", id="open sizes"),
        pytest.param({"input_shape": "X:8,3,4,4"}, "E10016", id="an unknown input"),
        pytest.param({"input_shape": "x:8,3,4,5;grid:8,2,2,2"}, "E10001", id="a fixed size"),
        pytest.param({"input_shape": "x:8,3,4;grid:8,2,2,2"}, "E10001", id="a rank"),
        pytest.param({"out_nodes": "nobody:0"}, "E10016", id="an unknown node"),
        pytest.param({"out_nodes": "grid:0"}, None, id="a known node"),
        pytest.param({"keep_dtype": "none.txt"}, "E19001", id="no list"),
    ],
)
def test_refusals_carry_their_code(atc: object, changes: dict[str, str], code: str | None) -> None:
    assert callable(atc)
    assert atc(**changes) == code


def test_a_broken_model_and_two_nodes_of_one_name(atc: object, model: Path) -> None:
    assert callable(atc)
    write_model(model, names=("one", "one"))
    assert atc() == "E19009"
    model.write_bytes(b"\x08\x08garbage")
    assert atc() == "E10041"


@pytest.mark.parametrize("form", ["plain", "pid", "bare"])
def test_a_missing_parser_is_understood_in_every_shape(
    job: Job, root: Path, model: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    write_model(model, MODEL.replace('"": 16', '"": 13'))
    monkeypatch.setenv("STANDIN_ATC_CANN", "5.0.4.6")
    monkeypatch.setenv("STANDIN_ATC_FORM", form)
    (entry,) = run(job, root).report.errors
    assert (entry.code, entry.node, entry.op_type) == ("E19010", "grid", "GridSample")
    assert entry.opset == 13
    assert entry.chain == ("parse of node [grid] failed.", "parse of the model failed.")
    assert entry.solution == "see the manual."
    remedy = remedy_for(entry)
    assert remedy is not None
    assert "--passes decompose-grid-sample" in remedy.text


def test_grid_sample_has_a_parser_since_cann_8_and_at_its_opsets_only(
    job: Job, root: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_ATC_CANN", "8.1.RC1")
    assert run(job, root).verdict == "compiled"
    made = onnx.load(model)
    made.opset_import[0].version, made.ir_version = 19, 9
    onnx.save(made, model)
    assert re.search(r"E19010: .*ai\.onnx::19::", run(job, root).reason)
