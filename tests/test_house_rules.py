"""The rules of the house that no linter knows: arrows, pages, tests, budgets."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onnx_passes.core.contract import Pass
from onnx_passes.core.registry import passes

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("onnx_passes", "ascend", "eval", "pipeline")
ALLOWED = {
    "onnx_passes": {"onnx_passes"},
    "ascend": {"ascend"},
    "eval": {"eval"},
    "pipeline": set(PACKAGES),
}
HEADINGS = ("Fires when:", "Leaves alone:", "Numerics:", "References:")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
MAX_POSITIONAL = 5


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports_of(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def our_passes() -> list[type[Pass]]:
    return [cls for cls in passes() if cls.__module__.startswith("onnx_passes.")]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_arrows_point_down(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    used = imports_of(ast.parse(path.read_text())) & set(PACKAGES)
    assert used <= ALLOWED[package], f"{relative(path)} imports {used - ALLOWED[package]}"


def test_the_arrow_test_sees_an_import_inside_a_function() -> None:
    tree = ast.parse("def f():\n    from ascend.atc.compiler import compile\n    import eval.ctc\n")
    assert imports_of(tree) == {"ascend", "eval"}


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_files_and_functions_stay_within_the_budgets(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_every_file_says_why_it_exists(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, f"{relative(path)} has no module docstring"


@pytest.mark.parametrize("cls", our_passes(), ids=lambda cls: cls.name)
class TestEveryPass:
    def test_is_named_after_its_file(self, cls: type[Pass]) -> None:
        file = Path(inspect.getfile(cls))
        assert file.stem.replace("_", "-") == cls.name
        if file.parent.name == "passes":
            assert cls.__name__ == "".join(word.capitalize() for word in file.stem.split("_"))

    def test_has_a_page(self, cls: type[Pass]) -> None:
        module = inspect.getmodule(cls)
        page = (module.__doc__ if module else "") or ""
        assert page.startswith(f"{cls.name}: ")
        missing = [heading for heading in HEADINGS if heading not in page]
        assert not missing, f"the page of {cls.name} lacks {missing}"
        assert "https://" in page.split("References:")[1]

    def test_has_tests(self, cls: type[Pass]) -> None:
        folder = Path(inspect.getfile(cls)).parent.name
        test = ROOT / "tests/onnx_passes" / folder / f"test_{Path(inspect.getfile(cls)).name}"
        assert test.is_file(), f"{relative(test)} does not exist"
        assert re.search(r"def test_\w+", test.read_text())

    def test_says_its_purpose(self, cls: type[Pass]) -> None:
        assert cls.purpose != Pass.purpose

    def test_is_a_frozen_dataclass(self, cls: type[Pass]) -> None:
        parameters = getattr(cls, "__dataclass_params__", None)
        assert parameters is not None
        assert parameters.frozen


def test_there_are_passes() -> None:
    names = {cls.name for cls in our_passes()}
    assert {
        "decompose-grid-sample",
        "drop-identity",
        "drop-unused",
        "fold-constants",
        "fuse-batch-norm",
        "onnxsim",
    } <= names


def test_the_table_of_passes_is_up_to_date() -> None:
    command = [sys.executable, "-m", "onnx_passes.passes", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_test_folder_is_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_formatted_as_python_3_10(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 10))
