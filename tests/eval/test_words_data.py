"""The committed words: 300 rendered images, see benchmarks/train_starnet/frozen.py."""

from __future__ import annotations

from pathlib import Path

from eval.lmdb_data import LmdbTree
from eval.samples import prepare

WORDS = Path(__file__).parents[1] / "data" / "words"
MOST_BYTES = 2 << 20  # what a clone should have to carry


def test_the_committed_words_are_complete_and_small() -> None:
    with LmdbTree(WORDS) as tree:
        assert tree.counts == {"curved": 80, "perspective": 80, "plain": 140}
        prepared = [prepare(sample) for sample in tree]
    assert [record.reason for record, _ in prepared if record.reason] == []
    assert len({record.label for record, _ in prepared}) > 250
    assert sum(path.stat().st_size for path in WORDS.rglob("*")) < MOST_BYTES
