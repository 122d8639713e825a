"""The child process of a script: the model in, the user's code, what it made out.

A script that loads and saves files is run as it is: the first ``onnx.load`` gives the model of the
pass whatever path it names, the last ``onnx.save`` is the result, and nothing is written.
"""

from __future__ import annotations

import ast
import importlib
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnx_passes.bridges.script import INLINE_BYTES, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx_passes.bridges.script import Script

_EXTERNAL = onnx.TensorProto.EXTERNAL


def child(job: dict[str, Any]) -> None:
    """Do the job: load, run the script, save."""
    import onnx_ir as ir

    cls: type[Script] = getattr(importlib.import_module(job["module"]), job["class"])
    made = cls.apply(Path(job["script"]), ir.load(job["input"]))
    send(made, Path(job["output"]))


def defines(script: Path, name: str) -> bool:
    """Return whether the file defines or assigns ``name`` at its top level; nothing is run."""
    for node in ast.parse(script.read_text(encoding="utf-8"), filename=str(script)).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return True
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in node.targets
        ):
            return True
    return False


def names_of(script: Path) -> dict[str, Any]:
    """Run the file as a module, and return what it defines."""
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script)]
    return runpy.run_path(str(script), run_name="surgery")


def run_whole(script: Path, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Run a script that loads and saves files, with ``proto`` in their place.

    Raises:
        RuntimeError: If it saves nothing.
    """
    saved: list[onnx.ModelProto] = []
    plain = {name: vars(onnx)[name] for name in ("load", "load_model", "save", "save_model")}
    _swap_files(proto, saved)
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script), "model.onnx", "out.onnx"]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as left:
        if left.code:
            raise
    finally:
        vars(onnx).update(plain)
    if not saved:
        msg = "it defines no edit(...) and calls no onnx.save(model, path)"
        raise RuntimeError(msg)
    return saved[-1]


def _swap_files(proto: onnx.ModelProto, saved: list[onnx.ModelProto]) -> None:
    really_load = onnx.load
    ours: list[str | None] = [None]

    def load(f: Any, *args: Any, **kwargs: Any) -> onnx.ModelProto:  # noqa: ANN401  onnx.load's
        if ours[0] not in {None, str(f)}:
            return really_load(f, *args, **kwargs)
        ours[0] = str(f)
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        return copy

    def save(proto: onnx.ModelProto, f: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401, ARG001, RUF100
        saved.append(proto)

    vars(onnx).update(load=load, load_model=load, save=save, save_model=save)


def read_references(proto: onnx.ModelProto) -> None:
    """Let what scripts call read the weights of ``proto`` that lie in another folder."""
    if not any(_is_reference(tensor) for tensor in proto.graph.initializer):
        return
    numpy_helper.to_array = _reading(numpy_helper.to_array)
    onnx.checker.check_model = _checking(onnx.checker.check_model)
    _let_sessions_read()


def _reading(really: Callable[..., Any]) -> Callable[..., Any]:
    def to_array(tensor: onnx.TensorProto, base_dir: str = "") -> Any:  # noqa: ANN401
        if tensor.data_location != _EXTERNAL or tensor.raw_data:
            return really(tensor, base_dir)
        return really(inline(tensor))

    return to_array


def _checking(really: Callable[..., None]) -> Callable[..., None]:
    """Check a model with its references declared as inputs: the values are not looked at."""

    def check_model(model: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        if isinstance(model, onnx.ModelProto) and any(
            _is_reference(t) for t in model.graph.initializer
        ):
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            known = {value.name for value in copy.graph.input}
            references = [t for t in copy.graph.initializer if _is_reference(t)]
            copy.graph.input.extend(
                onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
                for t in references
                if t.name not in known
            )
            for tensor in references:
                copy.graph.initializer.remove(tensor)
            model = copy
        really(model, *args, **kwargs)

    return check_model


def _let_sessions_read() -> None:
    try:
        import onnxruntime
    except ImportError:
        return

    class Session(onnxruntime.InferenceSession):  # type: ignore[misc, unused-ignore]
        """A session on bytes that hold references to another folder."""

        def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            if isinstance(model, bytes):
                proto = onnx.load_model_from_string(model)
                tensors = [inline(tensor) for tensor in proto.graph.initializer]
                del proto.graph.initializer[:]
                proto.graph.initializer.extend(tensors)
                model = proto.SerializeToString()
            super().__init__(model, *args, **kwargs)

    onnxruntime.InferenceSession = Session


def inline(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Return ``tensor`` with its bytes; the one given stays a reference."""
    if not _is_reference(tensor):
        return tensor
    copy = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    copy.raw_data = _bytes_of(tensor).tobytes()
    return copy


def settled(made: onnx.ModelProto, sent: onnx.ModelProto) -> onnx.ModelProto:
    """Make what was only read a reference again, and what was changed plain data.

    Reading puts bytes into a tensor that still says it lies in a file.
    """
    references = {tensor.name: tensor for tensor in sent.graph.initializer if _is_reference(tensor)}
    for tensor in made.graph.initializer:
        if _is_reference(tensor):
            continue
        tensor.ClearField("data_location")
        del tensor.external_data[:]
        before = references.get(tensor.name)
        if before is not None and _same(tensor, before):
            tensor.CopyFrom(before)
    return made


def _same(tensor: onnx.TensorProto, before: onnx.TensorProto) -> bool:
    if (tensor.data_type, list(tensor.dims)) != (before.data_type, list(before.dims)):
        return False
    if len(tensor.raw_data) < INLINE_BYTES:
        return False
    return np.array_equal(np.frombuffer(tensor.raw_data, np.uint8), _bytes_of(before))


def _bytes_of(tensor: onnx.TensorProto) -> Any:  # noqa: ANN401  uint8 [bytes], a view of the file
    place = {entry.key: entry.value for entry in tensor.external_data}
    offset, length = int(place.get("offset", 0)), int(place["length"])
    return np.memmap(place["location"], np.uint8, "r", offset, (length,))


def _is_reference(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == _EXTERNAL and not tensor.raw_data and bool(tensor.external_data)
