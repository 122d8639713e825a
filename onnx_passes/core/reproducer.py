"""A folder that shows one failure again, small enough to send to somebody.

::

    model.onnx     what is left of the model around the failure
    feeds.npz      the arrays that go into it
    passes.txt     the pass that fails
    versions.json  of everything that took part
    README.txt     the command, and what it prints here
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import shlex
import shutil
from typing import TYPE_CHECKING

from onnx_passes.core.contract import UsageError
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.model_io import save, staging_folder
from onnx_passes.core.passlist import pass_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx_ir as ir

    from onnx_passes.core.bisect import Culprit
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
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"cannot write the reproducer to {folder}: it exists and is not an empty folder"
        raise UsageError(msg)
    from onnx_passes.numerics.feed_files import save as save_feeds

    model, feeds = _smallest(culprit, settings)
    command = _command(culprit, feeds, plugins)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staging_folder(folder.parent) as staging:
            fresh = staging / "reproducer"
            fresh.mkdir()
            save(model, fresh / "model.onnx")
            if feeds is not None:
                save_feeds(fresh / "feeds.npz", feeds)
            (fresh / "passes.txt").write_text(pass_text(culprit.item) + "\n", encoding="utf-8")
            (fresh / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n")
            text = f"{culprit.paragraph()}\n\nRun in this folder; it ends with exit code 1:\n\n"
            (fresh / "README.txt").write_text(f"{text}    {command}\n", encoding="utf-8")
            for plugin in plugins:
                shutil.copy(plugin, fresh / plugin.name)
            fresh.replace(folder)
    except OSError as error:
        msg = f"cannot write the reproducer to {folder}: {error.strerror or error}"
        raise UsageError(msg) from error
    return Reproducer(folder, command, len(model.graph))


def versions() -> dict[str, str]:
    """Return the versions of Python, the machine and the packages that take part."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _command(culprit: Culprit, feeds: Arrays | None, plugins: Sequence[Path]) -> str:
    words = ["onnx-passes", "run", "model.onnx", "-o", "out.onnx"]
    words += ["--passes", pass_text(culprit.item)]
    for plugin in plugins:
        words += ["--plugin", plugin.name]
    if feeds is not None:
        words += ["--feeds", "feeds.npz"]
    return shlex.join(words)


def _smallest(culprit: Culprit, settings: Settings) -> tuple[ir.Model, Arrays | None]:
    """Return the smallest piece around the wrong tensor on which the pass fails, with its feeds."""
    from onnx_passes.numerics.oracle import Oracle

    whole = culprit.before
    if culprit.tensor is None:
        return whole, None
    feeds = Oracle(whole, settings.feeds, settings.shapes).feeds[0]
    hops, size = 1, 0
    while size < len(whole.graph):
        piece, arrays = _cut(whole, culprit.tensor.name, hops, feeds)
        if len(piece.graph) > size and _fails(piece, culprit, arrays):
            return piece, arrays
        if len(piece.graph) == size:
            break
        hops, size = hops * 2, len(piece.graph)
    return whole, feeds


def _fails(piece: ir.Model, culprit: Culprit, feeds: Arrays) -> bool:
    try:
        outcome = run_passes(piece.clone(), (culprit.item,), Settings(feeds=feeds))
    except UsageError:
        return False
    return bool(outcome.blamed)


def _cut(whole: ir.Model, target: str, hops: int, feeds: Arrays) -> tuple[ir.Model, Arrays]:
    """Return the nodes within ``hops`` steps before ``target`` as a model, and its feeds."""
    import onnx_ir as ir

    from onnx_passes.numerics.stream import Stream

    boundary = _boundary(whole, target, hops)
    arrays = Stream(whole, feeds, boundary).compute(boundary)
    graph = ir.convenience.extract(whole.graph, boundary, [target])
    for value in graph.inputs:
        array = arrays[value.name or ""]
        value.shape = ir.Shape(array.shape)
        value.dtype = ir.DataType.from_numpy(array.dtype)
    output = graph.outputs[0]
    if output.dtype is None:
        made = Stream(whole, feeds, [target]).compute([target])[target]
        output.dtype, output.shape = ir.DataType.from_numpy(made.dtype), ir.Shape(made.shape)
    graph.opset_imports.update(whole.graph.opset_imports)
    functions = list(whole.clone().functions.values())
    return ir.Model(graph, ir_version=whole.ir_version, functions=functions), arrays


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
