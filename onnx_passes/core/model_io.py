"""Model files: load with reasons, save atomically, keep large tensors on disk.

A model file is untrusted: external data must lie inside the model's folder and be as long as the
model says.
"""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from onnx_passes.core.collection import rare_collections
from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.core.data_writer import weights_in
from onnx_passes.core.external_data import external_tensors, settle_external
from onnx_passes.core.file_reader import read
from onnx_passes.core.file_writer import write
from onnx_passes.core.wellformed import refuse_malformed
from onnx_passes.core.wire import MAX_SINGLE_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx
    import onnx_ir as ir

    ModelLike: TypeAlias = str | os.PathLike[str] | onnx.ModelProto | ir.Model


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Read a model; initializers in external files stay there until they are used.

    Raises:
        ModelError: If the file is missing, is no ONNX model, its external data is missing, too
            short or outside the model's folder, or a tensor or a name in it is malformed.
    """
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        msg = f"model {path}: found {found}, expected an ONNX file"
        raise ModelError(msg)
    try:
        with rare_collections():
            model = read(path)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        msg = f"model {path} is not a readable ONNX file ({reason}); export it again"
        raise ModelError(msg) from error
    if not model.opset_imports:
        msg = f"model {path} declares no opset, so it is no ONNX model or a broken one"
        raise ModelError(msg)
    settle_external(model, path)
    refuse_malformed(model, path)
    return model


def to_model(model: ModelLike) -> ir.Model:
    """Return an ``onnx_ir.Model`` that the caller may change: loaded, converted or cloned.

    Raises:
        ModelError: If a path cannot be loaded, or external data is not where a proto says.
        UsageError: If ``model`` is of another type.
    """
    import onnx
    import onnx_ir as ir

    if isinstance(model, ir.Model):
        twin = clone(model)
        settle_external(twin, None)
        return twin
    if isinstance(model, onnx.ModelProto):
        converted = ir.from_proto(model)
        settle_external(converted, Path("onnx.ModelProto"))
        refuse_malformed(converted, "onnx.ModelProto")
        return converted
    if isinstance(model, (str, os.PathLike)):
        return load(model)
    msg = f"a model is a path, an onnx.ModelProto or an onnx_ir.Model, got {type(model).__name__}"
    raise UsageError(msg)


def clone(model: ir.Model) -> ir.Model:
    """Return a copy that shares tensors and nothing else.

    ``onnx_ir.Model.clone`` shares the types of values too, and ``value.dtype = ...`` changes a type
    in place.

    Raises:
        ModelError: If the graph is no graph: a node uses a value that nothing before it makes.
    """
    try:
        with rare_collections():
            return _clone(model)
    except Exception as error:
        msg = f"the model is broken and cannot be copied: {root_line(error)}"
        raise ModelError(msg) from error


def _clone(model: ir.Model) -> ir.Model:
    import onnx_ir as ir

    from onnx_passes.core.values import graphs

    twin = model.clone()
    for graph in graphs(twin):
        outputs = (value for node in graph for value in node.outputs)
        for value in (*graph.inputs, *graph.initializers.values(), *outputs):
            kind = value.type
            if type(kind) is ir.TensorType:  # nearly all are, and deepcopy is slow
                value.type = ir.TensorType(kind.dtype, denotation=kind.denotation)
            else:
                value.type = copy.deepcopy(kind)
    return twin


def save(model: ir.Model, path: str | os.PathLike[str]) -> None:
    """Write a model and, where it needs one, ``<name>.data``: whole, or not at all.

    Tensors go to the data file when some were external before or when one file cannot hold them.

    Raises:
        UsageError: If the target cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        msg = f"cannot write {path}: the folder {path.parent} does not exist; create it first"
        raise UsageError(msg)
    if path.is_dir():
        msg = f"cannot write {path}: it is a folder; give a file name like model.onnx"
        raise UsageError(msg)
    try:
        with rare_collections(), staging_folder(path.parent) as folder:
            _write(model, folder / path.name)
            _keep_readable(model, path.with_name(f"{path.name}.data"))
            # The data first: a model file never points at data that is not there.
            for name in (f"{path.name}.data", path.name):
                if (folder / name).exists():
                    (folder / name).replace(path.parent / name)
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}"
        raise UsageError(msg) from error


@contextlib.contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """Yield a hidden folder on the same file system, removed at the end whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix=".onnx-passes-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def initializer_bytes(model: ir.Model) -> int:
    """Return the size of all initializers of all graphs, in bytes."""
    from onnx_passes.core.values import main_graphs

    return sum(
        value.const_value.nbytes
        for graph in main_graphs(model)
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def opset(model: ir.Model, domain: str = "") -> int:
    """Return the model's opset for ``domain`` (0 when it imports none)."""
    return model.opset_imports.get(domain, 0)


def root_line(error: BaseException) -> str:
    """Return the first line of the first cause of an exception."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _write(model: ir.Model, path: Path) -> None:
    if initializer_bytes(model) > MAX_SINGLE_FILE_BYTES or external_tensors(model):
        with weights_in(path.with_name(f"{path.name}.data"), model):
            write(model, path)
    else:
        write(model, path)


def _keep_readable(model: ir.Model, data: Path) -> None:
    """Hold on to the tensors that ``model`` reads from a file that is about to be replaced."""
    import onnx_ir as ir

    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if (
                isinstance(tensor, ir.ExternalTensor)
                and Path(tensor.path).resolve() == data.resolve()
            ):
                # The array is a view of the old file, which lives as long as its view.
                value.const_value = ir.Tensor(tensor.numpy(), name=value.name)
