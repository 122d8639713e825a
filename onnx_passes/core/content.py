"""A digest of what a model computes: the same in memory, on disk, and after any save and load.

In it: opsets, the graph with its sub-graphs and functions, attributes, all weights byte by byte,
names and types of the inputs and outputs. Left out, because no result depends on it: names of
nodes and graphs, types of values in between, doc strings, metadata, and where a weight is stored.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_passes.core.contract import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

FORM = "1"  # goes before the digest; another number when what it covers changes
_CHUNK_BYTES = 1 << 24


class ContentDigest:
    """Digests of models; a tensor that several of them share is read once."""

    def __init__(self) -> None:
        """Start with no tensor seen."""
        # The tensor is kept with its digest: an id is only unique while its object lives.
        self._seen: dict[int, tuple[Any, str]] = {}

    def __call__(self, model: ir.Model) -> str:
        """Return the digest of ``model``; equal digests mean equal results.

        Raises:
            ModelError: If a file that holds weights cannot be read.
        """
        digest = hashlib.sha256()
        for part in self._parts(model):
            digest.update(part.encode("utf-8", "surrogateescape"))
            digest.update(b"\0")
        return f"{FORM}:{digest.hexdigest()}"

    def _parts(self, model: ir.Model) -> Iterator[str]:
        yield _opsets(model.opset_imports)
        yield from self._graph(model.graph)
        for key, function in sorted(model.functions.items()):
            yield repr(key) + _opsets(function.opset_imports)
            yield from self._attributes(function)
            yield from self._graph(function)

    def _graph(self, graph: ir.Graph | ir.Function) -> Iterator[str]:
        yield "inputs" + ";".join(map(_interface, graph.inputs))
        yield "outputs" + ";".join(map(_interface, graph.outputs))
        initializers: dict[str, ir.Value] = dict(getattr(graph, "initializers", {}))
        for name, value in sorted(initializers.items()):
            yield f"{name}={self._tensor(value.const_value)}"
        for node in graph:
            yield repr((_domain(node.domain), node.op_type, node.overload))
            yield repr([value.name if value is not None else "" for value in node.inputs])
            yield repr([value.name or "" for value in node.outputs])
            yield from self._attributes(node)

    def _attributes(self, owner: ir.Node | ir.Function) -> Iterator[str]:
        for name, attribute in sorted(owner.attributes.items()):
            yield name
            yield from self._attribute(attribute)

    def _attribute(self, attribute: ir.Attr) -> Iterator[str]:
        import onnx_ir as ir

        kinds = ir.AttributeType
        yield repr((int(attribute.type), attribute.ref_attr_name or ""))
        value = attribute.value
        if value is None:
            return
        if attribute.type == kinds.GRAPH:
            yield from self._graph(value)
        elif attribute.type == kinds.GRAPHS:
            for graph in value:
                yield from self._graph(graph)
        elif attribute.type == kinds.TENSOR:
            yield self._tensor(value)
        elif attribute.type == kinds.TENSORS:
            yield from map(self._tensor, value)
        else:
            yield repr(_plain(value, attribute.type in {kinds.FLOAT, kinds.FLOATS}))

    def _tensor(self, tensor: Any) -> str:  # noqa: ANN401  any of onnx-ir's tensor classes
        if tensor is None:
            return "none"
        known = self._seen.get(id(tensor))
        if known is None:
            known = (tensor, _tensor_digest(tensor))
            self._seen[id(tensor)] = known
        return known[1]


def _tensor_digest(tensor: Any) -> str:  # noqa: ANN401  any of onnx-ir's tensor classes
    """Return dtype, shape and a digest of the bytes, wherever they are."""
    import onnx_ir as ir

    head = f"{tensor.dtype}{list(tensor.shape)}"
    digest = hashlib.sha256()
    if tensor.dtype == ir.DataType.STRING:
        digest.update(repr([_text(item) for item in tensor.numpy().ravel().tolist()]).encode())
    elif isinstance(tensor, ir.ExternalTensor):
        for chunk in _file_bytes(tensor):
            digest.update(chunk)
    else:
        digest.update(tensor.tobytes())
    return head + digest.hexdigest()


def _file_bytes(tensor: ir.ExternalTensor) -> Iterator[bytes]:
    """Yield the bytes of a tensor in a file, never many at once."""
    left = tensor.nbytes if tensor.length is None else tensor.length
    try:
        with Path(tensor.path).open("rb") as stream:
            stream.seek(tensor.offset or 0)
            while left > 0:
                chunk = stream.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    msg = f"{tensor.path} ends within tensor {tensor.name!r}"
                    raise ModelError(msg)
                left -= len(chunk)
                yield chunk
    except OSError as error:
        msg = f"{tensor.path}, which holds tensor {tensor.name!r}: {error.strerror or error}"
        raise ModelError(msg) from error


def _interface(value: ir.Value) -> str:
    dims = None
    if value.shape is not None:
        dims = [dim if isinstance(dim, int) else dim.value or "?" for dim in value.shape]
    return f"{value.name}:{value.type!r}:{dims}"


def _plain(value: Any, is_float: bool) -> Any:  # noqa: ANN401, FBT001, RUF100  any value
    """Return an attribute's value as it is after a save and a load: floats have 32 bits."""
    if isinstance(value, (list, tuple)):
        return [_plain(item, is_float) for item in value]
    if is_float:
        return np.float32(value).tobytes().hex()
    if isinstance(value, (int, np.integer)):
        return int(value)
    return _text(value)


def _text(value: Any) -> str:  # noqa: ANN401  bytes, str, or a type with a stable repr
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _opsets(imports: dict[str, int]) -> str:
    return repr(sorted((_domain(domain), version) for domain, version in imports.items()))


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
