"""drop-identity: remove Identity nodes.

Before::

    x -> Relu -> h -> Identity -> y (graph output)

After::

    x -> Relu -> y (graph output)

Fires when:
    the node is ``ai.onnx::Identity``, in the main graph, in a sub-graph or in a function. Its
    readers read its input; if its output is a graph output, the input takes over that name.

Leaves alone:
    - a graph input copied to a graph output: no node would be left to make the output.
    - an initializer copied to a graph output: the same.
    - two graph outputs that hold the same value: each name needs a node.
    - an output of a sub-graph that copies a value of the graph around it: a sub-graph returns
      only what it makes.

Numerics:
    Exact: no value is computed differently. (In float16 onnxruntime's CPU provider keeps float32
    between operators it has no kernel for; which ones may change when an Identity goes.)

References:
    - https://onnx.ai/onnx/operators/onnx__Identity.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.registry import register
from onnx_passes.core.values import graphs, remove, replace, why_not_replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir


@register
@dataclass(frozen=True)
class DropIdentity(Pass):
    """Remove Identity nodes."""

    name: ClassVar[str] = "drop-identity"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"
    needs: ClassVar[frozenset[str]] = frozenset({"Identity"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for node in list(_identities(model)):
            source, copy = node.inputs[0], node.outputs[0]
            if source is None:
                continue
            if refusal := why_not_replace(copy, source):
                result.skipped.append(Note(label(node), refusal))
                continue
            note = Note(label(node), f"its readers read {source.name!r}")
            replace(copy, source)
            remove(node)
            result.rewritten.append(note)
        return result


def _identities(model: ir.Model) -> Iterator[ir.Node]:
    for graph in graphs(model):
        for node in graph:
            if (node.domain, node.op_type) == ("", "Identity"):
                yield node
