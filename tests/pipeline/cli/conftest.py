"""The command line in this process, a model file, and a plugin with passes that go wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import onnx
import pytest

from onnx_passes.core import registry
from pipeline.cli import console, main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3] x) => (float[N, 2] y)
<float[3, 2] w = {0.1, -0.7, 0.3, 0.9, -0.4, 0.6}, float[2] b = {0.2, -1}>
{ i = Identity(x) a = MatMul(i, w) y = Add(a, b) }
"""
PLUGIN = '''
"""The page of the planted passes."""
import dataclasses
from typing import ClassVar
import numpy as np
import onnx_ir as ir
from onnx_passes import Note, Pass, PassResult, register

@register
@dataclasses.dataclass(frozen=True)
class ScaleWeight(Pass):
    """Scale a weight."""
    name: ClassVar[str] = "scale-weight"
    exactness: ClassVar[str] = "close"
    factor: float = 1.01

    def run(self, model):
        weight = model.graph.initializers["w"]
        array = weight.const_value.numpy() * np.float32(self.factor)
        weight.const_value = ir.Tensor(array, name="w")
        return PassResult(skipped=[Note(f"[b]node {i}[/b]", "left") for i in range(10)])

@register
class Kill(Pass):
    name, exactness = "kill-output", "close"

    def run(self, model):
        weight = model.graph.initializers["w"]
        weight.const_value = ir.Tensor(weight.const_value.numpy() * 0, name="w")
        return PassResult()

@register
class Explode(Pass):
    name, exactness = "explode", "exact"

    def run(self, model):
        raise RuntimeError("boom")
'''


class Answer(NamedTuple):
    """What a command leaves behind."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401  any JSON
        """All of stdout as JSON."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def registry_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget, after the test, the passes of its plugins."""
    registry.passes()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Answer]:
    """Return ``call("run", path, ...)``: the command line in this process, 200 columns wide."""
    monkeypatch.setattr(console.out, "_width", 200)

    def run(*arguments: object) -> Answer:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Answer(left.value.code, captured.out, captured.err)

    return run


@pytest.fixture
def refused(call: Callable[..., Answer]) -> Callable[..., str]:
    """Return ``refused(...)``: the command must end with code 2 and one line, which it returns."""

    def run(*arguments: object) -> str:
        answer = call(*arguments)
        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.startswith("onnx-passes: ")
        assert answer.err.count("\n") == 1
        return answer.err

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model file: Identity, MatMul, Add."""
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(MODEL), path)
    return path


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Return a plugin: scale-weight is wrong, kill-output leaves a dead output, explode raises."""
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    return path
