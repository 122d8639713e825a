from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import inference_files
from pipeline.errors import PipelineError
from pipeline.inference_files import Pictures, find, read_pictures

if TYPE_CHECKING:
    from pathlib import Path


def _program(*shapes: object, inner: str = "1.relu") -> dict[str, Any]:
    """Return a program with an input of each shape, and an operator inside of a branch."""
    branch = {"#": "1.if", "regions": [{"blocks": [{"ops": [{"#": inner}]}]}]}
    data = [
        {"#": "1.data", "O": [{"TT": {"D": [{"#": "0.t_f32"}, shape, "NCHW"]}}]} for shape in shapes
    ]
    return {"program": {"regions": [{"blocks": [{"ops": [*data, branch]}]}]}}


def _written(folder: Path, program: object) -> Path:
    (folder / "inference.pdiparams").touch()
    path = folder / "inference.json"
    path.write_text(program if isinstance(program, str) else json.dumps(program))
    return path


@pytest.mark.parametrize("name", ["", "inference", "inference.json", "inference.pdiparams"])
def test_a_model_is_found_by(name: str, tmp_path: Path) -> None:
    _written(tmp_path, {})
    assert find(tmp_path / name) == tmp_path / "inference"


def test_a_prefix_may_hold_a_dot(tmp_path: Path) -> None:
    for suffix in ("json", "pdiparams"):
        (tmp_path / f"rec_v2.0.{suffix}").touch()
    assert find(tmp_path / "rec_v2.0") == tmp_path / "rec_v2.0"


def test_a_prefix_comes_before_a_folder_of_its_name(tmp_path: Path) -> None:
    _written(tmp_path, {})
    (tmp_path / "inference").mkdir()
    assert find(tmp_path / "inference") == tmp_path / "inference"


def test_a_model_of_paddle_2_is_told_from_none(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"inference\.json does not exist; expected a folder"):
        find(tmp_path)
    (tmp_path / "inference.pdmodel").touch()
    (tmp_path / "inference.pdiparams").touch()
    with pytest.raises(PipelineError, match=r"is of Paddle 2; .* again with Paddle 3\.0 to 3\.3"):
        find(tmp_path)


def test_missing_parameters_are_named(tmp_path: Path) -> None:
    _written(tmp_path, {})
    (tmp_path / "inference.pdiparams").unlink()
    with pytest.raises(PipelineError, match=r"inference\.pdiparams does not exist"):
        find(tmp_path)


@pytest.mark.parametrize("bound", ["MAX_PROGRAM_BYTES", "MAX_PARAMETER_BYTES"])
def test_a_file_beyond_its_bound_is_refused(
    bound: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _written(tmp_path, "12345678")
    (tmp_path / "inference.pdiparams").write_text("12345678")
    monkeypatch.setattr(inference_files, bound, 8)
    assert find(tmp_path)
    monkeypatch.setattr(inference_files, bound, 7)
    with pytest.raises(PipelineError, match="holds 8 bytes; expected at most 7"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("shape", "expected", "trial"),
    [
        pytest.param([-1, 3, 32, 100], (8, 3, 32, 100), 8, id="any batch"),
        pytest.param([1, 1, 32, 100], (1, 1, 32, 100), 8, id="batch 1, grey"),
        pytest.param([3, 3, 32, 100], (3, 3, 32, 100), 9, id="a batch that does not divide 8"),
        pytest.param([-1, 3, 48, -1], (8, 3, 48, 150), 8, id="any width"),
    ],
)
def test_the_pictures_are_those_of_the_input(
    shape: list[int], expected: tuple[int, ...], trial: int, tmp_path: Path
) -> None:
    found = read_pictures(_written(tmp_path, _program(shape)))
    assert found == Pictures(*expected)
    assert found.trial == trial


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param([], id="none"),
        pytest.param([[-1, 3, 32, 100], [-1, 3, 32, 100]], id="two"),
        pytest.param([[-1, 128]], id="no pictures"),
        pytest.param([[-1, 64, 32, 100]], id="64 channels"),
        pytest.param([[-1, 3, -1, 100]], id="an open height"),
        pytest.param([[-1, 3, 100000, 100000]], id="huge pictures"),
        pytest.param([[-1, 3, "32", 100]], id="a size in words"),
        pytest.param([3], id="a number for a shape"),
    ],
)
def test_other_inputs_are_refused(shapes: list[Any], tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="expected one input") as failure:
        read_pictures(_written(tmp_path, _program(*shapes)))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("operator", ["1.save_combine", "1.load", "1.py_func", "1.print"])
def test_an_operator_that_reaches_outside_is_refused(operator: str, tmp_path: Path) -> None:
    program = _written(tmp_path, _program([-1, 3, 32, 100], inner=operator))
    with pytest.raises(PipelineError, match=f"operator '{operator}', which reaches outside"):
        read_pictures(program)


@pytest.mark.parametrize(
    "text",
    ["junk", "[]", '{"program": 3}', "[" * 100_000, '{"program": {"regions": [{}]}}', ""],
    ids=["no JSON", "a list", "a number", "a nest", "no blocks", "nothing"],
)
def test_a_file_that_is_no_program_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="is no program of Paddle 3") as failure:
        read_pictures(_written(tmp_path, text))
    assert "\n" not in str(failure.value)
