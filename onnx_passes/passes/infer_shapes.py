"""infer-shapes: write down the types and shapes that onnx can infer.

Before::

    x [N, 3, 32, 100] -> Conv -> h [?] -> Reshape -> y [?, ?]

After::

    x [N, 3, 32, 100] -> Conv -> h [N, 8, 16, 50] -> Reshape -> y [N, 6400]

Fires when:
    a node of the main graph or of a sub-graph makes a value without a type, without a shape, or
    with a dimension of unknown size, and onnx's inference (with propagation of computed shapes)
    knows it. Names that the inference invents for unknown sizes (``unk__0``) are not kept.

Leaves alone:
    - every size and every symbol that stands in the model, also where the inference has another.
    - graph inputs: only the caller knows them.
    - bodies of functions: each call may have other shapes.
    - results of operators that onnx does not know, and what follows from them.
    - what follows from computed shapes, if two graphs of the model use one name: onnx (1.17 to
      1.23) mixes up what is known of the two values.

Numerics:
    Exact: nothing is computed differently.

References:
    - https://onnx.ai/onnx/repo-docs/ShapeInference.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.inference import infer, learn
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    import onnx_ir as ir


@register
@dataclass(frozen=True)
class InferShapes(Pass):
    """Write down the types and shapes that onnx can infer."""

    name: ClassVar[str] = "infer-shapes"
    exactness: ClassVar[Exactness] = "exact"
    purpose: ClassVar[str] = "clean-up"

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        for value, inferred in infer(model, wanted=_is_open).items():
            node = value.producer()
            if node is None or not value.name:
                continue
            if learn(value, inferred):
                text = f"{value.name!r} is {value.type} {value.shape}"
                result.rewritten.append(Note(label(node), text))
            elif refusal := _why_unknown(value, node):
                result.skipped.append(Note(label(node), refusal))
        return result


def _is_open(value: ir.Value) -> bool:
    """Return whether there is anything that ``value`` could learn."""
    return value.type is None or value.shape is None or not value.shape.is_static()


def _why_unknown(value: ir.Value, node: ir.Node) -> str | None:
    """Return why ``value`` still has no shape, or None if it has one."""
    if value.shape is not None:
        return None
    kind = f"an operator of domain {node.domain!r}" if node.domain else "onnx cannot infer it"
    return f"no shape for {value.name!r}: {kind}"
