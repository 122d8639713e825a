from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.errors import ExportError, PipelineError
from pipeline.paddleocr import Checkout, export_checkout

WRITES = """
import pathlib, sys
target = pathlib.Path(sys.argv[-1].split("=", 1)[1])
target.mkdir(parents=True)
(target / "inference.{suffix}").touch()
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a checkout whose tool is empty, a configuration and a checkpoint."""
    folder = tmp_path / "ocr"
    (folder / "tools").mkdir(parents=True)
    (folder / "tools" / "export_model.py").touch()
    (folder / "rec.yml").touch()
    (tmp_path / "best.pdparams").touch()
    return Checkout(folder, Path("rec.yml"), tmp_path / "best.pdparams")


def _run(checkout: Checkout, script: str, tmp_path: Path, timeout_s: float = 60.0) -> Path:
    (checkout.folder / "tools" / "export_model.py").write_text(script)
    target = tmp_path / "target"
    target.mkdir()
    return export_checkout(checkout, target, lambda _line: None, timeout_s=timeout_s)


def test_the_command_is_the_one_of_the_documentation(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.command(Path("out")) == [
        sys.executable,
        "tools/export_model.py",
        "-c",
        str(checkout.folder / "rec.yml"),
        "-o",
        f"Global.pretrained_model={tmp_path / 'best'}",
        "Global.save_inference_dir=out",
    ]


def test_it_runs_with_another_python(checkout: Checkout) -> None:
    told = Checkout(checkout.folder, checkout.config, checkout.checkpoint, "python3.8")
    assert told.command(Path("out"))[0] == "python3.8"


def test_a_missing_python_is_one_line(checkout: Checkout, tmp_path: Path) -> None:
    told = Checkout(checkout.folder, checkout.config, checkout.checkpoint, "no-such-python")
    with pytest.raises(ExportError, match="no-such-python cannot be started: No such file"):
        _run(told, "", tmp_path)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("ocr/tools/export_model.py", r"is no checkout of PaddleOCR: it has no tools/export_model"),
        ("ocr/rec.yml", r"configuration rec\.yml is neither here nor in "),
        ("best.pdparams", r"checkpoint .*best\.pdparams does not exist"),
    ],
    ids=["the tool", "the configuration", "the checkpoint"],
)
def test_what_is_missing_is_named_before_anything_runs(
    missing: str, reason: str, checkout: Checkout, tmp_path: Path
) -> None:
    (tmp_path / missing).unlink()
    with pytest.raises(PipelineError, match=reason) as failure:
        checkout.command(tmp_path)
    assert failure.value.exit_code == 2


@pytest.mark.parametrize(
    ("file", "text", "version"),
    [
        ("paddleocr.py", "import x\nVERSION = '2.5.0.3'\n", "2.5.0.3"),
        ("setup.py", 'version="2.8.1",', "2.8.1"),
        (".git/HEAD", "ref: refs/heads/release/2.5\n", "release/2.5"),
        (".git/HEAD", "a40f64a70b8d290b74557a41d869c0f9ce4959d5\n", "a40f64a70b8d290b7455"),
        ("README.md", "VERSION = '1'", "of unknown version"),
    ],
    ids=["a release", "a setup file", "a branch", "a commit", "nothing"],
)
def test_the_version_is_what_the_checkout_says(
    file: str, text: str, version: str, checkout: Checkout
) -> None:
    (checkout.folder / file).parent.mkdir(exist_ok=True)
    (checkout.folder / file).write_text(text)
    assert checkout.version().startswith(version)


def test_a_failure_ends_with_the_last_lines(checkout: Checkout, tmp_path: Path) -> None:
    script = "for i in range(9): print('\\x1b[31mline', i)\nraise KeyError('Architecture')"
    with pytest.raises(ExportError, match=r"failed \(exit 1\): .*KeyError: 'Arch") as failure:
        _run(checkout, script, tmp_path)
    assert failure.value.exit_code == 3
    assert "\n" not in str(failure.value)
    assert "line 0" not in str(failure.value)
    assert str(failure.value).isprintable()


def test_success_without_a_model_is_a_failure(checkout: Checkout, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="wrote no inference model"):
        _run(checkout, "print('fine')", tmp_path)


def test_a_tool_that_hangs_is_stopped(checkout: Checkout, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"within 0\.2 s and was stopped"):
        _run(checkout, "import signal; signal.pause()", tmp_path, timeout_s=0.2)


@pytest.mark.parametrize("suffix", ["pdiparams", "pdmodel"])
def test_the_folder_of_the_model_is_found(suffix: str, checkout: Checkout, tmp_path: Path) -> None:
    found = _run(checkout, WRITES.format(suffix=suffix), tmp_path)
    assert found == tmp_path / "target" / "model"
