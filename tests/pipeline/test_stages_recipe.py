"""Recipes: the built-in ones, and what is said of one that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from onnx_passes.core.passlist import to_text
from pipeline.cli.presets import expand_entries
from pipeline.errors import FlowError
from pipeline.published import published
from pipeline.stages.recipe import RECIPES, find_recipe

if TYPE_CHECKING:
    from pathlib import Path


def test_starnet_goes_by_both_names() -> None:
    recipe = find_recipe("starnet")
    assert find_recipe("starnet_mobilenetv3").passes == recipe.passes
    assert find_recipe("starnet_mobilenetv3").name == "starnet"
    assert recipe.network == "starnet"
    assert to_text(recipe.simplify) == "onnxsim"
    assert recipe.batches == (1, 4, 8, 16, 32, 64)
    assert recipe.published["acc"] == 0.8002817595091724


@pytest.mark.parametrize(
    ("name", "acc", "batches"),
    [
        ("starnet_resnet34", 0.8437888449127465, (1, 64)),
        ("rare_resnet34_vd", 0.847932376855944, (1, 32)),
        ("rare_mobilenetv3", None, (1, 64)),  # its printed accuracy is that of the network above
    ],
)
def test_the_siblings_say_what_was_published(
    name: str, acc: float | None, batches: tuple[int, ...]
) -> None:
    recipe = find_recipe(name)
    assert recipe.network == name
    assert recipe.published.get("acc") == acc
    assert ("norm_edit_dis" in recipe.published) == (acc is not None)
    figures = published(recipe.published["throughput"])
    assert tuple(figures.fps) == batches
    assert figures.model.startswith(recipe.title)
    assert figures.source == recipe.published["source"]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_built_in_recipes_are_good(path: Path) -> None:
    assert find_recipe(path.stem, expand_entries).title


def test_presets_are_put_in_place(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('passes = ["@clean"]')
    assert "fold-constants" in to_text(find_recipe(str(path), expand_entries).passes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            '\npases = ["x"]\n', "line 2: unknown key 'pases'; did you mean 'passes'?", id="a key"
        ),
        pytest.param(
            "zzz = 1\n", "line 1: unknown key 'zzz'; known: title, aliases,", id="no near key"
        ),
        pytest.param(
            'passes = ["drop-identity"]\n\n[published]\nac = 0.8\n',
            "line 4: unknown key 'ac' in [published]; did you mean 'acc'?",
            id="a key in a table",
        ),
        pytest.param(
            'soc = "310P3"\npasses = "drop-identity"\n',
            "line 2: 'passes' is a str, expected a list",
            id="a type",
        ),
        pytest.param(
            '# acc = 1\npasses = ["drop-identity"]\n[published]\nacc = "high"\n',
            "line 4: 'acc' is a str, expected a float",
            id="a type in a table, its name in a comment above",
        ),
        pytest.param("[shapes]\n", "line 1: it has no 'passes'", id="no passes"),
        pytest.param("passes = []\n", "line 1: 'passes' is empty", id="no pass"),
        pytest.param(
            'passes = [\n  "drop-identity",\n  "drop-identiti",\n]\n',
            "line 3: unknown pass 'drop-identiti'; did you mean 'drop-identity'",
            id="an unknown pass",
        ),
        pytest.param(
            'passes = [\n  "drop-identity",\n  { name = "drop-identity", max = 3 },\n]\n',
            "line 3: ",
            id="an unknown option",
        ),
        pytest.param(
            'passes = ["drop-identity"]\nnetwork = "starnett"\n',
            "line 2: no network 'starnett'; did you mean 'starnet'?",
            id="an unknown network",
        ),
        pytest.param(
            'passes = ["drop-identity"]\nbatches = [1, 0]\n',
            "line 2: 'batches': expected whole numbers above 0",
            id="a batch of none",
        ),
        pytest.param(
            'passes = ["drop-identity"]\n[words]\nplain = "many"\n',
            "line 3: 'plain': expected whole numbers above 0",
            id="a number of words",
        ),
        pytest.param('passes = ["a"\nsoc = 1\n', "line 2: ", id="bad TOML"),
        pytest.param('passes = ["a', ": ", id="bad TOML at the end"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_line(
    text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FlowError) as raised:
        find_recipe(str(path))
    assert f"recipe {path}" in str(raised.value)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_recipe_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match=r"no recipe 'starnett'; did you mean 'starnet'\?.*custom"):
        find_recipe("starnett")
    with pytest.raises(FlowError, match=r"none\.toml cannot be read: No such file"):
        find_recipe("none.toml")
    latin = tmp_path / "l.toml"
    latin.write_bytes('title = "é"'.encode("latin-1"))
    with pytest.raises(FlowError, match="not UTF-8 at byte 9"):
        find_recipe(str(latin))
