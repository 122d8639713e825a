from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.core import isolate, model_io
from onnx_passes.core.contract import Note, ToolError
from onnx_passes.core.isolate import run_isolated
from onnx_passes.core.passlist import parse
from onnx_passes.core.registry import load_plugin

if TYPE_CHECKING:
    from onnx_passes.core.contract import Pass
    from tests.onnx_passes.conftest import Lab

PLUGIN = """
import dataclasses, os, signal
from typing import ClassVar
import numpy as np
import onnx_ir as ir
from onnx_passes import Note, Pass, PassResult, register

@register
@dataclasses.dataclass(frozen=True)
class Child(Pass):
    name: ClassVar[str] = "child"
    exactness: ClassVar[str] = "exact"
    do: str = "nothing"
    note: str = ""

    def run(self, model):
        return getattr(self, self.do)(model)

    def nothing(self, model):
        print("noise on stdout")
        return PassResult(skipped=[Note(str(os.getpid()), self.note)])

    def double(self, model):
        weight = model.graph.initializers["w"]
        weight.const_value = ir.Tensor(weight.const_value.numpy() * 2, name="w")
        return PassResult(rewritten=[Note("Mul -> 'y'", "doubled")])

    def raise_(self, model):
        raise ValueError("no such thing")

    def forget(self, model):
        pass

    def leave(self, model):
        os._exit(0)

    def kill(self, model):
        os.kill(os.getpid(), signal.SIGKILL)

    def hoard(self, model):
        np.empty(1 << 36, np.uint8)
"""


@pytest.fixture
def child(tmp_path: Path) -> type[Pass]:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    return load_plugin(plugin)[0]


@pytest.fixture
def model(lab: Lab) -> ir.Model:
    return lab.model("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Mul(x, w) }")


def make(do: str, note: str = "") -> Any:  # noqa: ANN401  the plugin's class
    (item,) = parse(f'child{{do={do},note="{note}"}}')
    return item


@pytest.mark.usefixtures("child")
def test_a_change_comes_back_with_its_notes(model: ir.Model) -> None:
    changed, result = run_isolated(make("double"), model)
    tensor = changed.graph.initializers["w"].const_value
    assert tensor is not None
    np.testing.assert_array_equal(tensor.numpy(), [2, 4])
    assert result.rewritten == [Note("Mul -> 'y'", "doubled")]


@pytest.mark.usefixtures("child")
def test_without_a_change_the_model_itself_comes_back(model: ir.Model, tmp_path: Path) -> None:
    """External tensors included: read back from a file, they would look changed."""
    tensor = ir.Tensor(np.ones(300, np.float32), name="w")
    model.graph.initializers["w"].const_value = tensor
    ir.save(model, tmp_path / "m.onnx", external_data="m.data")
    loaded = model_io.load(tmp_path / "m.onnx")
    same, result = run_isolated(make("nothing", "as it was"), loaded)
    assert same is loaded
    (note,) = result.skipped
    assert note.text == "as it was"
    assert int(note.node) != os.getpid()


@pytest.mark.usefixtures("child")
@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("raise_", "pass 'child' raised ValueError: no such thing"),
        ("forget", "raised TypeError: run returned NoneType, expected PassResult"),
        ("leave", "ended its process without a result"),
        ("kill", "was killed by SIGKILL"),
        ("hoard", "MemoryError"),
    ],
)
def test_says_how_it_ended(
    model: ir.Model, monkeypatch: pytest.MonkeyPatch, do: str, message: str
) -> None:
    monkeypatch.setattr(isolate, "_BASE_MEMORY_BYTES", 8 << 30)
    with pytest.raises(ToolError, match=message):
        run_isolated(make(do), model)


def test_what_hangs_is_stopped_with_all_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    command = ["sh", "-c", f"sleep 600 & echo $! > {pid_file}; wait"]
    with pytest.raises(ToolError, match="'child' did not end within 1 s and was stopped"):
        isolate._wait(command, "child", 1.0, tmp_path / "log.txt")
    assert _ends(int(pid_file.read_text()))


def _ends(pid: int) -> bool:
    """Return whether a process that was killed is gone, or is within ten seconds."""
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _runs(pid)


def _runs(pid: int) -> bool:
    """Return whether a process runs; a zombie that its new parent has not reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
