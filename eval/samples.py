"""Turn a stored record into a network input and a target, or into a reason why not.

A bad record keeps its index and its place in the count; nothing is drawn at random in its place.

One thread prepares while the caller runs a model: both spend their time outside Python's lock. More
threads do not pay (a picture takes 80 microseconds, and each waits for the lock in between: 11,600
pictures a second with two, 11,000 with one), nor do processes, which take longer to start than the
12,067 records of the benchmark take to prepare.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from eval.images import decode, to_input
from eval.labels import normalise, why_not
from eval.manifest import Manifest, Record

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from typing import TypeAlias

    from eval.data import Data
    from eval.evaluation import Progress
    from eval.images import Float32, Pixels
    from eval.lmdb_data import RawSample

    Prepared: TypeAlias = tuple[Record, Float32 | None]

CHUNK = 32  # records the thread takes at a time: a few milliseconds of work
CHUNKS_AHEAD = 4  # 5 MB of inputs


def prepare(sample: RawSample) -> Prepared:
    """Return the record and its input float32 [3, 32, 100], or None if the record is bad."""
    label, image, reason = _examine(sample)
    if reason is not None or label is None or image is None:
        return Record(sample.index, sample.dataset, sample.record, label, reason), None
    record = Record(sample.index, sample.dataset, sample.record, normalise(label), None)
    return record, to_input(image)


def prepare_all(data: Iterable[RawSample]) -> Generator[Prepared, None, None]:
    """Prepare every record, in order, a little ahead of what is asked for."""
    waiting: deque[Future[list[Prepared]]] = deque()
    samples = iter(data)  # read by the calling thread only
    thread = ThreadPoolExecutor(1, thread_name_prefix="prepare")
    try:
        while chunk := list(islice(samples, CHUNK)):
            waiting.append(thread.submit(_prepare_chunk, chunk))
            if len(waiting) > CHUNKS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)


def _prepare_chunk(chunk: list[RawSample]) -> list[Prepared]:
    return [prepare(sample) for sample in chunk]


def manifest_of(data: Data, on_progress: Progress | None = None) -> Manifest:
    """Return the manifest that ``preprocess`` writes, without the inputs."""
    records = []
    for record, _ in prepare_all(data):
        records.append(record)
        if on_progress:
            on_progress(len(records), len(data))
    return Manifest(tuple(records))


def _examine(sample: RawSample) -> tuple[str | None, Pixels | None, str | None]:
    """Return the raw label, the picture and the first reason against the record."""
    if sample.label is None:
        return None, None, "missing label"
    try:
        label = sample.label.decode("utf-8")
    except UnicodeDecodeError:
        return None, None, "label is not UTF-8"
    if not sample.image:
        return label, None, "missing image" if sample.image is None else "empty image"
    image = decode(sample.image)
    if image is None:
        return label, None, "undecodable image"
    return label, image, why_not(label)
