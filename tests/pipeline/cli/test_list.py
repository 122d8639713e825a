from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.bridges.onnxslim import Onnxslim
from onnx_passes.core import registry
from onnx_passes.core.registry import BrokenPlugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.pipeline.cli.conftest import Answer


def test_prints_every_pass_under_its_purpose(call: Callable[..., Answer]) -> None:
    from onnx_passes import passes

    answer = call("list")
    assert (answer.code, answer.err) == (0, "")
    rows = answer.out.splitlines()
    for cls in passes():
        (row,) = [row for row in rows if f" {cls.name} " in row]
        assert cls.exactness in row
    assert "onnx-passes explain PASS" in answer.out
    for purpose in {cls.purpose for cls in passes()}:
        assert sum(row.startswith(purpose + " ") for row in rows) == 1


def test_json_holds_names_options_and_summaries(call: Callable[..., Answer], plugin: Path) -> None:
    answer = call("list", "--json", "--plugin", plugin)
    assert (answer.code, answer.err) == (0, "")
    entries = {entry["name"]: entry for entry in answer.document}
    assert entries["scale-weight"] == {
        "name": "scale-weight",
        "purpose": "other",
        "exactness": "close",
        "summary": "Scale a weight.",
        "missing": None,
        "options": {"factor": {"type": "float", "default": "1.01"}},
    }
    assert entries["drop-identity"]["summary"]


def test_a_bad_plugin_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "is not a file" in refused("list", "--plugin", tmp_path / "none.py")
    (tmp_path / "bad.py").write_text("def (")
    assert "bad.py cannot be imported: SyntaxError" in refused(
        "list", "--plugin", tmp_path / "bad.py"
    )
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)")
    assert "SystemExit" in refused("list", "--plugin", tmp_path / "leaves.py")


def test_a_bridge_without_its_tool_is_listed_and_says_how_to_get_it(
    call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Onnxslim, "module", "no_such_module_here")
    hint = "not installed: pip install onnxslim"
    (row,) = [row for row in call("list").out.splitlines() if " onnxslim " in row]
    assert hint in row
    entries = {entry["name"]: entry["missing"] for entry in call("list", "--json").document}
    assert entries["onnxslim"] == hint
    assert entries["onnxsim"] is None
    assert hint in call("explain", "onnxslim").out


def test_a_run_without_the_tool_ends_with_code_4_and_one_line(
    call: Callable[..., Answer], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Onnxslim, "module", "no_such_module_here")
    output = model.with_name("out.onnx")
    answer = call("run", model, "-o", output, "--passes", "drop-identity,onnxslim")
    assert (answer.code, answer.out) == (4, "")
    assert answer.err == (
        "onnx-passes: pass 'onnxslim' needs onnxslim, "
        "which is not installed: pip install onnxslim\n"
    )
    assert not output.exists()


def test_a_broken_plugin_is_listed_with_the_last_line_of_its_traceback(
    call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = BrokenPlugin("own = own_passes", "own 1.0", "ImportError: no module 'x'")
    monkeypatch.setattr(registry, "broken_plugins", lambda: (plugin,))
    line = "broken plugin own = own_passes of own 1.0: ImportError: no module 'x'"
    answer = call("list")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, line)
    answer = call("list", "--json")
    assert answer.document
    assert answer.err == f"{line}\n"
