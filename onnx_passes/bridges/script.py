"""Run a user's surgery script on a model in a child process; large weights stay where they are.

What goes to the child and back is the graph. Weights travel as references: those in a file keep
their place in it, large ones in memory are written beside the graph. What comes back as the same
reference is the tensor that was sent; only what the script made or changed is read into memory.
"""

from __future__ import annotations

import abc
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from onnx_passes.bridges.tool import Bridge, content, count, restore_metadata, take_over
from onnx_passes.core.contract import Note, PassResult, ToolError, UsageError

if TYPE_CHECKING:
    import onnx_ir as ir

_BOOT = (
    "import json, sys; job = json.load(open(sys.argv[1])); sys.path[:] = job['sys_path']; "
    "from onnx_passes.bridges.scripts.child import child; child(job)"
)
# Below this a reference is no saving, and scripts like to read small constants.
INLINE_BYTES = 1 << 16
_ALIGNMENT = 64


@dataclasses.dataclass(frozen=True)
class Script(Bridge):
    """A pass that is a file of the user's: their own code, run only when it is named."""

    isolated: ClassVar[bool] = False  # it starts a child of its own, which leaves weights in place
    file: str = ""
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        """Refuse to exist without a script."""
        super().__post_init__()
        if not Path(self.file).is_file() or Path(self.file).suffix != ".py":
            what = f"{self.file!r} is no Python file" if self.file else "no script is named"
            msg = f'pass {self.name!r}: {what}; expected {self.name}{{file="surgery.py"}}'
            raise UsageError(msg)

    @classmethod
    @abc.abstractmethod
    def apply(cls, script: Path, model: ir.Model) -> ir.Model:
        """In the child: run ``script`` on ``model`` and return what it made."""

    def transform(self, model: ir.Model) -> ir.Model:
        """Run the script in a child process."""
        from onnx_passes.core.model_io import clone

        with tempfile.TemporaryDirectory(prefix="onnx-passes-") as name:
            folder = Path(name)
            sent = send(clone(model), folder / "in.onnx")
            job = {
                "sys_path": sys.path,
                "module": type(self).__module__,
                "class": type(self).__name__,
                "script": str(Path(self.file).resolve()),
                "input": str(folder / "in.onnx"),
                "output": str(folder / "out.onnx"),
            }
            (folder / "job.json").write_text(json.dumps(job))
            self._wait(folder)
            return receive(folder / "out.onnx", sent)

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring; an interface that changed is for the manager to judge."""
        after = self.transform(model)
        lost = restore_metadata(model, after)
        name = Path(self.file).name
        result = PassResult(skipped=lost)
        if (content(after), _interface(after)) != (content(model), _interface(model)):
            digest = hashlib.sha256(Path(self.file).read_bytes()).hexdigest()[:12]
            text = f"{count(model)} nodes before, {count(after)} after"
            own = f"your own code {name} (sha256 {digest}), run with {self.version()}"
            take_over(model, after)
            result.rewritten.append(Note("model", f"{own}: {text}"))
        return result

    def _wait(self, folder: Path) -> None:
        log = folder / "log.txt"
        command = [sys.executable, "-c", _BOOT, str(folder / "job.json")]
        with (
            log.open("wb") as lines,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=lines,
                stderr=lines,
                start_new_session=True,
            ) as process,
        ):
            try:
                code = process.wait(self.timeout_s)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                msg = f"{self.file} did not end within {self.timeout_s:g} s and was stopped"
                raise ToolError(msg) from None
        if code or not (folder / "out.onnx").exists():
            said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            msg = f"{self.file} failed: {said[-1].strip() if said else how}"
            raise ToolError(msg)


Place = tuple[str, int, int]


def send(model: ir.Model, path: Path) -> dict[Place, Any]:
    """Write a copy of ``model`` whose large weights are references; consumes the copy.

    Returns:
        The tensor behind each reference.
    """
    import onnx_ir as ir

    sent: dict[Place, Any] = {}
    with path.with_name(f"{path.name}.data").open("wb") as data:
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is None or tensor.dtype == ir.DataType.STRING:
                continue
            if isinstance(tensor, ir.ExternalTensor):
                place = str(Path(tensor.path).resolve()), tensor.offset or 0, tensor.nbytes
            elif tensor.nbytes >= INLINE_BYTES:
                place = (
                    str(path.with_name(f"{path.name}.data")),
                    _append(tensor, data),
                    tensor.nbytes,
                )
            else:
                continue
            sent[place] = tensor
            value.const_value = _reference(place, tensor, value.name or "")
    ir.save(model, path)
    return sent


def receive(path: Path, sent: dict[Place, Any]) -> ir.Model:
    """Read what the child wrote: references become the tensors sent, the rest is loaded."""
    import onnx_ir as ir

    model = ir.load(path)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        original = sent.get((str(tensor.path), tensor.offset or 0, tensor.nbytes))
        if original is not None and _kind(original) == _kind(tensor):
            value.const_value = original
        elif not isinstance(original, ir.ExternalTensor):
            array = tensor.numpy().copy()  # a view would keep a file that goes
            value.const_value = ir.Tensor(array, dtype=tensor.dtype, name=value.name)
    return model


def _kind(tensor: Any) -> tuple[object, ...]:  # noqa: ANN401  a tensor of onnx-ir
    return tensor.name, tensor.dtype, tuple(tensor.shape)


def _append(tensor: Any, data: Any) -> int:  # noqa: ANN401  a tensor of onnx-ir, a binary file
    data.write(b"\0" * (-data.tell() % _ALIGNMENT))
    offset: int = data.tell()
    data.write(tensor.tobytes())
    return offset


def _reference(place: Place, tensor: Any, name: str) -> ir.ExternalTensor:  # noqa: ANN401
    import onnx_ir as ir

    path, offset, length = place
    return ir.ExternalTensor(
        path, offset, length, tensor.dtype, shape=ir.Shape(tensor.shape), name=name
    )


def _interface(model: ir.Model) -> list[str]:
    values = (*model.graph.inputs, *model.graph.outputs)
    imports = sorted(model.opset_imports.items())
    return [str((value.name, value.type, value.shape)) for value in values] + [str(imports)]
