"""Turn a stored record into a network input and a target, or into a reason why not.

A bad record keeps its index and its place in the count; nothing is drawn at random in its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval.images import decode, to_input
from eval.labels import normalise, why_not
from eval.manifest import Record

if TYPE_CHECKING:
    from typing import TypeAlias

    from eval.images import Float32, Pixels
    from eval.lmdb_data import RawSample

    Prepared: TypeAlias = tuple[Record, Float32 | None]


def prepare(sample: RawSample) -> Prepared:
    """Return the record and its input float32 [3, 32, 100], or None if the record is bad."""
    label, image, reason = examine(sample.image, sample.label, sample.refusal)
    if reason is not None or label is None or image is None:
        return Record(sample.index, sample.dataset, sample.record, label, reason), None
    record = Record(sample.index, sample.dataset, sample.record, normalise(label), None)
    return record, to_input(image)


def examine(
    stored: bytes | None, text: bytes | None, refusal: str | None
) -> tuple[str | None, Pixels | None, str | None]:
    """Return the raw label, the picture and the first reason against a record.

    Args:
        stored: The encoded image file, or None.
        text: The label in UTF-8, or None.
        refusal: Why what is None was not read, if it is there.
    """
    if text is None:
        return None, None, refusal or "missing label"
    try:
        label = text.decode("utf-8")
    except UnicodeDecodeError:
        return None, None, "label is not UTF-8"
    if not stored:
        return label, None, refusal or ("missing image" if stored is None else "empty image")
    image = decode(stored)
    if image is None:
        return label, None, "undecodable image"
    return label, image, why_not(label)
