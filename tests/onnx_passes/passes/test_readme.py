from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, ClassVar

import pytest

from onnx_passes.core.contract import Exactness, Pass, PassResult

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

generator = importlib.import_module("onnx_passes.passes.__main__")


@dataclasses.dataclass(frozen=True)
class Example(Pass):
    """Do nothing."""

    name: ClassVar[str] = "do-nothing"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "examples"
    mode: str = "a|b"

    def run(self, model: ir.Model) -> PassResult:
        del model
        return PassResult()


@pytest.fixture
def readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "README.md"
    monkeypatch.setattr(generator, "README", path)
    return path


def test_check_fails_on_a_stale_or_missing_file_and_writes_nothing(
    readme: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--check"]) == 1
    assert not readme.exists()
    readme.write_text("old")
    assert generator.main(["--check"]) == 1
    assert readme.read_text() == "old"
    assert "is stale" in capsys.readouterr().err


def test_what_is_written_passes_the_check_and_names_every_pass_of_ours(readme: Path) -> None:
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    text = readme.read_text()
    for name in ("drop-identity", "fold-constants", "onnxsim"):
        assert f"[{name}](" in text


def test_a_row_holds_page_numerics_and_options_and_escapes_a_bar() -> None:
    text = generator.render([Example])
    assert "## Examples\n" in text
    assert "| exact | `mode='a&#124;b'` |" in text


def test_an_unknown_argument_is_refused(readme: Path) -> None:
    assert generator.main(["--chek"]) == 2
    assert not readme.exists()
