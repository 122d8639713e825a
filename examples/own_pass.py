"""Define a pass in a few lines and run it under the checks.

python examples/own_pass.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import onnx

from onnx_passes import Note, Pass, PassResult, optimize
from onnx_passes.core.contract import Exactness, label

if TYPE_CHECKING:
    import onnx_ir as ir

MODEL = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3] x) => (float[N, 3] y) { a = Exp(x) b = Log(a) y = Sin(b) }
"""


@dataclass(frozen=True)
class DropLogExp(Pass):
    """Read x instead of Log(Exp(x)): close to it where Exp does not overflow."""

    name: ClassVar[str] = "drop-log-exp"
    exactness: ClassVar[Exactness] = "close"

    def run(self, model: ir.Model) -> PassResult:
        """Let the readers of Log read what Exp reads."""
        result = PassResult()
        for node in list(model.graph):
            value = node.inputs[0]
            before = None if value is None else value.producer()
            if node.op_type != "Log" or before is None or before.op_type != "Exp":
                continue
            source = before.inputs[0]
            assert source is not None
            for reader, index in tuple(node.outputs[0].uses()):
                reader.replace_input_with(index, source)
            model.graph.remove([node, before], safe=True)
            result.rewritten.append(Note(label(node), "Log(Exp(x)) is x"))
        return result


def main() -> None:
    """Run the pass and print what was done and what the check measured."""
    outcome = optimize(onnx.parser.parse_model(MODEL), DropLogExp())
    (step,) = outcome.steps
    print(step.verdict, [note.text for note in step.rewritten], f"{outcome.after.nodes} node")


if __name__ == "__main__":
    main()
