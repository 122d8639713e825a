from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from pipeline.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.onnx"


def test_writes_a_checked_model_and_says_how(
    call: Callable[..., Answer], model: Path, out: Path
) -> None:
    answer = call("run", model, "-o", out, "--passes", "drop-identity,(drop-unused)*")
    assert (answer.code, answer.err) == (0, "")
    assert operators(out) == ["MatMul", "Add"]
    assert "passed" in answer.out
    assert "bit-equal" in answer.out
    assert "nodes 3 -> 2; gone: Identity (1)" in answer.out
    assert "feeds: generated, seeds 0, 1: x float32 [2, 3]" in answer.out
    assert "expected outputs: onnxruntime" in answer.out
    assert f"wrote {out}" in answer.out
    assert operators(model) == ["Identity", "MatMul", "Add"]


def test_sentences_are_not_broken_on_a_narrow_terminal(
    call: Callable[..., Answer],
    model: Path,
    out: Path,
    plugin: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console.out, "_width", 40)
    run = ("run", model, "-o", out, "--plugin", plugin, "--on-fail", "keep", "--passes")
    answer = call(*run, "scale-weight")
    assert f"wrote {out}" in answer.out.splitlines()
    (reason,) = [line for line in answer.out.splitlines() if "scale-weight: output 'y'" in line]
    assert "allowed: 8 * max(noise" in reason


def test_may_write_over_the_model(call: Callable[..., Answer], model: Path) -> None:
    assert call("run", model, "-o", model, "--passes", "drop-identity").code == 0
    assert operators(model) == ["MatMul", "Add"]
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


def test_stop_names_the_pass_and_writes_nothing(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path
) -> None:
    before = sorted(path.name for path in model.parent.iterdir())
    passes = "drop-identity,scale-weight,drop-unused"
    answer = call("run", model, "-o", out, "--passes", passes, "--plugin", plugin)
    assert answer.code == 1
    assert "scale-weight: output 'y' against the model before it: " in answer.out
    assert "nothing was written" in answer.out
    assert "drop-unused" not in answer.out
    assert sorted(path.name for path in model.parent.iterdir()) == before


def test_a_failed_run_leaves_an_older_result_alone(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path
) -> None:
    out.write_bytes(b"older")
    assert call("run", model, "-o", out, "--passes", "scale-weight", "--plugin", plugin).code == 1
    assert call("run", model, "-o", out, "--passes", "explode", "--plugin", plugin).code == 1
    assert out.read_bytes() == b"older"


@pytest.mark.parametrize(
    "passes",
    ["scale-weight,drop-identity", "drop-identity,scale-weight", "explode,drop-identity,explode"],
)
def test_undo_writes_the_rest_and_ends_well_wherever_the_bad_pass_stands(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path, passes: str
) -> None:
    options = ("--plugin", plugin, "--on-fail", "undo")
    answer = call("run", model, "-o", out, "--passes", passes, *options)
    assert answer.code == 0
    assert operators(out) == ["MatMul", "Add"]
    original, result = (
        onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]) for path in (model, out)
    )
    np.testing.assert_array_equal(original, result)


def test_keep_writes_the_failed_model_and_says_so(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path
) -> None:
    options = ("--plugin", plugin, "--on-fail", "keep")
    answer = call("run", model, "-o", out, "--passes", "scale-weight,drop-identity", *options)
    assert answer.code == 1
    assert f"wrote {out}" in answer.out
    assert operators(out) == ["MatMul", "Add"]
    weight = onnx.numpy_helper.to_array(onnx.load(out).graph.initializer[0])
    assert weight[0, 0] == pytest.approx(0.101)


def test_what_could_not_be_checked_is_written_with_code_1_unless_accepted(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path
) -> None:
    dead = model.with_name("dead.onnx")
    killed = ("--plugin", plugin, "--on-fail", "keep", "--no-check")
    assert call("run", model, "-o", dead, "--passes", "kill-output", *killed).code == 0
    answer = call("run", dead, "-o", out, "--passes", "drop-identity")
    assert answer.code == 1
    assert "output 'y' dead: " in answer.out
    assert "not everything in it could be checked" in answer.out
    assert operators(out) == ["MatMul", "Add"]
    accepted = call("run", dead, "-o", out, "--passes", "drop-identity", "--accept-unchecked")
    assert accepted.code == 0


def test_no_check_checks_the_structure_only(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path
) -> None:
    options = ("--plugin", plugin, "--no-check")
    answer = call("run", model, "-o", out, "--passes", "scale-weight", *options)
    assert answer.code == 0
    assert "not checked" in answer.out
    assert "feeds:" not in answer.out


def test_json_is_all_of_stdout_and_logs_go_to_stderr(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path
) -> None:
    options = ("--plugin", plugin, "--json")
    good = call("-v", "run", model, "-o", out, "--passes", "drop-identity", "--json")
    assert good.code == 0
    assert good.document["written"] == str(out)
    assert good.document["ok"] is True
    bad = call("-vv", "run", model, "-o", out, "--passes", "scale-weight{factor=1.5}", *options)
    assert bad.code == 1
    assert bad.document["written"] is None
    assert bad.document["verdict"] == "failed"
    (step,) = bad.document["steps"]
    assert step["pass"] == "scale-weight{factor=1.5}"
    assert len(step["skipped"]) == 10


def test_notes_are_printed_as_they_are_and_only_the_first_few(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path
) -> None:
    options = ("--plugin", plugin)
    answer = call("run", model, "-o", out, "--passes", "scale-weight{factor=1.0}", *options)
    assert answer.code == 0
    assert "scale-weight left [b]node 7[/b] alone: left" in answer.out
    assert "node 8" not in answer.out
    assert "scale-weight left 2 more alone (see --json)" in answer.out


def test_feeds_and_shapes_are_used(
    call: Callable[..., Answer], model: Path, out: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "feeds.npz", x=np.arange(12, dtype=np.float32).reshape(4, 3))
    run = ("run", model, "-o", out, "--passes", "drop-identity")
    assert "given: x float32 [4, 3]" in call(*run, "--feeds", tmp_path / "feeds.npz").out
    assert "x float32 [7, 3]" in call(*run, "--shape", "x=7,3").out


RECIPE = """
on_fail = "undo"
passes = ["drop-identity", {name = "scale-weight", factor = 1.01}, {repeat = ["drop-unused"]}]
[shapes]
x = [5, 3]
"""


def test_a_recipe_says_the_same_as_options(
    call: Callable[..., Answer], model: Path, out: Path, plugin: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    run = ("run", model, "-o", out, "--recipe", recipe, "--plugin", plugin, "--json")
    answer = call(*run)
    assert answer.code == 0
    assert [step["verdict"] for step in answer.document["steps"]] == [
        *("passed", "failed", "unchanged")
    ]
    assert answer.document["feeds"].endswith("x float32 [5, 3]")
    over = call(*run, "--on-fail", "stop", "--shape", "x=6,3")
    assert over.code == 1
    assert over.document["feeds"].endswith("x float32 [6, 3]")


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "give either --passes TEXT or --recipe FILE", id="no list"),
        pytest.param(["--passes", "a", "--recipe", "r"], "give either --passes", id="two lists"),
        pytest.param(["--passes", ""], "the pass list is empty", id="an empty list"),
        pytest.param(["--passes", "drop-identiy"], "did you mean 'drop-identity'", id="a typo"),
        pytest.param(["--passes", "drop-identity,"], "character 15: the end", id="syntax"),
        pytest.param(["--passes", "drop-identity{x=1}"], "has no option 'x'", id="an option"),
        pytest.param(
            ["--passes", "fold-constants{max_bytes=much}"], "is 'much', expected int", id="a value"
        ),
        pytest.param(["--plugin", "none.py", "--passes", "a"], "is not a file", id="a plugin"),
    ],
)
def test_refuses_pass_lists(
    refused: Callable[..., str], model: Path, out: Path, arguments: list[str], message: str
) -> None:
    assert message in refused("run", model, "-o", out, *arguments)
    assert not out.exists()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        pytest.param(None, "cannot be read as TOML", id="no file"),
        pytest.param("passes = [", "cannot be read as TOML", id="bad TOML"),
        pytest.param("", "has no 'passes'", id="no passes"),
        pytest.param("passes = []", "the pass list is empty", id="an empty list"),
        pytest.param("passes = 'drop-identity'", "'passes' is a str, expected a list", id="text"),
        pytest.param("pases = []", "unknown key 'pases'; did you mean 'passes'?", id="a typo"),
        pytest.param("passes = [{x = 1}]", "entry 1 of the pass list is", id="a table"),
        pytest.param("passes = [{repeat = 'a'}]", "is an array, got 'a'", id="a repeat of text"),
        pytest.param(
            "passes = ['drop-identity']\non_fail = 'ignore'", "on_fail is 'ignore'", id="a policy"
        ),
        pytest.param(
            "passes = ['drop-identity']\nshapes = {x = 3}", "expected sizes like", id="a shape"
        ),
        pytest.param(
            "passes = ['drop-identity']\nshapes = {x = ['a', 3]}", "expected sizes", id="sizes"
        ),
        pytest.param("passes = ['drop-identity']\nshapes = []", "a list, expected a dict", id="s"),
    ],
)
def test_refuses_recipes(
    refused: Callable[..., str],
    model: Path,
    out: Path,
    tmp_path: Path,
    recipe: str | None,
    message: str,
) -> None:
    path = tmp_path / "recipe.toml"
    if recipe is not None:
        path.write_text(recipe)
    assert message in refused("run", model, "-o", out, "--recipe", path)
    assert not out.exists()


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda p: p.unlink(), "found nothing, expected an ONNX file", id="nothing"),
        pytest.param(lambda p: p.write_bytes(b""), "declares no opset", id="an empty file"),
        pytest.param(garbage, "is not a readable ONNX file", id="garbage"),
        pytest.param(lambda p: p.write_text("hello\nworld"), "is not a readable", id="a text"),
    ],
)
def test_refuses_models(
    refused: Callable[..., str],
    model: Path,
    out: Path,
    spoil: Callable[[Path], object],
    message: str,
) -> None:
    spoil(model)
    line = refused("run", model, "-o", out, "--passes", "drop-identity")
    assert message in line
    assert str(model) in line


@pytest.mark.parametrize(
    ("target", "message"),
    [
        pytest.param("none/out.onnx", "none does not exist; give a file name", id="no folder"),
        pytest.param("", "it is a folder", id="a folder"),
    ],
)
def test_refuses_targets_before_any_pass_runs(
    refused: Callable[..., str],
    model: Path,
    tmp_path: Path,
    plugin: Path,
    target: str,
    message: str,
) -> None:
    arguments = ("--passes", "explode", "--plugin", plugin)
    assert message in refused("run", model, "-o", tmp_path / target, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--shape", "x"], "'x' is not NAME=D0,D1,...", id="no sizes"),
        pytest.param(["--shape", "x=2,a"], "is not NAME=D0,D1", id="a letter"),
        pytest.param(["--shape", "x=-1,3"], "is not NAME=D0,D1", id="a negative size"),
        pytest.param(["--shape", "x=2"], "got 1 sizes", id="a rank"),
        pytest.param(["--shape", "x=2,4"], "3 is 3, not 4", id="a size"),
        pytest.param(["--shape", "z=2,3"], "names input 'z', the model has x", id="a name"),
        pytest.param(["--feeds", "none.npz"], "is neither a .npz file nor", id="no feeds"),
    ],
)
def test_refuses_shapes_and_feeds(
    refused: Callable[..., str], model: Path, out: Path, arguments: list[str], message: str
) -> None:
    line = refused("run", model, "-o", out, "--passes", "drop-identity", *arguments)
    assert message in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param({"z": np.ones((2, 3), "f")}, "feeds lack input 'x'", id="another name"),
        pytest.param({"x": np.ones((2, 3))}, "'x' is float64, the model's", id="another dtype"),
        pytest.param({"x": np.ones((2, 4), "f")}, "3 is 3, not 4", id="another size"),
        pytest.param({}, "holds no array", id="nothing"),
    ],
)
def test_refuses_feeds_that_do_not_fit(
    refused: Callable[..., str],
    model: Path,
    out: Path,
    tmp_path: Path,
    arrays: dict[str, Any],
    message: str,
) -> None:
    np.savez(tmp_path / "feeds.npz", **arrays)
    feeds = ("--feeds", tmp_path / "feeds.npz")
    assert message in refused("run", model, "-o", out, "--passes", "drop-identity", *feeds)
