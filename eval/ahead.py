"""Prepare every record, in order, a little ahead of what is asked for.

The caller runs a model or writes files meanwhile. Records are prepared in several lanes: two
threads of this process, since OpenCV leaves Python alone for half of the time, and processes beside
them (:mod:`eval.worker`), which cost a moment to start; until one is ready its lane prepares here.
"""

from __future__ import annotations

import contextlib
import os
import queue
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from eval.manifest import Manifest
from eval.samples import prepare
from eval.worker import SUPPORTED, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from typing import TypeAlias

    from eval.data import Data
    from eval.evaluation import Progress
    from eval.lmdb_data import RawSample
    from eval.samples import Prepared

    Lane: TypeAlias = Callable[[list[RawSample]], list[Prepared]]

CHUNK = 32  # records a lane takes at a time: a few milliseconds of work
CHUNK_BYTES = 8 << 20  # of image files; a chunk of large ones is shorter
CHUNKS_AHEAD = 3  # beside the one in each lane: 4 MB of inputs
THREADS = 2  # lanes of this process; measured on two cores, a process for the second is slower
MOST = 8  # lanes unless told: more than the calling thread can feed
FEW = 2000  # records that are prepared before another process has started


def lanes_for(records: int) -> int:
    """Return how many lanes pay: one a core, one for few records."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 1 if records < FEW or not SUPPORTED else min(usable or 1, MOST)


def prepare_all(data: Iterable[RawSample], workers: int = 1) -> Generator[Prepared, None, None]:
    """Yield every record with its input, in order. Close it.

    Args:
        data: The records; read by the calling thread only.
        workers: Lanes: up to two threads, and a process for each further one.

    Raises:
        WorkerError: If a process cannot be started or ends.
    """
    waiting: deque[Future[list[Prepared]]] = deque()
    workers = workers if SUPPORTED else 1
    with contextlib.ExitStack() as stack:
        pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
        stack.callback(pool.shutdown, cancel_futures=True)
        run = _lanes(stack, workers)  # ends first: no thread waits for a process that hangs
        for chunk in _chunks(data):
            waiting.append(pool.submit(run, chunk))
            if len(waiting) >= workers + CHUNKS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def manifest_of(data: Data, on_progress: Progress | None = None) -> Manifest:
    """Return the manifest that ``preprocess`` writes, without the inputs."""
    records = []
    with contextlib.closing(prepare_all(data, lanes_for(len(data)))) as prepared:
        for record, _ in prepared:
            records.append(record)
            if on_progress:
                on_progress(len(records), len(data))
    return Manifest(tuple(records))


def _lanes(stack: contextlib.ExitStack, count: int) -> Lane:
    """Return what prepares a chunk in whichever lane is free; there is one for each thread."""
    idle: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    for _ in range(min(count, THREADS)):
        idle.put(_here)
    for _ in range(count - THREADS):
        worker = Worker(CHUNK)
        stack.callback(worker.close)
        idle.put(_beside(worker))

    def run(chunk: list[RawSample]) -> list[Prepared]:
        lane = idle.get()
        try:
            return lane(chunk)
        finally:
            idle.put(lane)

    return run


def _here(chunk: list[RawSample]) -> list[Prepared]:
    return [prepare(sample) for sample in chunk]


def _beside(worker: Worker) -> Lane:
    return lambda chunk: worker.prepare(chunk) if worker.ready else _here(chunk)


def _chunks(data: Iterable[RawSample]) -> Iterator[list[RawSample]]:
    """Yield the records in lists that are neither long nor large."""
    chunk: list[RawSample] = []
    size = 0
    for sample in data:
        chunk.append(sample)
        size += len(sample.image or b"")
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
