from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from onnx_passes.core import bisect as bisection
from onnx_passes.core import registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer

DEAD = """
<ir_version: 8, opset_import: ["": 16]>
g (float[2] x) => (float[2] y) <float w = {2}> { a = Mul(x, w) y = Sub(a, a) }
"""
NOTED = '''
import numpy as np
import onnx_ir as ir
from onnx_passes import Note, Pass, PassResult, register
from onnx_passes.core.contract import label

@register
class TouchAll(Pass):
    """Touch every node, and make a fault at the Add."""
    name, exactness = "touch-all", "exact"

    def run(self, model):
        result = PassResult()
        for node in model.graph:
            node.name = f"node of {node.outputs[0].name}"
            if node.op_type == "Add":
                node.op_type = "Sub"
            result.rewritten.append(Note(label(node), "[b]named[/b]"))
        return result

@register
class RaiseLate(Pass):
    """Touch a node, then raise."""
    name, exactness = "raise-late", "exact"

    def run(self, model):
        PassResult().rewritten.append(Note("Identity -> 'i'", "touched"))
        raise RuntimeError("boom")
'''
KEYS = {"pass", "rewrite", "tensor", "node", "reason"}


@pytest.fixture
def noted(tmp_path: Path) -> Path:
    """Return a plugin whose pass notes its rewrites."""
    path = tmp_path / "noted.py"
    path.write_text(NOTED)
    return path


def words(text: str) -> str:
    """Return text without line breaks."""
    return " ".join(text.split())


class TestText:
    """What a person reads."""

    def test_one_paragraph_names_pass_rewrite_tensor_and_node(
        self, call: Callable[..., Answer], model: Path, noted: Path
    ) -> None:
        answer = call("bisect", model, "--passes", "drop-unused,touch-all", "--plugin", noted)
        assert (answer.code, answer.err) == (1, "")
        text = words(answer.out)
        assert text.startswith("Pass 'touch-all' (step 2) failed. Its rewrite 3 of 3 is the first")
        assert "Sub -> 'y': [b]named[/b]." in text
        assert "The first tensor that goes wrong is 'y', made by Sub -> 'y':" in text
        assert "Reproducer" not in text

    def test_nothing_breaks(self, call: Callable[..., Answer], model: Path, tmp_path: Path) -> None:
        repro = tmp_path / "repro"
        answer = call("bisect", model, "--passes", "(drop-identity)*,drop-unused", "--repro", repro)
        assert (answer.code, answer.err) == (0, "")
        assert answer.out == "Every pass passes: nothing breaks the numbers.\n"
        assert not repro.exists()


class TestJson:
    """What a program reads."""

    def test_holds_pass_rewrite_tensor_and_node(
        self, call: Callable[..., Answer], model: Path, noted: Path
    ) -> None:
        answer = call("bisect", model, "--passes", "touch-all", "--plugin", noted, "--json")
        assert (answer.code, answer.err) == (1, "")
        document = answer.document
        assert document.keys() >= KEYS
        assert document["pass"] == "touch-all"
        assert document["rewrite"] == {"node": "Sub -> 'y'", "text": "[b]named[/b]", "number": 3}
        assert (document["tensor"], document["node"]) == ("y", "Sub -> 'y'")
        assert (document["step"], document["verdict"], document["compared"]) == (1, "failed", 3)
        assert document["difference"]["max_abs"] > 0
        assert document["paragraph"].startswith("Pass 'touch-all' (step 1) failed.")
        assert document["reproducer"] is None

    def test_without_rewrite_and_tensor_these_are_null(
        self, call: Callable[..., Answer], model: Path, plugin: Path
    ) -> None:
        document = call(
            "bisect", model, "--passes", "explode", "--plugin", plugin, "--json"
        ).document
        assert (document["pass"], document["verdict"]) == ("explode", "crashed")
        assert document["reason"] == "RuntimeError: boom"
        assert [document[key] for key in ("rewrite", "tensor", "node", "difference")] == [None] * 4

    def test_a_crash_names_the_last_rewrite(
        self, call: Callable[..., Answer], model: Path, noted: Path
    ) -> None:
        document = call(
            "bisect", model, "--passes", "raise-late", "--plugin", noted, "--json"
        ).document
        assert document["rewrite"]["number"] == 1
        assert document["node"] == "Identity -> 'i'"
        assert document["tensor"] is None

    def test_has_the_same_keys_when_nothing_breaks(
        self, call: Callable[..., Answer], model: Path
    ) -> None:
        answer = call("bisect", model, "--passes", "drop-identity", "--json")
        assert answer.code == 0
        nothing = {"pass": None, "rewrite": None, "tensor": None, "node": None, "reason": ""}
        assert answer.document == nothing

    def test_infinite_differences_stay_json(
        self, call: Callable[..., Answer], model: Path, plugin: Path
    ) -> None:
        passes = "scale-weight{factor=inf}"
        answer = call("bisect", model, "--passes", passes, "--plugin", plugin, "--json")
        assert answer.code == 1
        assert "Infinity" not in answer.out
        assert "NaN" not in answer.out
        assert answer.document["tensor"] == "a"


class TestFeeds:
    """--feeds and --shape reach the search."""

    def test_feeds(self, call: Callable[..., Answer], model: Path, plugin: Path) -> None:
        feeds = model.with_name("feeds.npz")
        np.savez(feeds, x=np.full((5, 3), 2, np.float32))
        passes = ("--passes", "scale-weight", "--plugin", plugin)
        answer = call("bisect", model, *passes, "--feeds", feeds, "--json")
        assert answer.document["difference"]["size"] == 5 * 2

    def test_shape(self, call: Callable[..., Answer], model: Path, plugin: Path) -> None:
        passes = ("--passes", "scale-weight", "--plugin", plugin)
        answer = call("bisect", model, *passes, "--shape", "x=7,3", "--json")
        assert answer.document["difference"]["size"] == 7 * 2


class TestReproducer:
    """--repro writes a folder that fails again."""

    def test_is_announced_and_runs(
        self,
        call: Callable[..., Answer],
        model: Path,
        plugin: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        before = dict(registry._registered)
        repro = model.with_name("repro")
        passes = ("--passes", "drop-identity,scale-weight", "--plugin", plugin)
        answer = call("bisect", model, *passes, "--repro", repro)
        assert answer.code == 1
        said, command = answer.out.splitlines()[-2:]
        assert said == f"Reproducer: {repro} (1 nodes). Run there:"
        monkeypatch.setattr(registry, "_registered", before)
        monkeypatch.chdir(repro)
        program, *arguments = shlex.split(command)
        assert program == "onnx-passes"
        assert call(*arguments).code == 1

    def test_is_in_the_json(self, call: Callable[..., Answer], model: Path, plugin: Path) -> None:
        repro = model.with_name("repro")
        passes = ("--passes", "scale-weight", "--plugin", plugin)
        document = call("bisect", model, *passes, "--repro", repro, "--json").document
        assert document["reproducer"]["folder"] == str(repro)
        assert document["reproducer"]["command"].startswith("onnx-passes run model.onnx -o ")

    def test_a_taken_folder_is_refused_before_the_search(
        self,
        refused: Callable[..., str],
        model: Path,
        plugin: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(bisection, "bisect", None)
        passes = ("--passes", "scale-weight", "--plugin", plugin)
        said = refused("bisect", model, *passes, "--repro", model.parent)
        assert "it exists and is not an empty folder" in said


class TestRefusals:
    """Exit code 2 and one line."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["model.onnx"], "Missing option '--passes'"),
            (["model.onnx", "--passes", "drop-identiti"], "did you mean 'drop-identity'?"),
            (["none.onnx", "--passes", "drop-identity"], "found nothing, expected an ONNX file"),
            (["model.onnx", "--passes", "drop-identity", "--plugin", "no.py"], "is not a file"),
            (["model.onnx", "--passes", "drop-identity", "--feeds", "no.npz"], "feeds no.npz"),
            (["model.onnx", "--passes", "drop-identity", "--shape", "z=1"], "'z'"),
        ],
        ids=["no passes", "unknown pass", "no model", "no plugin", "no feeds", "unknown input"],
    )
    def test_what_cannot_be_used(
        self,
        refused: Callable[..., str],
        model: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: list[str],
        said: str,
    ) -> None:
        monkeypatch.chdir(model.parent)
        assert said in refused("bisect", *arguments)

    def test_a_change_that_cannot_be_checked(
        self, refused: Callable[..., str], tmp_path: Path, plugin: Path
    ) -> None:
        path = tmp_path / "dead.onnx"
        onnx.save(onnx.parser.parse_model(DEAD), path)
        said = refused("bisect", path, "--passes", "scale-weight", "--plugin", plugin)
        assert "pass 'scale-weight' cannot be checked" in said
