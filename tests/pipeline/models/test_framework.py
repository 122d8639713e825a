from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import MissingExtraError

ROOT = Path(__file__).resolve().parents[3]


def test_a_missing_paddle_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pipeline.models.framework", raising=False)
    monkeypatch.setitem(sys.modules, "paddle", None)  # Python's way to say "absent"
    with pytest.raises(MissingExtraError, match=r"'ascend-onnx-passes\[paddle\]'") as failure:
        importlib.import_module("pipeline.models.framework")
    assert failure.value.exit_code == 4


def test_the_import_is_silent_and_leaves_the_environment_as_it_was() -> None:
    script = (
        "import os; before = dict(os.environ); import pipeline.models.framework; "
        "assert 'GLOG_minloglevel' not in os.environ or 'GLOG_minloglevel' in before"
    )
    child = _python(script)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_the_pipeline_imports_without_paddle_and_without_onnx() -> None:
    script = (
        "import sys, pipeline.export; "
        "found = {'paddle', 'paddle2onnx', 'onnx', 'onnxruntime'} & set(sys.modules); "
        "assert not found, found"
    )
    child = _python(script)
    assert child.returncode == 0, child.stderr


def _python(script: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    return subprocess.run(  # noqa: S603, RUF100  our own interpreter and script
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
