"""What the bridges to other tools share: is the tool there, and what must survive its work.

A tool gets the whole model and gives one back. It runs in a child process; what it does not carry
over is put back, and a result that changed the interface is refused.
"""

from __future__ import annotations

import abc
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING, Any, ClassVar

from onnx_passes.core.contract import (
    Exactness,
    MissingToolError,
    Note,
    Pass,
    PassError,
    PassResult,
    ToolError,
    UsageError,
    label,
)
from onnx_passes.core.registry import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx
    import onnx_ir as ir


class Bridge(Pass):
    """A pass that hands the model to an installed tool.

    Attributes:
        module: What ``import`` calls the tool.
        package: What ``pip install`` calls it.
    """

    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "bridge"
    isolated: ClassVar[bool] = True
    module: ClassVar[str]
    package: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse to exist without the tool, so that a run ends before any work is done."""
        if hint := self.missing():
            msg = f"pass {self.name!r} needs {self.package}, which is {hint}"
            raise MissingToolError(msg)

    @classmethod
    def missing(cls) -> str:
        """Return ``not installed: pip install ...``, or nothing where the tool is there."""
        if importlib.util.find_spec(cls.module) is not None:
            return ""
        return f"not installed: pip install {cls.package}"

    @classmethod
    def version(cls) -> str:
        """Return the name of the tool's package and its version."""
        names = importlib.metadata.packages_distributions().get(cls.module, [cls.package])
        name = cls.package if cls.package in names else names[0]
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            return f"{name} of unknown version"

    @abc.abstractmethod
    def transform(self, model: ir.Model) -> ir.Model:
        """Return what the tool makes of ``model``, which stays as it is."""

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        try:
            after = self.transform(model)
        except PassError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            msg = f"{self.module} failed: {reason}"
            raise ToolError(msg) from error
        if lost := _lost_defaults(model, after):
            reason = f"{self.module} folds away an input with a default value: {', '.join(lost)}"
            return PassResult(skipped=[Note("model", reason)])
        restore_interface(model, after, self.module)
        result = PassResult(skipped=restore_metadata(model, after))
        if content(after) != content(model):
            text = f"{self.version()}: {count(model)} nodes before, {count(after)} after"
            take_over(model, after)
            result.rewritten.append(Note("model", text))
        return result


def in_memory(model: ir.Model) -> onnx.ModelProto:
    """Return a proto that holds all tensors, whatever file they lay in."""
    import onnx_ir as ir

    return ir.to_proto(ir.external_data.load_to_model(model.clone()))


def refuse_unknown(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse names that a tool would ignore, or answer with a crash.

    Raises:
        UsageError: With the nearest name.
    """
    known = sorted(known)
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            msg = f"{what} {name!r}{near} (it has {len(known)} in all)"
            raise UsageError(msg)


def restore_interface(model: ir.Model, after: ir.Model, tool: str) -> None:
    """Give inputs and outputs their types, shapes and metadata back.

    Raises:
        ToolError: If the tool renamed, dropped or added one.
    """
    for kind in ("inputs", "outputs"):
        old, new = getattr(model.graph, kind), getattr(after.graph, kind)
        names = [value.name for value in old], [value.name for value in new]
        if names[0] != names[1]:
            msg = f"{tool} changed the graph {kind} from {names[0]} to {names[1]}"
            raise ToolError(msg)
        for before, now in zip(old, new, strict=True):
            now.type, now.shape = before.type, before.shape
            now.metadata_props.update(before.metadata_props)


def restore_metadata(model: ir.Model, after: ir.Model) -> list[Note]:
    """Give nodes name and metadata back; return a note on each node whose metadata is lost.

    A node is found again by its name and operator, or by its operator and first output.
    """
    found: dict[tuple[str, str], ir.Node] = {}
    for node in after.graph.all_nodes():
        for name in _names(node):
            found.setdefault((node.op_type, name), node)
    lost = []
    for node in model.graph.all_nodes():
        twins = [found[key] for name in _names(node) if (key := (node.op_type, name)) in found]
        if twins:
            twins[0].name = node.name
            twins[0].metadata_props.update(node.metadata_props)
        elif node.metadata_props:
            keys = ", ".join(sorted(node.metadata_props))
            lost.append(Note(label(node), f"it is gone, and its metadata with it: {keys}"))
    return lost


def content(model: ir.Model) -> tuple[Any, ...]:
    """Return what is compared to see a change: recorded shapes and the order of weights are none.

    A tensor is represented by its bytes, or by its place in a file.
    """
    import onnx_ir as ir

    proto = ir.to_proto(model)
    weights = sorted((item.name, item.SerializeToString()) for item in proto.graph.initializer)
    return list(proto.graph.node), weights, list(proto.functions)


def take_over(model: ir.Model, after: ir.Model) -> None:
    """Give ``model`` the graph of ``after``, with the domains that it uses."""
    used = {node.domain for node in after.graph.all_nodes()}
    imports = dict(model.opset_imports)
    for domain, version in after.opset_imports.items():
        if domain in used or domain in imports:
            imports[domain] = version
    model.graph, model.ir_version = after.graph, after.ir_version
    model.opset_imports.clear()
    model.opset_imports.update(imports)
    model.functions.clear()
    model.functions.update(after.functions)


def count(model: ir.Model) -> int:
    """Return the number of nodes, sub-graphs included."""
    return sum(1 for _ in model.graph.all_nodes())


def _lost_defaults(model: ir.Model, after: ir.Model) -> list[str]:
    """Return the inputs with a default value that ``after`` has no more."""
    left = {value.name for value in after.graph.inputs}
    gone = [value.name or "" for value in model.graph.inputs if value.name not in left]
    return [name for name in gone if name in model.graph.initializers]


def _names(node: ir.Node) -> list[str]:
    return [name for name in (node.name, label(node)) if name]
