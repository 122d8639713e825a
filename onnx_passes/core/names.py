"""Names for new nodes and values that no other node or value of the model has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.values import graphs

if TYPE_CHECKING:
    import onnx_ir as ir


class Names:
    """Every node and value name of a model, so that new ones never collide."""

    def __init__(self, model: ir.Model) -> None:
        """Collect the names once; the cost is linear in the model."""
        self.function_bodies = {function.graph for function in model.functions.values()}
        self._taken: set[str | None] = {""}
        self._counts: dict[str, int] = {}  # the last number that was tried behind a name
        for graph in graphs(model):
            self._taken.update(value.name for value in graph.inputs)
            self._taken.update(graph.initializers)
            for node in graph:
                self._taken.add(node.name)
                self._taken.update(value.name for value in node.outputs)

    def fresh(self, base: str) -> str:
        """Return ``base``, or ``base_1``, ``base_2``... if it is taken, and take it."""
        name = base
        while name in self._taken:
            self._counts[base] = count = self._counts.get(base, 0) + 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name
