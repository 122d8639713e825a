"""The head of RARE: write one character a step, looking at the columns where it is.

At each step an additive attention weighs the columns by what they hold and by the state so far;
an LSTM cell takes their weighted sum and the class that was written last, and a linear layer reads
the next class from its state. The steps are unrolled: 25 of them, whatever the word.

References:
    - https://arxiv.org/abs/1603.03915
    - https://arxiv.org/abs/1409.0473 (additive attention)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline.models.framework import paddle

if TYPE_CHECKING:
    from pipeline.models.layers import Tensor

STEPS = 25  # the longest word: 25 characters
START = 0  # the class before the first


class AttentionHead(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """Greedy decoding: the best class of a step is what the next one is told."""

    classes: ClassVar[int] = 38  # start, 0-9, a-z, end

    def __init__(self, features: int, hidden: int) -> None:
        """Build the layers in the order of the checkpoint's names."""
        super().__init__()
        self.attention_cell = _AttentionCell(features, hidden, self.classes)
        self.generator = paddle.nn.Linear(hidden, self.classes)
        self._hidden = hidden

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [N, 25, features] to float32 [N, 25, 38]."""
        columns = self.attention_cell.i2h(x)  # the same in every step
        hidden = cell = paddle.zeros([x.shape[0], self._hidden])
        written = paddle.full([x.shape[0]], START, dtype="int64")
        logits = []
        for _ in range(STEPS):
            hidden, cell = self.attention_cell(x, columns, (hidden, cell), written)
            logits.append(self.generator(hidden))
            written = paddle.argmax(logits[-1], axis=1)
        found = paddle.stack(logits, axis=1)
        return found if self.training else paddle.nn.functional.softmax(found, axis=2)


class _AttentionCell(paddle.nn.Layer):  # type: ignore[misc]  # paddle is untyped
    """One step: where to look, and what the state becomes."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.i2h = paddle.nn.Linear(features, hidden, bias_attr=False)
        self.h2h = paddle.nn.Linear(hidden, hidden)
        self.score = paddle.nn.Linear(hidden, 1, bias_attr=False)
        self.rnn = paddle.nn.LSTMCell(features + classes, hidden)
        self._classes = classes

    def forward(
        self, x: Tensor, columns: Tensor, state: tuple[Tensor, Tensor], written: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the next state.

        Args:
            x: float32 [N, 25, features].
            columns: ``i2h(x)``, float32 [N, 25, hidden].
            state: Hidden and cell state, each float32 [N, hidden].
            written: int64 [N], the class of the step before.
        """
        told = self.h2h(state[0]).unsqueeze(1)
        weights = paddle.nn.functional.softmax(self.score(paddle.tanh(columns + told)), axis=1)
        seen = paddle.matmul(weights.transpose([0, 2, 1]), x).squeeze(1)
        last = paddle.nn.functional.one_hot(written, self._classes)
        _, (hidden, cell) = self.rnn(paddle.concat([seen, last], axis=1), state)
        return hidden, cell
