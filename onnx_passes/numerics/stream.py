"""Compute a model piece by piece, so that every tensor can be looked at and few are held.

A model with thousands of tensors as outputs holds them all at once. Here the nodes that some
tensors need run as a small session of their own; of what they make, only what later nodes read, or
what is wanted and was not asked for yet, is kept. Every node runs once, whatever the pieces.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_passes.core.contract import ModelError
from onnx_passes.numerics.runner import ReferenceRunner, Runner
from onnx_passes.numerics.weights_apart import can_travel_apart, declared

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx
    import onnx_ir as ir

    from onnx_passes.numerics.runner import AnyRunner, Arrays


class Stream:
    """The tensors of one model for one set of feeds, computed on demand.

    Args:
        model: Never changed.
        feeds: Arrays by input name.
        wanted: The tensors that :meth:`compute` will be asked for, each once.
        kind: What runs the pieces: onnxruntime, or the reference evaluator for a model that
            onnxruntime lacks a kernel for.
    """

    def __init__(
        self,
        model: ir.Model,
        feeds: Mapping[str, Any],
        wanted: Iterable[str],
        kind: type[AnyRunner] = Runner,
    ) -> None:
        """Index the main graph once; nothing is run yet."""
        self._model = _without_files(model)
        self._kind = kind
        self._wanted = set(wanted)
        self._nodes = list(self._model.graph)
        self._reads = [list(dict.fromkeys(reads(node))) for node in self._nodes]
        self._maker = {
            value.name: index
            for index, node in enumerate(self._nodes)
            for value in node.outputs
            if value.name
        }
        self._waiting = [True] * len(self._nodes)
        # Nodes that nothing wanted needs never run: what they read is not held for them.
        needed = self._piece(self._wanted)
        self._readers = Counter(name for index in needed for name in self._reads[index])
        self._alive: dict[str, Any] = dict(feeds)

    def compute(self, names: Sequence[str]) -> Arrays:
        """Run the nodes that ``names`` need and that have not run; return those tensors.

        Raises:
            ModelError: If the piece cannot be run, or reads an input that has no feed.
        """
        piece = self._piece(names)
        if piece:
            self._alive.update(self._runner(piece).run(self._alive))
            self._retire(piece)
        asked = {name: self._alive[name] for name in names}
        self._wanted.difference_update(names)
        for name in names:
            self._release(name)
        return asked

    def _piece(self, names: Iterable[str]) -> list[int]:
        """Return the indices of the waiting nodes that ``names`` need, in order."""
        needed: set[int] = set()
        stack = [self._maker[name] for name in names if name in self._maker]
        while stack:
            index = stack.pop()
            if index in needed or not self._waiting[index]:
                continue
            needed.add(index)
            stack.extend(self._maker[name] for name in self._reads[index] if name in self._maker)
        return sorted(needed)

    def _outputs(self, piece: list[int]) -> list[str]:
        """Return what ``piece`` makes that is wanted or that later nodes read."""
        inside = Counter(name for index in piece for name in self._reads[index])
        made = [value.name for index in piece for value in self._nodes[index].outputs]
        return [
            name
            for name in made
            if name and (name in self._wanted or self._readers[name] > inside[name])
        ]

    def _retire(self, piece: list[int]) -> None:
        """Mark nodes as run, and let go of what nothing needs any more."""
        for index in piece:
            self._waiting[index] = False
            for name in self._reads[index]:
                self._readers[name] -= 1
                self._release(name)

    def _release(self, name: str) -> None:
        if self._readers[name] == 0 and name not in self._wanted:
            self._alive.pop(name, None)

    def _runner(self, piece: list[int]) -> AnyRunner:
        """Return the nodes of ``piece`` as a model of their own, ready to run."""
        reads = dict.fromkeys(name for index in piece for name in self._reads[index])
        constants = self._model.graph.initializers
        tensors = {name: _tensor(constants[name]) for name in reads if name in constants}
        if self._kind is ReferenceRunner:
            return ReferenceRunner(self._proto(piece, list(reads), tensors, {}))
        weights = {name: t.numpy() for name, t in tensors.items() if can_travel_apart(t)}
        proto = self._proto(piece, list(reads), tensors, weights)
        return Runner(proto.SerializeToString(), constants=weights)

    def _proto(
        self,
        piece: list[int],
        reads: list[str],
        tensors: Mapping[str, ir.TensorProtocol],
        weights: Arrays,
    ) -> onnx.ModelProto:
        """Return the model of ``piece``; it declares ``weights`` and holds the other tensors."""
        import onnx
        import onnx_ir as ir

        inside = {value.name for index in piece for value in self._nodes[index].outputs}
        graph = onnx.GraphProto(
            name="piece",
            node=[ir.serde.serialize_node(self._nodes[index]) for index in piece],
            initializer=[
                declared(name, tensor) if name in weights else _inside(name, tensor)
                for name, tensor in tensors.items()
            ],
            input=[
                _declared(name, self._held(name))
                for name in reads
                if name not in inside and name not in tensors
            ],
            output=[onnx.ValueInfoProto(name=name) for name in self._outputs(piece)],
        )
        functions = [
            ir.serde.serialize_function(function) for function in self._model.functions.values()
        ]
        opsets = [
            onnx.helper.make_opsetid(domain, version)
            for domain, version in self._model.opset_imports.items()
        ]
        return onnx.ModelProto(
            ir_version=self._model.ir_version, graph=graph, functions=functions, opset_import=opsets
        )

    def _held(self, name: str) -> Any:  # noqa: ANN401  an array or a list of arrays
        if name not in self._alive:
            msg = f"no feed for input {name!r}; the feeds are those of the first model"
            raise ModelError(msg)
        return self._alive[name]


def reads(node: ir.Node) -> Iterator[str]:
    """Yield the names a node reads, those that its sub-graphs take from around it included."""
    import onnx_ir as ir

    for value in node.inputs:
        if value is not None and value.name:
            yield value.name
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield from _captures(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                yield from _captures(graph)


def _captures(graph: ir.Graph) -> Iterator[str]:
    own = {value.name for value in graph.inputs} | set(graph.initializers)
    own |= {value.name for node in graph for value in node.outputs}
    for node in graph:
        yield from (name for name in reads(node) if name not in own)
    yield from (value.name for value in graph.outputs if value.name and value.name not in own)


def _without_files(model: ir.Model) -> ir.Model:
    """Return ``model``, or a copy if a sub-graph has tensors in files: a piece has no folder."""
    import onnx_ir as ir

    def outside(model: ir.Model) -> list[ir.Value]:
        values = (v for graph in model.graph.subgraphs() for v in graph.initializers.values())
        return [value for value in values if isinstance(value.const_value, ir.ExternalTensor)]

    if not outside(model):
        return model
    copy = model.clone()
    for value in outside(copy):
        tensor = _tensor(value)
        value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)
    return copy


def _tensor(value: ir.Value) -> ir.TensorProtocol:
    if value.const_value is None:
        msg = f"initializer {value.name!r} has no data"
        raise ModelError(msg)
    return value.const_value


def _inside(name: str, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    """Return a proto that holds the data, wherever they lie now."""
    import onnx_ir as ir

    # A tensor of its own: serialising renames the object, which is the model's.
    return ir.serde.serialize_tensor(ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name))


def _declared(name: str, value: Any) -> onnx.ValueInfoProto:  # noqa: ANN401  an array or a list of arrays
    import onnx

    if isinstance(value, list):
        kind = onnx.helper.np_dtype_to_tensor_dtype(value[0].dtype if value else np.dtype("f4"))
        return onnx.helper.make_tensor_sequence_value_info(name, kind, None)
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, value.shape)
