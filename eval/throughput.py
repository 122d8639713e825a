"""How fast models run next to each other: in turns, so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from eval.backends import OrtBackend
from eval.evaluation import Throughput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from eval.images import Float32


def in_turns(
    models: Sequence[Path], images: Sequence[Float32], batch_size: int, *, rounds: int
) -> list[Throughput]:
    """Return the median speed of each model over ``rounds`` batches, run in turns.

    Args:
        models: ONNX files, see :class:`eval.backends.OrtBackend`.
        images: At least one input, float32 [3, 32, 100]; repeated to fill the batch.
        batch_size: Images in a run.
        rounds: How often each model runs.

    Raises:
        EvalError: If a model cannot be used.
    """
    backends = [OrtBackend(model, batch_size) for model in models]
    seconds: list[list[float]] = [[] for _ in backends]
    for _ in range(rounds):
        for backend, taken in zip(backends, seconds, strict=True):
            batch = [images[i % len(images)] for i in range(backend.batch_size)]
            before = backend.throughput.seconds
            for _ in backend.run(batch):
                pass
            taken.append(backend.throughput.seconds - before)
    return [
        Throughput(backend.batch_size, statistics.median(taken), backend.batch_size)
        for backend, taken in zip(backends, seconds, strict=True)
    ]
