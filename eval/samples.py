"""Turn a stored record into a network input and a target, or into a reason why not.

A bad record keeps its index and its place in the count; nothing is drawn at random in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.images import decode, to_input
from eval.labels import normalise, why_not
from eval.manifest import Manifest, Record

if TYPE_CHECKING:
    from eval.data import Data
    from eval.evaluation import Progress
    from eval.images import Float32, Pixels
    from eval.lmdb_data import RawSample


def prepare(sample: RawSample) -> tuple[Record, Float32 | None]:
    """Return the record and its input float32 [3, 32, 100], or None if the record is bad."""
    label, image, reason = _examine(sample)
    if reason is not None or label is None or image is None:
        return Record(sample.index, sample.dataset, sample.record, label, reason), None
    record = Record(sample.index, sample.dataset, sample.record, normalise(label), None)
    return record, to_input(image)


def manifest_of(data: Data, on_progress: Progress | None = None) -> Manifest:
    """Return the manifest that ``preprocess`` writes, without the inputs."""
    records = []
    for sample in data:
        records.append(prepare(sample)[0])
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
