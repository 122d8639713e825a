from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
