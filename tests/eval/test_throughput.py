"""Throughput: every model runs the same number of times, in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval import backends
from eval.throughput import in_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pytest


def test_models_run_in_turns(starnet_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[backends.OrtBackend] = []
    run = backends.OrtBackend.run

    def noted(self: backends.OrtBackend, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        order.append(self)
        return run(self, images)

    monkeypatch.setattr(backends.OrtBackend, "run", noted)
    image = np.zeros((3, 32, 100), np.float32)
    speeds = in_turns([starnet_onnx, starnet_onnx], [image], batch_size=2, rounds=3)
    first, second = order[:2]
    assert order == [first, second] * 3
    assert [speed.images for speed in speeds] == [2, 2]
    assert all(speed.images_per_s > 0 for speed in speeds)
