"""Run an unchanged onnx-graphsurgeon script as a pass, and see a wrong one caught.

python examples/check_a_script.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from onnx_passes import optimize

MODEL = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3] x) => (float[N, 2] y)
<float[3, 2] w = {0.1, -0.7, 0.3, 0.9, -0.4, 0.6}>
{ h = Relu(x) i = Identity(h) y = MatMul(i, w) }
"""
RIGHT = """
def edit(graph):
    for node in [node for node in graph.nodes if node.op == "Identity"]:
        node.o().inputs[0] = node.inputs[0]
        node.outputs.clear()
    graph.cleanup()
"""
WRONG = """
def edit(graph):
    weight = graph.tensors()["w"]
    weight.values = weight.values * 1.01
"""


def main() -> None:
    """Run both scripts and print what the checks say."""
    model = onnx.parser.parse_model(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("right", RIGHT), ("wrong", WRONG)):
            script = Path(folder, f"{name}.py")
            script.write_text(text)
            (step,) = optimize(model, f'gs-script{{file="{script}"}}', on_fail="undo").steps
            print(f"{name}: {step.verdict} {step.reason}".strip())


if __name__ == "__main__":
    main()
