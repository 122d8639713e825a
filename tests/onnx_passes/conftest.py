"""What every test of a pass does: parse a model, run the pass, compare before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core.skeleton import skeleton
from onnx_passes.numerics import compare, feeds, runner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_passes.core.contract import Note, Pass, PassResult

Feeds = dict[str, np.ndarray[Any, Any]]


class Lab:
    """A bench for one pass: models go in as ONNX text or as ``onnx_ir.Model``."""

    @staticmethod
    def model(text: str, ir_version: int = 8, opset: int = 16, domains: str = "") -> ir.Model:
        """Parse the text of a graph (and functions) under a usual header."""
        header = f'<ir_version: {ir_version}, opset_import: ["": {opset}{domains}]>'
        return ir.from_onnx_text(header + text)

    @staticmethod
    def bind(model: ir.Model, arrays: Mapping[str, Any]) -> ir.Model:
        """Make initializers of the graph inputs named, with the values given."""
        for value in [v for v in model.graph.inputs if v.name in arrays]:
            model.graph.inputs.remove(value)
            value.const_value = ir.Tensor(np.asarray(arrays[value.name or ""]), name=value.name)
            model.graph.register_initializer(value)
        return model

    @staticmethod
    def ops(model: ir.Model) -> list[str]:
        """Return the operators of the main graph, in order."""
        return [node.op_type for node in model.graph]

    @staticmethod
    def all_ops(model: ir.Model) -> list[str]:
        """Return the operators of the main graph and its sub-graphs, in order."""
        return [node.op_type for node in model.graph.all_nodes()]

    @staticmethod
    def initializers(model: ir.Model) -> list[str]:
        """Return the names of the main graph's initializers, sorted."""
        return sorted(model.graph.initializers)

    @staticmethod
    def reasons(notes: list[Note]) -> dict[str, str]:
        """Return what was said, by node label."""
        return {note.node: note.text for note in notes}

    @staticmethod
    def interface(model: ir.Model) -> list[str]:
        """Return names, types and shapes of inputs and outputs, and the opset, as text."""
        values = [*model.graph.inputs, None, *model.graph.outputs]
        lines = [f"{v.name} {v.type} {v.shape}" if v is not None else "->" for v in values]
        return [*lines, str(model.opset_imports.get("")), str(model.ir_version)]

    @staticmethod
    def check(model: ir.Model) -> None:
        """Fail unless onnx's checker accepts the model, shapes included, and each node's inputs.

        That a node reads what was replaced does not show in a proto, where only the name counts.
        """
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
        skeleton(model)

    @staticmethod
    def outputs(model: ir.Model, inputs: Mapping[str, Any] | None = None) -> Feeds:
        """Run the model in onnxruntime on the given or generated inputs."""
        return runner.run_model(model, feeds.generate(model) if inputs is None else inputs)

    def apply(self, pass_: Pass, model: ir.Model) -> PassResult:
        """Run the pass twice; the interface must stay and the second run must change nothing."""
        before = self.interface(model)
        result = pass_.run(model)
        self.check(model)
        assert self.interface(model) == before
        once = ir.to_proto(model).SerializeToString(deterministic=True)
        second = pass_.run(model)
        assert second.rewritten == []
        assert ir.to_proto(model).SerializeToString(deterministic=True) == once
        # What the in-memory graph may hide, a saved file does not: run on a reloaded model too.
        reloaded = ir.from_proto(onnx.load_from_string(once))
        third = pass_.run(reloaded)
        assert third.rewritten == []
        return result

    def exact(
        self, pass_: Pass, model: ir.Model, inputs: Mapping[str, Any] | None = None
    ) -> PassResult:
        """Apply the pass; every output must stay bit-equal, and must have been compared."""
        inputs = feeds.generate(model) if inputs is None else inputs
        before = self.outputs(model, inputs)
        result = self.apply(pass_, model)
        after = self.outputs(model, inputs)
        assert before
        for name, array in before.items():
            assert compare.same_bits(array, after[name]), name
        return result


@pytest.fixture(scope="session")
def lab() -> Lab:
    """Return the bench."""
    return Lab()
