"""A stand-in for auto_optimizer: its public interface, and three rules.

KnowledgeDropIdentity is right. The other two have faults that were measured in rules of the real
package: slices merged with a start that is forgotten (other numbers), and a rewrite that loses a
graph output which is read elsewhere too (an invalid model). Like the real ones they report success.
"""

from __future__ import annotations

from typing import Any, ClassVar

import onnx


class OnnxGraph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model

    @classmethod
    def parse(cls, path: str) -> OnnxGraph:
        return cls(onnx.load(path))

    def save(self, path: str) -> None:
        onnx.save(self.model, path)


class _Rule:
    """Matches each node of an operator once."""

    op_type = ""

    def reset(self) -> None:
        self._patterns = [self.op_type]
        self._pattern = ""

    def pre_process(self, graph: OnnxGraph) -> bool:
        return isinstance(graph, OnnxGraph)

    post_process = pre_process

    def has_next_pattern(self) -> bool:
        return bool(self._patterns)

    def next_pattern(self) -> None:
        self._pattern = self._patterns.pop()

    def match_pattern(self, graph: OnnxGraph) -> list[Any]:
        return [node for node in graph.model.graph.node if node.op_type == self._pattern]

    def apply(self, graph: OnnxGraph, match: Any) -> bool:  # noqa: ANN401
        raise NotImplementedError


def _bypass(graph: OnnxGraph, node: Any) -> None:  # noqa: ANN401
    for reader in graph.model.graph.node:
        names = [node.input[0] if name == node.output[0] else name for name in reader.input]
        reader.input[:] = names
    graph.model.graph.node.remove(node)


class KnowledgeDropIdentity(_Rule):
    op_type = "Identity"

    def apply(self, graph: OnnxGraph, match: Any) -> bool:  # noqa: ANN401
        if match.output[0] in [value.name for value in graph.model.graph.output]:
            return False
        _bypass(graph, match)
        return True


class KnowledgeMergeConsecutiveSlice(_Rule):
    op_type = "Slice"

    def apply(self, graph: OnnxGraph, match: Any) -> bool:  # noqa: ANN401
        makers = {node.output[0]: node for node in graph.model.graph.node}
        before = makers.get(match.input[0])
        if before is None or before.op_type != "Slice":
            return False
        match.input[0] = before.input[0]  # the start of the first Slice is forgotten
        graph.model.graph.node.remove(before)
        return True


class KnowledgeTransposeLargeInputConv(_Rule):
    op_type = "Relu"

    def apply(self, graph: OnnxGraph, match: Any) -> bool:  # noqa: ANN401
        _bypass(graph, match)  # the graph output that it made is lost
        return True


class KnowledgeRaises(_Rule):
    op_type = "Relu"

    def apply(self, graph: OnnxGraph, match: Any) -> bool:  # noqa: ANN401
        msg = f"{match.name} {type(graph).__name__}"
        raise KeyError(msg)


class KnowledgeFactory:
    _pool: ClassVar[dict[str, type[_Rule]]] = {
        cls.__name__: cls
        for cls in (
            KnowledgeDropIdentity,
            KnowledgeMergeConsecutiveSlice,
            KnowledgeTransposeLargeInputConv,
            KnowledgeRaises,
        )
    }

    @classmethod
    def get_knowledge_pool(cls) -> dict[str, type[_Rule]]:
        return cls._pool

    @classmethod
    def get_knowledge(cls, name: str) -> _Rule:
        return cls._pool[name]()
