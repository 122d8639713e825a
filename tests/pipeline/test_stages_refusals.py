"""What the system refuses, by the kernel itself: files that may not grow, folders nobody may write.

The tests may run as root, which may write anywhere; /sys takes no folder of anybody.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eval.render import write_lmdb_tree
from pipeline.cli import main
from pipeline.flow import NAMES
from tests.pipeline.flow_case import RECIPE, small_job, write_model

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
STAGES = [name for name in NAMES if name not in {"export", "compile"}]
CLOSED = Path("/sys")
# Runs each stage with a limit of 100 bytes a file, and then without.
FULL = """
import json, resource, sys
from pathlib import Path
from tests.pipeline.flow_case import finish, small_job

_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
job = lambda: small_job(Path(sys.argv[1]), Path(sys.argv[2]))
for name in sys.argv[3:]:
    limited = job()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
    try:
        finish(limited, frozenset({name}))
        said = code = None
    except Exception as error:
        said, code = str(error), getattr(error, "exit_code", None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    work = job().work
    left = [path.name for path in work.rglob(".*") if path.name != ".flow"]
    print(json.dumps([name, said, code, left, finish(job(), frozenset({name}))]))
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "data"
    write_lmdb_tree(folder, {"plain": 10}, seed=1)
    return folder


def test_a_disk_that_takes_no_more_is_one_line_in_every_stage_and_the_stage_runs_again(
    tmp_path: Path, words: Path
) -> None:
    small_job(tmp_path, words)  # writes its files
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(words), *STAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in found] == STAGES
    for name, said, code, left, ran in found:
        assert said is not None, name
        assert "File too large" in said, (name, said)
        assert "\n" not in said
        assert (code, left, ran) == (2, [], [name]), (name, said)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("flow run {recipe} --model {model} --work {closed}", id="flow run"),
        pytest.param("eval preprocess --data {data} --out {closed}/bins", id="eval preprocess"),
        pytest.param("infer {model} --inputs {bins} --out {closed}/out", id="infer"),
        pytest.param(
            "eval compare {model} {model} --data {data} --sheet {closed}.html", id="the sheet"
        ),
    ],
)
def test_a_folder_that_nobody_may_write_is_one_line(
    tmp_path: Path, words: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    (tmp_path / "bins").mkdir()
    (tmp_path / "bins" / "img_0.bin").write_bytes(bytes(38_400))
    places = {
        "recipe": tmp_path / "small.toml",
        "model": write_model(tmp_path / "net.onnx"),
        "data": words,
        "bins": tmp_path / "bins",
        "closed": CLOSED / "onnx-passes",
    }
    with pytest.raises(SystemExit) as left:
        main([word.format(**places) for word in command.split()])
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("onnx-passes: cannot ")]
    assert (left.value.code, len(lines)) == (2, 1), said
    assert "Traceback" not in said
    assert not list(CLOSED.glob("*onnx-passes*"))


def test_a_report_that_may_not_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], finished_flow: Callable[[Path], Path]
) -> None:
    work = finished_flow(tmp_path)
    (work / "report").symlink_to(CLOSED / "onnx-passes")
    with pytest.raises(SystemExit) as left:
        main(["flow", "report", str(work)])
    assert left.value.code == 2
    assert "cannot write a report to" in capsys.readouterr().err


@pytest.fixture
def finished_flow() -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from tests.pipeline.flow_case import finish

        job = small_job(folder, None)
        finish(job, frozenset({"fetch-check"}))
        return job.work

    return make
