"""What is written fails again with the command that is written beside it."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core import registry
from onnx_passes.core.bisect import bisect
from onnx_passes.core.contract import UsageError
from onnx_passes.core.manager import Settings
from onnx_passes.core.model_io import load
from onnx_passes.core.passlist import parse
from onnx_passes.core.registry import load_plugin
from onnx_passes.core.reproducer import refuse_target, versions, write_reproducer
from pipeline.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from onnx_passes.core.bisect import Culprit
    from onnx_passes.core.reproducer import Reproducer
    from tests.onnx_passes.conftest import Lab

PLUGIN = '''
import dataclasses
from typing import ClassVar
import onnx_ir as ir
from onnx_passes import Note, Pass, PassResult, register
from onnx_passes.core.contract import label

class _Edit(Pass):
    name: ClassVar[str] = ""

@register
@dataclasses.dataclass(frozen=True)
class TanhToSin(Pass):
    """Turn every Tanh into Sin, if the model has enough nodes."""
    name, exactness = "tanh-to-sin", "exact"
    min_nodes: int = 0
    else_raise: bool = False

    def run(self, model):
        result = PassResult()
        if len(model.graph) < self.min_nodes:
            if self.else_raise:
                raise RuntimeError("too small")
            return result
        for node in model.graph:
            if node.op_type == "Tanh":
                node.op_type = "Sin"
                result.rewritten.append(Note(label(node), "sine is cheaper"))
        return result

@register
@dataclasses.dataclass(frozen=True)
class Drift(Pass):
    """Let the first constant grow by a few spacings."""
    name, exactness = "drift", "close"

    def run(self, model):
        value = next(iter(model.graph.initializers.values()))
        array = value.const_value.numpy()
        grown = (array * (1 + 7 * 2.0**-23)).astype(array.dtype)
        value.const_value = ir.Tensor(grown, name=value.name)
        return PassResult()

@register
class RenameOutput(Pass):
    """Rename the first output."""
    name, exactness = "rename-output", "exact"

    def run(self, model):
        model.graph.outputs[0].name = "renamed"
        return PassResult()

@register
class GiveUp(Pass):
    """Raise."""
    name, exactness = "give-up", "exact"

    def run(self, model):
        raise RuntimeError("boom")
'''
LONG = """
g (float[2, 4] x) => (float[2, 4] y) <float k = {1.5}> {
    a = Mul(x, k) b = Neg(a) c = Abs(b) d = Add(c, a) e = Tanh(d) f = Mul(e, k) h = Neg(f)
    i = Abs(h) j = Add(i, x) l = Neg(j) y = Exp(l)
}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Return a plugin file; its passes are registered."""
    path = tmp_path / "my passes.py"
    path.write_text(PLUGIN)
    load_plugin(path)
    return path


@pytest.fixture
def reproduce(plugin: Path, tmp_path: Path) -> Callable[..., Reproducer]:
    """Return ``reproduce(model, passes, **settings)``: bisect and write ``tmp_path/repro``."""

    def write(model: ir.Model, passes: str, **settings: Any) -> Reproducer:  # noqa: ANN401  passed on
        given = Settings(**settings)
        culprit = bisect(model, parse(passes), given)
        assert culprit is not None
        return write_reproducer(culprit, given, tmp_path / "repro", (plugin,))

    return write


@pytest.fixture
def again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Reproducer], Any]:
    """Return ``again(written)``: run its command in its folder; return the JSON of the run."""

    def run(written: Reproducer) -> Any:  # noqa: ANN401  any JSON
        planted = set(registry._registered) & {"tanh-to-sin", "drift", "rename-output", "give-up"}
        rest = {n: cls for n, cls in registry._registered.items() if n not in planted}
        monkeypatch.setattr(registry, "_registered", rest)
        monkeypatch.chdir(written.folder)
        program, *arguments = shlex.split(written.command)
        assert program == "onnx-passes"
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--json"])
        captured = capsys.readouterr()
        assert left.value.code == 1, captured.err
        assert not (written.folder / "out.onnx").exists()
        return json.loads(captured.out)

    return run


def last_step(document: Any) -> Any:  # noqa: ANN401  any JSON
    return document["steps"][-1]


class TestCutting:
    """The model is cut down to what is needed to fail."""

    def test_one_node_is_left_of_many_and_it_fails_again(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
    ) -> None:
        written = reproduce(lab.model(LONG), "drop-identity,tanh-to-sin")
        assert written.nodes == 1
        model = onnx.load(written.folder / "model.onnx")
        assert [node.op_type for node in model.graph.node] == ["Tanh"]
        onnx.checker.check_model(model, full_check=True)
        step = last_step(again(written))
        assert (step["pass"], step["verdict"]) == ("tanh-to-sin", "failed")
        assert step["rewritten"] == [{"node": "Sin -> 'e'", "text": "sine is cheaper"}]

    def test_the_piece_grows_until_it_fails(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
    ) -> None:
        written = reproduce(lab.model(LONG), "tanh-to-sin{min_nodes=3}")
        assert lab.ops(load(written.folder / "model.onnx")) == ["Mul", "Neg", "Abs", "Add", "Tanh"]
        assert last_step(again(written))["pass"] == "tanh-to-sin{min_nodes=3}"

    @pytest.mark.parametrize("else_raise", ["false", "true"], ids=["passes", "crashes"])
    def test_the_whole_model_is_kept_if_a_piece_does_not_fail_as_it_did(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
        else_raise: str,
    ) -> None:
        passes = f"tanh-to-sin{{min_nodes=11,else_raise={else_raise}}}"
        written = reproduce(lab.model(LONG), passes)
        assert written.nodes == 11
        assert "--feeds" not in written.command
        assert last_step(again(written))["verdict"] == "failed"

    def test_the_whole_keeps_the_given_feeds(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
    ) -> None:
        x = np.linspace(-1, 2, 8, dtype=np.float32).reshape(2, 4)
        written = reproduce(lab.model(LONG), "tanh-to-sin{min_nodes=11}", feeds={"x": x})
        with np.load(written.folder / "feeds.npz") as feeds:
            assert feeds["x"].tolist() == x.tolist()
        assert again(written)["feeds"] == "given: x float32 [2, 4]"

    def test_the_whole_keeps_the_given_shapes(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
    ) -> None:
        model = lab.model(LONG.replace("[2, 4]", "[N, 4]").replace("[2, 4]", "[N, 4]"))
        written = reproduce(model, "tanh-to-sin{min_nodes=11}", shapes={"x": (5, 4)})
        assert "--shape x=5,4" in written.command
        assert again(written)["feeds"].endswith("x float32 [5, 4]")

    def test_the_model_is_not_changed_by_cutting(self, lab: Lab, plugin: Path) -> None:
        culprit = bisect(lab.model(LONG), parse("tanh-to-sin"), Settings())
        assert culprit is not None
        before = [ir.to_proto(m).SerializeToString() for m in (culprit.model, culprit.before)]
        write_reproducer(culprit, Settings(), plugin.with_name("repro"), (plugin,))
        after = [ir.to_proto(m).SerializeToString() for m in (culprit.model, culprit.before)]
        assert after == before


class TestKindsOfFailures:
    """Not only numbers fail."""

    @pytest.mark.parametrize(
        ("name", "verdict", "reason"),
        [
            ("rename-output", "failed", "graph outputs were ['y'], now ['renamed']"),
            ("give-up", "crashed", "RuntimeError: boom"),
        ],
        ids=["a changed interface", "a crash"],
    )
    def test_without_a_tensor_the_whole_model_is_written(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
        name: str,
        verdict: str,
        reason: str,
    ) -> None:
        written = reproduce(lab.model(LONG), name)
        assert written.nodes == 11
        step = last_step(again(written))
        assert (step["verdict"], step["reason"]) == (verdict, reason)

    def test_errors_that_only_add_up_take_the_whole_list(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
    ) -> None:
        text = "g (float[64] x) => (float[64] y) <float k = {1.5}> { y = Mul(x, k) }"
        written = reproduce(lab.model(text), "(drift)*,drop-unused")
        passes = (written.folder / "passes.txt").read_text()
        assert passes == "(drift)*,drop-unused\n"
        document = again(written)
        verdicts = [step["verdict"] for step in document["steps"]]
        assert verdicts[0] == "passed"
        assert verdicts[-1] == "failed"


class TestKindsOfModels:
    """Pieces of models that are not a plain chain of floats."""

    @pytest.mark.parametrize(
        ("text", "ops"),
        [
            pytest.param(
                """
                g (float[2] x) => (float[2] y)
                { k = Constant<value_floats = [0.5, 0.6]>() t = Tanh(k) y = Mul(x, t) }
                """,
                ["Tanh"],
                id="a constant before it",
            ),
            pytest.param(
                """
                g (float[2, 4] x) => (float[2, 4] y) {
                    s = SplitToSequence<axis = 0>(x)
                    o = Constant<value_int = 1>()
                    z = ConcatFromSequence<axis = 0>(s)
                    t = Tanh(z)
                    y = Abs(t)
                }
                """,
                ["Tanh"],
                id="a sequence before it",
            ),
            pytest.param(
                """
                g (float[2] x, bool c) => (float[2] y) {
                    a = Abs(x)
                    b = If (c) <
                        then_branch = p () => (float[2] q) { q = Exp(a) },
                        else_branch = r () => (float[2] s) { s = Neg(a) }
                    >
                    t = Tanh(b)
                    y = Neg(t)
                }
                """,
                ["Tanh"],
                id="a branch before it",
            ),
            pytest.param(
                """
                g (float[2] x) => (float[2] y) { a = f.twice(x) t = Tanh(a) y = f.twice(t) }
                <domain: "f", opset_import: ["": 16]>
                twice (v) => (w) { w = Add(v, v) }
                """,
                ["Tanh"],
                id="functions around it",
            ),
            pytest.param(
                """
                g (float[2] x) => (float[2] y) {
                    a = Cast<to = 10>(x) t = Tanh(a) b = Cast<to = 1>(t) y = Neg(b)
                }
                """,
                ["Tanh"],
                id="float16",
            ),
        ],
    )
    def test_are_cut_and_fail_again(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
        text: str,
        ops: list[str],
    ) -> None:
        written = reproduce(lab.model(text, domains=', "f": 1'), "tanh-to-sin")
        assert lab.ops(load(written.folder / "model.onnx"))[-len(ops) :] == ops
        assert last_step(again(written))["verdict"] == "failed"

    def test_a_piece_of_constants_takes_no_feeds(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
    ) -> None:
        model = lab.model("""
            g (float[2] x) => (float[2] y)
            { k = Constant<value_floats = [0.5, 0.6]>() t = Tanh(k) y = Mul(x, t) }
        """)
        written = reproduce(model, "tanh-to-sin{min_nodes=2}")
        assert written.nodes == 2
        assert not (written.folder / "feeds.npz").exists()
        assert last_step(again(written))["verdict"] == "failed"

    def test_a_piece_that_would_be_fed_a_sequence_grows(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
    ) -> None:
        model = lab.model("""
            g (float[2, 4] x) => (float[2, 4] y) <int64 one = {1}> {
                a = Neg(x)
                s = SplitToSequence<axis = 0>(a)
                t = SequenceAt(s, one)
                u = Tanh(t)
                y = Sub(x, u)
            }
        """)
        # Two nodes would be SequenceAt and Tanh.
        written = reproduce(model, "tanh-to-sin{min_nodes=2}")
        ops = lab.ops(load(written.folder / "model.onnx"))
        assert ops == ["Neg", "SplitToSequence", "SequenceAt", "Tanh"]
        assert last_step(again(written))["verdict"] == "failed"

    def test_weights_in_a_file_come_along(
        self,
        lab: Lab,
        tmp_path: Path,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
    ) -> None:
        model = lab.model(
            "g (float[2, 32] x, float[32, 32] w) => (float[2, 32] y)"
            "{ a = MatMul(x, w) t = Tanh(a) y = Neg(t) }"
        )
        lab.bind(model, {"w": np.eye(32, dtype=np.float32)})
        ir.save(model, tmp_path / "m.onnx", external_data="m.data")
        written = reproduce(load(tmp_path / "m.onnx"), "tanh-to-sin{min_nodes=2}")
        assert (written.folder / "model.onnx.data").exists()
        assert last_step(again(written))["verdict"] == "failed"

    @pytest.mark.parametrize("name", ["../x", "a/b", "file", "x.npy", "with space", "'; rm x #"])
    def test_tensors_may_have_any_name(
        self,
        lab: Lab,
        reproduce: Callable[..., Reproducer],
        again: Callable[[Reproducer], Any],
        tmp_path: Path,
        name: str,
    ) -> None:
        model = lab.model(LONG)
        values = {v.name: v for node in model.graph for v in node.outputs}
        values["d"].name, values["e"].name = name, f"{name}/out"
        written = reproduce(model, "tanh-to-sin")
        assert last_step(again(written))["rewritten"][0]["node"] == f"Sin -> {name + '/out'!r}"
        with np.load(written.folder / "feeds.npz") as feeds:
            assert feeds.files == [name]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["my passes.py", "repro"]


class TestFolder:
    """What lies in the folder, and where it may be."""

    def test_holds_everything_and_nothing_else(
        self, lab: Lab, reproduce: Callable[..., Reproducer], plugin: Path
    ) -> None:
        written = reproduce(lab.model(LONG), "tanh-to-sin{min_nodes=1}")
        files = {path.name for path in written.folder.iterdir()}
        named = {"feeds.npz", "model.onnx", "passes.txt", "versions.json", "README.txt"}
        assert files == {*named, "my passes.py"}
        assert (written.folder / plugin.name).read_text() == PLUGIN
        assert (written.folder / "passes.txt").read_text() == "tanh-to-sin{min_nodes=1}\n"
        assert json.loads((written.folder / "versions.json").read_text()) == versions()
        readme = (written.folder / "README.txt").read_text()
        assert readme.endswith(f"\n    {written.command}\n")
        assert "The first tensor that goes wrong is 'e', made by Sin -> 'e'" in readme
        assert "--plugin 'my passes.py'" in written.command

    def test_versions_name_python_and_what_takes_part(self) -> None:
        found = versions()
        assert found["onnxruntime"].count(".") == 2
        assert set(found) >= {"python", "machine", "onnx", "onnx-ir", "numpy", "onnxsim"}

    @pytest.fixture
    def culprit(self, lab: Lab, plugin: Path) -> Culprit:
        assert plugin.exists()
        culprit = bisect(lab.model(LONG), parse("give-up"), Settings())
        assert culprit is not None
        return culprit

    def test_may_be_empty_or_in_new_folders(self, culprit: Culprit, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for folder in (tmp_path / "empty", tmp_path / "new" / "one" / "deeper"):
            assert write_reproducer(culprit, Settings(), folder).folder == folder
            assert (folder / "model.onnx").exists()
            assert not list(folder.parent.glob(".onnx-passes-*"))

    def test_may_not_hold_anything(self, culprit: Culprit, tmp_path: Path) -> None:
        folder = tmp_path / "mine"
        folder.mkdir()
        (folder / "thesis.txt").write_text("years")
        with pytest.raises(UsageError, match="it exists and is not an empty folder"):
            write_reproducer(culprit, Settings(), folder)
        assert [path.name for path in folder.iterdir()] == ["thesis.txt"]

    def test_may_not_be_a_file(self, culprit: Culprit, plugin: Path) -> None:
        with pytest.raises(UsageError, match="it exists and is not an empty folder"):
            write_reproducer(culprit, Settings(), plugin)
        assert plugin.read_text() == PLUGIN

    def test_may_not_lie_in_a_file(self, culprit: Culprit, plugin: Path) -> None:
        with pytest.raises(UsageError, match=r"cannot write the reproducer to .*: File exists"):
            write_reproducer(culprit, Settings(), plugin / "repro")

    def test_is_not_left_half_written(self, culprit: Culprit, tmp_path: Path) -> None:
        gone = tmp_path / "gone.py"
        with pytest.raises(UsageError, match="No such file"):
            write_reproducer(culprit, Settings(), tmp_path / "repro", (gone,))
        assert [path.name for path in tmp_path.iterdir()] == ["my passes.py"]

    def test_cannot_hold_two_plugins_of_one_name(self, tmp_path: Path) -> None:
        twins = [tmp_path / "a" / "p.py", tmp_path / "b" / "p.py"]
        with pytest.raises(UsageError, match=r"two plugins called 'p\.py'"):
            refuse_target(tmp_path / "new", twins)
        refuse_target(tmp_path / "new", twins[:1])
