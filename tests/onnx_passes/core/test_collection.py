from __future__ import annotations

import gc
import threading

import pytest

from onnx_passes.core.collection import rare_collections


def test_the_collector_is_as_before_after_blocks_in_each_other() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    with rare_collections():
        with rare_collections():
            rare = gc.get_threshold()
        assert gc.get_threshold() == rare != before[0]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_a_block_that_raises_is_left_too() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="planted"), rare_collections():
        raise ValueError("planted")  # noqa: EM101
    assert gc.get_threshold() == before


def test_the_last_of_overlapping_threads_restores_the_collector() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    inside, go = threading.Event(), threading.Event()

    def second() -> None:
        with rare_collections():
            inside.set()
            assert go.wait(10)

    thread = threading.Thread(target=second)
    with rare_collections():
        rare = gc.get_threshold()
        thread.start()
        assert inside.wait(10)
    left_first = gc.get_threshold()
    go.set()
    thread.join(10)
    assert left_first == rare
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
