from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.models.attention_head import AttentionHead
from pipeline.models.framework import paddle

FEATURES, HIDDEN = 6, 4
Array = np.ndarray[Any, np.dtype[np.float64]]


@pytest.fixture
def head() -> AttentionHead:
    """Return a small head whose class depends on the columns and on what it wrote."""
    head = AttentionHead(FEATURES, HIDDEN)
    rng = np.random.default_rng(5)
    for tensor in head.parameters():
        tensor.set_value(rng.normal(0, 2, tensor.shape).astype(np.float32))
    head.eval()
    return head


@pytest.fixture
def columns() -> Array:
    return np.random.default_rng(6).normal(size=(3, 25, FEATURES))


def _softmax(x: Array, axis: int) -> Array:
    grown = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(grown / grown.sum(axis=axis, keepdims=True))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _by_hand(weights: dict[str, Array], x: Array) -> tuple[Array, list[Array]]:
    """Return the logits of one word and where each step looked, by the formulas in float64."""
    hidden, cell, written = np.zeros(HIDDEN), np.zeros(HIDDEN), 0
    logits, looks = [], []
    for _ in range(25):
        energy = np.tanh(
            x @ weights["attention_cell.i2h.weight"]
            + hidden @ weights["attention_cell.h2h.weight"]
            + weights["attention_cell.h2h.bias"]
        )
        looks.append(_softmax((energy @ weights["attention_cell.score.weight"])[:, 0], 0))
        told = np.concatenate([looks[-1] @ x, np.eye(38)[written]])
        gates = (
            weights["attention_cell.rnn.weight_ih"] @ told
            + weights["attention_cell.rnn.bias_ih"]
            + weights["attention_cell.rnn.weight_hh"] @ hidden
            + weights["attention_cell.rnn.bias_hh"]
        )
        take, keep, new, show = np.split(gates, 4)
        cell = _sigmoid(keep) * cell + _sigmoid(take) * np.tanh(new)
        hidden = _sigmoid(show) * np.tanh(cell)
        logits.append(hidden @ weights["generator.weight"] + weights["generator.bias"])
        written = int(logits[-1].argmax())
    return np.array(logits), looks


def test_it_computes_the_formulas_of_the_papers(head: AttentionHead, columns: Array) -> None:
    weights = {name: tensor.numpy().astype(float) for name, tensor in head.state_dict().items()}
    by_hand = [_by_hand(weights, x) for x in columns]
    expected = np.stack([_softmax(logits, 1) for logits, _ in by_hand])
    found = head(paddle.to_tensor(columns.astype(np.float32))).numpy()
    # float32 sums of up to 44 terms, through 25 steps that contract: 1.1e-6 was measured
    np.testing.assert_allclose(found, expected, atol=2e-5)
    written = expected.argmax(axis=2)
    assert len({tuple(row) for row in written}) == 3
    assert max(len(set(row)) for row in written.tolist()) >= 4, "it should write several classes"
    looked = np.array([looks for _, looks in by_hand])
    assert looked.std(axis=1).max() > 0.1, "it should look elsewhere in another step"


def test_what_it_wrote_changes_what_follows(head: AttentionHead, columns: Array) -> None:
    x = paddle.to_tensor(columns.astype(np.float32))
    before = head(x).numpy()
    bias = head.generator.bias.numpy()
    other = int(before[0, 0].argsort()[-2])
    bias[other] += 50  # now this class is written in every step
    head.generator.bias.set_value(bias)
    head.train()
    after = head(x).numpy()
    bias[other] -= 50
    shifted = after.copy()
    shifted[..., other] -= 50
    head.generator.bias.set_value(bias)
    logits = head(x).numpy()
    np.testing.assert_allclose(shifted[:, 0], logits[:, 0], atol=1e-4)  # the start is the same
    assert np.abs(shifted[0, 1:] - logits[0, 1:]).max() > 0.1


def test_probabilities_come_out_in_eval_mode_and_logits_in_training(
    head: AttentionHead, columns: Array
) -> None:
    x = paddle.to_tensor(columns.astype(np.float32))
    probabilities = head(x).numpy()
    head.train()
    logits = head(x).numpy()
    assert probabilities.shape == logits.shape == (3, 25, 38)
    np.testing.assert_allclose(_softmax(logits.astype(float), 2), probabilities, atol=1e-5)
    assert np.abs(logits.sum(axis=2) - 1).max() > 0.1


def test_a_word_is_read_alike_alone_and_in_a_batch(head: AttentionHead, columns: Array) -> None:
    x = paddle.to_tensor(columns.astype(np.float32))
    np.testing.assert_allclose(head(x[:1]).numpy()[0], head(x).numpy()[0], atol=1e-6)
