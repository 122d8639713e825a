"""A folder that shows one failure again, small enough to send to somebody.

::

    model.onnx     what is left of the model around the failure
    feeds.npz      the arrays that go into it
    passes.txt     the pass that fails, or the list if the pass alone is innocent
    versions.json  of everything that took part
    README.txt     the command, and what it prints here
"""

from __future__ import annotations

import dataclasses
import json
import platform
import shlex
import shutil
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import ModelError, PassError, UsageError
from onnx_passes.core.manager import run_passes
from onnx_passes.core.model_io import clone, save, staging_folder
from onnx_passes.core.passlist import to_text
from onnx_passes.core.versions import installed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from onnx_passes.core.bisect import Culprit
    from onnx_passes.core.manager import Settings
    from onnx_passes.numerics.runner import Arrays

_PACKAGES = ("ascend-onnx-passes", "onnx", "onnx-ir", "onnxruntime", "onnxsim", "numpy")


@dataclasses.dataclass(frozen=True)
class Reproducer:
    """What was written.

    Attributes:
        folder: Where.
        command: The command line that fails the same way, from inside the folder.
        nodes: How many nodes the cut-down model has.
    """

    folder: Path
    command: str
    nodes: int


def write_reproducer(
    culprit: Culprit, settings: Settings, folder: Path, plugins: Sequence[Path] = ()
) -> Reproducer:
    """Write the smallest piece of the model found on which the pass still fails.

    Args:
        culprit: What :func:`onnx_passes.core.bisect.bisect` found.
        settings: The settings it ran with.
        folder: A new or empty folder.
        plugins: Files that define the pass; they are copied.

    Raises:
        UsageError: If the folder holds something already, or cannot be written.
    """
    refuse_target(folder, plugins)
    model, feeds = _smallest(culprit, settings)
    command = _command(culprit, settings, plugins, fed=feeds is not None)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staging_folder(folder.parent) as staging:
            fresh = staging / "reproducer"
            fresh.mkdir()
            _write(fresh, culprit, command, model, feeds)
            for plugin in plugins:
                shutil.copy(plugin, fresh / plugin.name)
            fresh.replace(folder)
    except OSError as error:
        msg = f"cannot write the reproducer to {folder}: {error.strerror or error}"
        raise UsageError(msg) from error
    return Reproducer(folder, command, len(model.graph))


def refuse_target(folder: Path, plugins: Sequence[Path] = ()) -> None:
    """Refuse, before the long search, what :func:`write_reproducer` could not write.

    Raises:
        UsageError: If the folder holds something already, or two plugins have one name.
    """
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        msg = f"cannot write the reproducer to {folder}: {error.strerror or error}"
        raise UsageError(msg) from error
    if taken:
        msg = f"cannot write the reproducer to {folder}: it exists and is not an empty folder"
        raise UsageError(msg)
    names = [plugin.name for plugin in plugins]
    if twice := [name for name in names if names.count(name) > 1]:
        msg = f"cannot copy two plugins called {twice[0]!r} into one folder; rename one"
        raise UsageError(msg)


def _write(
    folder: Path, culprit: Culprit, command: str, model: ir.Model, feeds: Arrays | None
) -> None:
    """Write all files but the plugins."""
    from onnx_passes.numerics.feed_files import save as save_feeds

    save(model, folder / "model.onnx")
    if feeds is not None:
        save_feeds(folder / "feeds.npz", feeds)
    text = f"{culprit.paragraph()}\n\nRun in this folder; it ends with exit code 1:\n\n"
    for name, content in (
        ("passes.txt", f"{to_text(culprit.items)}\n"),
        ("versions.json", f"{json.dumps(versions(), indent=2)}\n"),
        ("README.txt", f"{text}    {command}\n"),
    ):
        (folder / name).write_text(content, encoding="utf-8")


def versions() -> dict[str, str]:
    """Return the versions of Python, the machine and the packages that take part."""
    found = installed(_PACKAGES)
    packages = {name: found.get(name, "not installed") for name in _PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}


def _command(culprit: Culprit, settings: Settings, plugins: Sequence[Path], *, fed: bool) -> str:
    words = ["onnx-passes", "run", "model.onnx", "-o", "out.onnx"]
    words += ["--passes", to_text(culprit.items)]
    for plugin in plugins:
        words += ["--plugin", plugin.name]
    if fed:
        words += ["--feeds", "feeds.npz"]
    else:
        for name, dims in (settings.shapes or {}).items():
            words += ["--shape", f"{name}={','.join(map(str, dims))}"]
    return shlex.join(words)


def _smallest(culprit: Culprit, settings: Settings) -> tuple[ir.Model, Arrays | None]:
    """Return the smallest piece around the wrong tensor that fails, with its feeds.

    Where no piece fails it is the whole model, with the feeds that the search was given.
    """
    if culprit.tensor is not None and culprit.feeds is not None:
        for piece, feeds in _pieces(culprit.before, culprit.tensor.name, culprit.feeds):
            if _fails(piece, culprit, dataclasses.replace(settings, feeds=feeds, shapes=None)):
                return piece, feeds or None  # a piece of constants takes none
    given = settings.feeds
    return culprit.model, None if given is None else {k: np.asarray(v) for k, v in given.items()}


def _fails(piece: ir.Model, culprit: Culprit, settings: Settings) -> bool:
    """Return whether the pass fails on ``piece`` in the way it failed."""
    settings = dataclasses.replace(settings, on_fail="stop", check=True)
    try:
        outcome = run_passes(clone(piece), culprit.items, settings)
    except PassError:
        return False
    return any(step.verdict == culprit.step.verdict for step in outcome.blamed)


def _pieces(whole: ir.Model, target: str, feeds: Arrays) -> Iterator[tuple[ir.Model, Arrays]]:
    """Yield the nodes within 1, 2, 4... steps before ``target`` as models, with their feeds."""
    from onnx_passes.numerics.stream import Stream

    hops, size = 1, 0
    while True:
        boundary = _boundary(whole, target, hops)
        names = [*boundary, target]
        try:
            arrays = Stream(whole, feeds, names).compute(names)
        except ModelError:
            return  # only the reference evaluator runs it
        piece = _cut(whole, boundary, target)
        if len(piece.graph) == size:
            return
        hops, size = hops * 2, len(piece.graph)
        if any(isinstance(array, list) for array in arrays.values()):
            continue  # no file of feeds holds a sequence
        for value in (*piece.graph.inputs, *piece.graph.outputs):
            array = arrays[value.name or ""]
            # A new object: the type is shared with the whole model.
            value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
            value.shape = ir.Shape(array.shape)
        yield piece, {name: arrays[name] for name in boundary}


def _cut(whole: ir.Model, boundary: list[str], target: str) -> ir.Model:
    """Return the nodes between ``boundary`` and ``target`` as a model."""
    graph = ir.convenience.extract(whole.graph, boundary, [target])
    graph.opset_imports.update(whole.graph.opset_imports)
    functions = list(whole.clone().functions.values())
    return ir.Model(graph, ir_version=whole.ir_version, functions=functions)


def _boundary(whole: ir.Model, target: str, hops: int) -> list[str]:
    """Return the tensors, neither constant nor made inside, that the piece reads."""
    from onnx_passes.numerics.stream import reads

    makers = {value.name: node for node in whole.graph for value in node.outputs if value.name}
    edge, inside = {target}, set[str]()
    for _ in range(hops):
        nodes = {makers[name] for name in edge if name in makers}
        inside |= {value.name or "" for node in nodes for value in node.outputs}
        edge = {name for node in nodes for name in reads(node)} - inside
        if not edge:
            break
    needed = {name for name in inside if name in makers for name in reads(makers[name])}
    return sorted(needed - inside - set(whole.graph.initializers))
