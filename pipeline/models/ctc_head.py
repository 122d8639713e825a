"""The head of StarNet: each column names a character or the blank, independent of the others.

References:
    - https://www.cs.toronto.edu/~graves/icml_2006.pdf
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.models.framework import paddle

if TYPE_CHECKING:
    from pipeline.models.layers import Tensor


class CtcHead(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """One linear layer over each time step."""

    classes: ClassVar[int] = 37  # blank, 0-9, a-z

    def __init__(self, features: int, _hidden: int) -> None:
        """Start as the published training does; a hidden size is for heads that have a state."""
        super().__init__()
        bound = features**-0.5
        uniform = paddle.nn.initializer.Uniform(-bound, bound)
        self.fc = paddle.nn.Linear(features, self.classes, weight_attr=uniform, bias_attr=uniform)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 25, features] to float32 [N, 25, 37]."""
        logits = self.fc(x)
        return logits if self.training else paddle.nn.functional.softmax(logits, axis=2)
