"""Whatever prepares a record, the result is the same to the last bit, and in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from eval import ahead
from eval.ahead import CHUNK, CHUNKS_AHEAD, lanes_for, manifest_of, prepare_all
from eval.errors import EvalError, WorkerError
from eval.lmdb_data import LmdbTree, RawSample
from eval.samples import prepare
from eval.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eval.samples import Prepared

ROOT = Path(__file__).resolve().parents[2]
WORDS = ROOT / "tests" / "data" / "words"
LANES = pytest.mark.parametrize("workers", [1, 2, 4])


@pytest.fixture(scope="module")
def stored() -> list[RawSample]:
    """500 pictures of their own, every seventh missing, one cut, and labels of all kinds."""
    rng = np.random.default_rng(1)
    found = []
    for i in range(500):
        pixels = rng.integers(0, 256, (20 + i % 40, 30 + i, 3), np.uint8)
        image: bytes | None = cv2.imencode(".jpg" if i % 2 else ".png", pixels)[1].tobytes()
        if i % 7 == 0:
            image = None
        label = ["Wörd".encode(), b"\xff", b"", None, b"x" * 26, b"?!"][i % 6 if i % 5 == 0 else 0]
        found.append(RawSample(i, "SVT", i + 1, image if i != 8 else PNG[:40], label))
    return found


PNG = cv2.imencode(".png", np.zeros((32, 50, 3), np.uint8))[1].tobytes()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for each process before it is used: otherwise the thread does all of so little."""
    monkeypatch.setattr(ahead, "Worker", _Started)


class _Started(Worker):
    def __init__(self, records: int) -> None:
        super().__init__(records)
        give_up = time.monotonic() + 60
        while not self.ready:
            assert time.monotonic() < give_up
            time.sleep(0.01)


def same(found: list[Prepared], expected: list[Prepared]) -> None:
    assert [record for record, _ in found] == [record for record, _ in expected]
    for (_, image), (_, pixels) in zip(found, expected, strict=True):
        assert (image is None) == (pixels is None)
        assert image is None or pixels is None or image.tobytes() == pixels.tobytes()


@LANES
@pytest.mark.usefixtures("started")
def test_gives_what_prepare_gives_in_order(stored: list[RawSample], workers: int) -> None:
    found = list(prepare_all(stored, workers))
    same(found, [prepare(sample) for sample in stored])
    assert {record.reason for record, _ in found} > {None, "missing image", "undecodable image"}


@pytest.mark.usefixtures("started")
def test_processes_do_the_work(stored: list[RawSample], monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of it: two threads and three processes take what comes."""
    here: list[int] = []

    def slow(sample: RawSample) -> Prepared:
        here.append(sample.index)
        time.sleep(0.02)
        return prepare(sample)

    monkeypatch.setattr(ahead, "prepare", slow)
    assert len(list(prepare_all(stored, 5))) == len(stored)
    assert 0 < len(here) < len(stored) / 2


@LANES
def test_reads_a_bounded_number_ahead_and_none_once_it_is_left(
    stored: list[RawSample], workers: int
) -> None:
    read: list[int] = []

    def counted() -> Iterator[RawSample]:
        for sample in stored:
            read.append(sample.index)
            yield sample

    prepared = prepare_all(counted(), workers)
    next(prepared)
    assert len(read) <= CHUNK * (CHUNKS_AHEAD + workers) < len(stored)
    prepared.close()
    assert len(read) < len(stored)


def test_large_images_make_short_chunks(
    stored: list[RawSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "CHUNK_BYTES", 1)
    chunks = list(ahead._chunks(stored[:20]))
    assert [len(chunk) for chunk in chunks[:2]] == [2, 1]  # the first record has no image
    assert [sample for chunk in chunks for sample in chunk] == stored[:20]


@LANES
def test_an_error_of_the_data_comes_through(stored: list[RawSample], workers: int) -> None:
    def broken() -> Iterator[RawSample]:
        yield from stored[:3]
        msg = "data set SVT is damaged"
        raise EvalError(msg)

    with pytest.raises(EvalError, match="damaged"):
        list(prepare_all(broken(), workers))


def children() -> set[int]:
    """Return the processes that this one has started and that live."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(words[1]) == os.getpid() and words[0] != "Z":
            found.add(int(status.parent.name))
    return found


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_process_that_dies_is_one_line_and_one_that_hangs_does_not_hold_the_end_up(
    stored: list[RawSample], kind: signal.Signals
) -> None:
    before = children()
    prepared = prepare_all(stored * 4, 3)
    next(prepared)
    (worker,) = children() - before
    os.kill(worker, kind)
    if kind == signal.SIGKILL:
        with pytest.raises(WorkerError, match=r"was killed by SIGKILL; try again with --workers 1"):
            list(prepared)
        assert WorkerError.exit_code == 3
    prepared.close()
    assert children() == before


@pytest.mark.usefixtures("started")
def test_processes_end_with_the_work_and_when_it_is_left(stored: list[RawSample]) -> None:
    before = children()
    list(prepare_all(stored, 4))
    assert children() == before
    prepared = prepare_all(stored, 4)
    next(prepared)
    assert len(children() - before) == 2
    prepared.close()
    assert children() == before


def test_processes_end_when_this_one_is_killed() -> None:
    script = (
        "import sys, time; from pathlib import Path; from eval.lmdb_data import LmdbTree\n"
        "from eval.worker import Worker\n"
        "worker = Worker(4)\n"
        "while not worker.ready: time.sleep(0.01)\n"
        "print(worker._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = Path("/proc", parent.stdout.readline().strip(), "cmdline")
        assert worker.exists()
        parent.kill()
        parent.wait()
    give_up = time.monotonic() + 20
    while worker.exists() and worker.read_bytes():  # a zombie has no command line
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_process_finds_the_code_of_this_one_whatever_the_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: list[RawSample]
) -> None:
    (tmp_path / "cv2.py").write_text("raise RuntimeError")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ahead, "Worker", _Started)
    same(list(prepare_all(stored[:64], 2)), [prepare(sample) for sample in stored[:64]])


def test_few_records_are_not_worth_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert lanes_for(ahead.FEW - 1) == 1
    assert lanes_for(ahead.FEW) == ahead.MOST
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert lanes_for(12067) == 1


def test_the_manifest_is_that_of_the_inputs() -> None:
    seen: list[tuple[int, int]] = []
    with LmdbTree(WORDS) as tree:
        expected = [prepare(sample)[0] for sample in tree]
        found = manifest_of(tree, lambda done, total: seen.append((done, total)))
    assert list(found.records) == expected
    assert seen == [(done, 300) for done in range(1, 301)]
