"""Presets: ``@name`` in pass lists and recipes, and what each makes of StarNet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import pytest

from ascend.presets import PRESETS, Preset
from onnx_passes import optimize
from onnx_passes.core.contract import Pass, UsageError
from onnx_passes.core.passlist import Repeat, from_toml, parse, to_text
from onnx_passes.core.registry import passes
from onnx_passes.numerics.runner import run_model
from pipeline.cli.presets import expand, expand_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from onnx_passes.core.outcome import Outcome
    from onnx_passes.core.passlist import Item
    from tests.pipeline.cli.conftest import Answer

TEXTS = {preset.name: preset.passes for preset in PRESETS}
MOST_NODES = 260


def names_in(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Repeat):
            yield from names_in(item.items)
        else:
            assert isinstance(item, Pass)
            yield item.name


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        pytest.param("@clean", TEXTS["clean"], id="alone"),
        pytest.param("a,@clean, @clean", f"a,{TEXTS['clean']}, {TEXTS['clean']}", id="in a list"),
        pytest.param("(a,@clean)*", f"(a,{TEXTS['clean']})*", id="in a group"),
        pytest.param("a{x=@clean,y=[@b]},c", "a{x=@clean,y=[@b]},c", id="not in options"),
        pytest.param('a{x="},@clean"}', 'a{x="},@clean"}', id="not in quotes"),
        pytest.param("a@clean", "a@clean", id="not within a name"),
        pytest.param("a,b{c=1}", "a,b{c=1}", id="nothing to do"),
    ],
)
def test_expands(text: str, expanded: str) -> None:
    assert expand(text) == expanded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@cleen", "no preset '@cleen'; did you mean 'clean'?"),
        ("@ascend310", "'@ascend310'; did you mean 'ascend310p'?"),
        ("a,@", "no preset '@'; 'onnx-passes list --presets' shows all"),
    ],
    ids=["a typo", "a part of a name", "no name"],
)
def test_refuses_an_unknown_preset(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        expand(text)
    assert message in str(refused.value)


def test_expands_recipes_in_names_and_repeats_and_leaves_tables_alone() -> None:
    table = {"name": "fold-constants", "max_bytes": 7}
    entries: list[Any] = ["@clean", table, {"repeat": ["@clean", table]}]
    text = TEXTS["clean"]
    assert expand_entries(entries) == [text, table, {"repeat": [text, table]}]
    assert to_text(from_toml(expand_entries(["@clean"]))) == text
    assert expand_entries("@clean") == "@clean"
    assert expand_entries([7]) == [7]


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_pass_of_a_preset_exists(preset: Preset) -> None:
    items = parse(preset.passes)
    assert set(names_in(items)) <= {cls.name for cls in passes()}


class TestCommands:
    def test_list_shows_them(self, call: Callable[..., Answer]) -> None:
        answer = call("list", "--presets")
        assert (answer.code, answer.err) == (0, "")
        for preset in PRESETS:
            assert f"@{preset.name}: {preset.summary}\n    {preset.passes}\n" in answer.out
        document = call("list", "--presets", "--json").document
        assert [entry["name"] for entry in document] == list(TEXTS)
        assert set(document[0]) == {"name", "passes", "summary", "source"}

    def test_run_and_bisect_take_them(
        self, call: Callable[..., Answer], model: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out.onnx"
        answer = call("run", model, "-o", out, "--passes", "drop-identity,@clean")
        assert answer.code == 0
        assert [node.op_type for node in onnx.load(out).graph.node] == ["Gemm"]
        assert call("bisect", model, "--passes", "@clean").code == 0

    def test_a_recipe_takes_them(
        self, call: Callable[..., Answer], model: Path, tmp_path: Path
    ) -> None:
        recipe = tmp_path / "recipe.toml"
        recipe.write_text('passes = ["drop-identity", "@clean"]\n')
        answer = call("run", model, "-o", tmp_path / "out.onnx", "--recipe", recipe)
        assert answer.code == 0
        recipe.write_text('passes = ["@cleen"]\n')
        answer = call("run", model, "-o", tmp_path / "out.onnx", "--recipe", recipe)
        assert (answer.code, answer.out) == (2, "")
        assert "did you mean 'clean'?" in answer.err

    @pytest.mark.parametrize("command", ["run", "bisect"])
    def test_an_unknown_one_is_refused(
        self, refused: Callable[..., str], model: Path, tmp_path: Path, command: str
    ) -> None:
        target = ("-o", tmp_path / "out.onnx") if command == "run" else ()
        assert "no preset '@x'" in refused(command, model, *target, "--passes", "@x")


class TestStarNet:
    @staticmethod
    def run(model: Path, text: str, images: npt.NDArray[np.float32]) -> Outcome:
        """Run a preset; every change must be checked, and the texts must stay."""
        from eval.ctc import decode

        feeds = {"x": images}
        outcome = optimize(model, text, feeds=feeds)
        assert {step.verdict for step in outcome.steps} <= {"passed", "unchanged"}
        assert outcome.ok
        before, after = (
            next(iter(run_model(version, feeds).values())) for version in (model, outcome.model)
        )
        texts = [reading.text for reading in decode(before)]
        assert [reading.text for reading in decode(after)] == texts
        assert any(texts)
        return outcome

    def test_clean(self, starnet_onnx: Path, word_images: npt.NDArray[np.float32]) -> None:
        outcome = self.run(starnet_onnx, TEXTS["clean"], word_images)
        assert outcome.after.nodes < outcome.before.nodes
        assert outcome.after.operators["GridSample"] == 1

    def test_for_cann_8(self, starnet_onnx: Path, word_images: npt.NDArray[np.float32]) -> None:
        outcome = self.run(starnet_onnx, TEXTS["ascend310p"], word_images)
        assert outcome.model.opset_imports == {"": 17}
        assert outcome.after.operators["GridSample"] == 1
        gone = {"BatchNormalization", "Identity", "Shape", "Expand", "Loop"}
        assert gone.isdisjoint(outcome.after.operators)

    @pytest.mark.parametrize("pinned", [True, False], ids=["with a fixed batch", "with any batch"])
    def test_for_cann_5(
        self, starnet_onnx: Path, word_images: npt.NDArray[np.float32], *, pinned: bool
    ) -> None:
        shape = ",".join(map(str, word_images.shape))
        pin = f'pin-shape{{shapes="x={shape}"}},' if pinned else ""
        outcome = self.run(starnet_onnx, pin + TEXTS["ascend310p-cann5"], word_images)
        found = outcome.after.operators
        assert outcome.model.opset_imports == {"": 11}
        assert outcome.after.nodes <= MOST_NODES
        gone = {"GridSample", "HardSwish", "BatchNormalization", "Identity", "Expand", "Loop"}
        assert gone.isdisjoint(found)
        # The rows of a batch of any size are numbered when the model runs.
        assert [found.get(kind, 0) for kind in ("Shape", "Range")] == [0 if pinned else 1] * 2
