from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import onnx_ir as ir
import pytest

from onnx_passes.bridges.onnxoptimizer import Onnxoptimizer
from onnx_passes.bridges.onnxscript_optimize import OnnxscriptOptimize
from onnx_passes.bridges.onnxsim import Onnxsim
from onnx_passes.bridges.onnxslim import Onnxslim
from onnx_passes.bridges.ort_offline import OrtOffline
from onnx_passes.core.manager import Settings
from onnx_passes.core.model_io import load
from pipeline import compare_tools

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_passes.core.contract import Pass
    from tests.pipeline.cli.conftest import Answer


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return ``only(cls, ...)``: these are all the tools there are."""

    def use(*classes: type[Pass]) -> None:
        monkeypatch.setattr(compare_tools, "tools", lambda: list(classes))

    return use


def test_the_tools_are_the_bridges_that_need_no_script() -> None:
    assert {Onnxoptimizer, OnnxscriptOptimize, Onnxsim, Onnxslim, OrtOffline} == set(
        compare_tools.tools()
    )


def test_json_holds_a_row_a_tool_with_time_memory_nodes_error_and_verdict(
    call: Callable[..., Answer],
    model: Path,
    only: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Onnxslim, "module", "no_such_module_here")
    only(OrtOffline, Onnxslim)
    answer = call("compare-tools", model, "--json")
    assert (answer.code, answer.err) == (0, "")
    rows = {row["tool"]: row for row in answer.document}
    assert list(rows) == ["(original)", "ort-offline", "onnxslim", "@clean"]
    assert rows["(original)"]["nodes"] == 3
    for name in ("ort-offline", "@clean"):
        assert rows[name]["verdict"] == "passed", rows[name]
        assert rows[name]["nodes"] < 3
        assert rows[name]["max_abs"] < 1e-6
        assert 0 < rows[name]["seconds"] < 60
        assert 2e7 < rows[name]["peak_bytes"] < 2e9
    assert rows["ort-offline"]["version"].startswith("onnxruntime 1.")
    assert rows["onnxslim"]["verdict"] == "not installed"
    assert rows["onnxslim"]["reason"] == "not installed: pip install onnxslim"


def test_the_table_has_the_columns_people_look_for(
    call: Callable[..., Answer], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = compare_tools.Row("onnxsim", "onnxsim 0.8", "passed", "", 1.234, 56_000_000, 7, 1.5e-7)
    bad = compare_tools.Row("ort-offline", "onnxruntime 1.32", reason="was killed by signal 11")
    monkeypatch.setattr(compare_tools, "compare", lambda *_: [row, bad])
    head, *lines = call("compare-tools", model).out.splitlines()
    assert head.split() == ["tool", "time", "s", "peak", "MB", "nodes", "max", "error", "verdict"]
    assert lines[0].split() == ["onnxsim", "0.8", "1.23", "56", "7", "1.5e-07", "passed"]
    assert "crashed: was killed by signal 11" in lines[1]


def test_a_wrong_tool_fails_and_a_crashing_one_is_named(model: Path, tmp_path: Path) -> None:
    original = load(model)
    broken = load(model)
    weight = broken.graph.initializers["w"]
    assert weight.const_value is not None
    weight.const_value = ir.Tensor(weight.const_value.numpy() * 1.01, name="w")
    ir.save(broken, tmp_path / "broken.onnx")
    row = compare_tools._judged(
        compare_tools.Row("x"), tmp_path / "broken.onnx", original, Settings()
    )
    assert row.verdict == "failed"
    assert row.max_abs is not None
    assert row.max_abs > 1e-3
    command = [sys.executable, "-c", "import os; os.abort()"]
    assert compare_tools._run(command, 60) == "was killed by signal 6"
    command = [sys.executable, "-c", "raise ValueError('no')"]
    assert compare_tools._run(command, 60) == "ValueError: no"
    command = [sys.executable, "-c", "while True: pass"]
    assert compare_tools._run(command, 0.2) == "did not end within 0.2 s"


def test_a_model_that_is_not_there_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "found nothing" in refused("compare-tools", tmp_path / "none.onnx")
