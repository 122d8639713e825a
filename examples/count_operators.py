"""Clean a model and print which operators went: the outcome is data.

python examples/count_operators.py
"""

from __future__ import annotations

import onnx

from onnx_passes import optimize

MODEL = """
<ir_version: 8, opset_import: ["": 16]>
g (float[2, 3, 4] x) => (float[4, 3, 2] y)
{ a = Identity(x) b = Transpose <perm = [2, 0, 1]> (a)
  c = Transpose <perm = [0, 2, 1]> (b) d = Cast <to = 1> (c) y = Relu(d) }
"""


def main() -> None:
    """Run three passes until nothing changes, and print operators before and after."""
    model = onnx.parser.parse_model(MODEL)
    outcome = optimize(model, "(drop-identity,drop-noop,merge-transposes)*")
    for name, count in sorted(outcome.before.operators.items()):
        print(f"{name}: {count} -> {outcome.after.operators.get(name, 0)}")
    print("verdict:", outcome.verdict)


if __name__ == "__main__":
    main()
