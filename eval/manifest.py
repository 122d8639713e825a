"""The manifest: which record an index stands for, what it should read, and why it cannot be used.

A JSON file next to the ``img_<index>.bin`` files::

    {"records": [
    {"index": 0, "dataset": "CUTE80", "record": 1, "label": "team", "reason": null},
    {"index": 1, "dataset": "CUTE80", "record": 2, "label": "?!", "reason": "label empty after ..."}
    ]}

``index`` counts from 0 over all data sets, ``record`` from 1 inside its own. The label of a good
record is normalised; that of a bad one is the raw text, or null if there is none that is UTF-8.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from eval.errors import EvalError
from eval.labels import normalise, why_not

if TYPE_CHECKING:
    from pathlib import Path

_OPTIONAL_TEXT = (str, type(None))
_FIELDS: dict[str, tuple[type, ...]] = {
    "index": (int,),
    "dataset": (str,),
    "record": (int,),
    "label": _OPTIONAL_TEXT,
    "reason": _OPTIONAL_TEXT,
}


@dataclass(frozen=True)
class Record:
    """One record of a data set; ``reason`` is None if it can be evaluated."""

    index: int
    dataset: str
    record: int
    label: str | None
    reason: str | None


@dataclass(frozen=True)
class Manifest:
    """All records in the order of their index, bad ones included."""

    records: tuple[Record, ...]

    @property
    def good(self) -> tuple[Record, ...]:
        """The records that have an image and a label."""
        return tuple(record for record in self.records if record.reason is None)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write ``manifest``, one record a line; ``path`` appears only when it is complete."""
    lines = [json.dumps(asdict(record), ensure_ascii=False) for record in manifest.records]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text('{"records": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    temporary.replace(path)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        EvalError: If the file cannot be read, is not JSON, or a record is not as documented.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"cannot read manifest {path}: {error.strerror}; 'eval preprocess' writes one"
        raise EvalError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"manifest {path} is not JSON in UTF-8: {error}"
        raise EvalError(msg) from error
    records = document.get("records") if isinstance(document, dict) else None
    if not isinstance(records, list):
        msg = f"manifest {path} has no list \"records\"; 'eval preprocess' writes such a file"
        raise EvalError(msg)
    for position, item in enumerate(records):
        if refusal := _why_not(item, position):
            msg = f"manifest {path}, record at position {position}: {refusal}"
            raise EvalError(msg)
    return Manifest(tuple(Record(**item) for item in records))


def _why_not(item: Any, position: int) -> str | None:  # noqa: ANN401  whatever JSON holds
    """Return what is wrong with one record of a manifest, or None."""
    if not isinstance(item, dict) or set(item) != set(_FIELDS):
        return f"expected an object with exactly {', '.join(_FIELDS)}"
    for name, types in _FIELDS.items():
        if not isinstance(item[name], types) or isinstance(item[name], bool):
            return f"{name} is {item[name]!r}; expected {' or '.join(t.__name__ for t in types)}"
    if item["index"] != position:
        return f"index is {item['index']}; expected {position}, indices count up from 0"
    if item["record"] < 1:
        return f"record is {item['record']}; records count up from 1"
    return _why_not_label(item["label"], item["reason"])


def _why_not_label(label: str | None, reason: str | None) -> str | None:
    if reason is not None:
        return None if reason else "reason is empty; expected null or a sentence"
    if label is None or why_not(label) or label != normalise(label):
        return f"label is {label!r}; a record without a reason has a normalised label"
    return None
