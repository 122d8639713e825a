from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from eval.errors import EvalError
from eval.manifest import Manifest, Record, read_manifest, write_manifest

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"index": 0, "dataset": "SVT", "record": 1, "label": "team", "reason": None}
MANIFEST = Manifest(
    (
        Record(0, "nest/SVT", 1, "team", None),
        Record(1, "nest/SVT", 2, "caf\u00e9\u2028 \U0001f600!" * 9, "label over 25 characters"),
        Record(2, "SVTP", 1, None, "missing label"),
    )
)


def write(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({"records": [{**GOOD, **changes}]}))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_manifest(MANIFEST, path)
    assert read_manifest(path) == MANIFEST
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.json"]


def test_the_form_of_the_file_is_the_documented_one(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_manifest(Manifest(MANIFEST.records[:1]), path)
    assert json.loads(path.read_text()) == {"records": [{**GOOD, "dataset": "nest/SVT"}]}


def test_good_leaves_out_the_bad() -> None:
    assert [record.index for record in MANIFEST.good] == [0]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(b"", "not JSON", id="empty file"),
        pytest.param(b'{"records": [', "not JSON", id="cut file"),
        pytest.param(b"\xff\xfe", "not JSON in UTF-8", id="not UTF-8"),
        pytest.param(b"[" * 200_000, "not JSON", id="endless nesting"),
        pytest.param(b"[]", 'no list "records"', id="not an object"),
        pytest.param(b"{}", 'no list "records"', id="no records"),
        pytest.param(b'{"records": {}}', 'no list "records"', id="records is no list"),
        pytest.param(b'{"records": [1]}', "position 0: expected an object", id="no object"),
        pytest.param(
            b'{"records": [{"index": 0}]}', "expected an object with", id="fields missing"
        ),
    ],
)
def test_refuses_a_file_that_is_no_manifest(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(EvalError, match=found) as caught:
        read_manifest(path)
    assert "manifest.json" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({"index": "0"}, "index is '0'; expected int", id="index is text"),
        pytest.param({"index": 0.0}, "index is 0.0; expected int", id="index is a fraction"),
        pytest.param({"index": False}, "index is False; expected int", id="index is a boolean"),
        pytest.param({"index": 1}, "index is 1; expected 0", id="index out of order"),
        pytest.param({"dataset": None}, "dataset is None; expected str", id="dataset is null"),
        pytest.param({"record": 0}, "record is 0; records count up from 1", id="record is 0"),
        pytest.param({"label": 5}, "label is 5; expected str or None", id="label is a number"),
        pytest.param({"reason": []}, "reason is .*; expected str or None", id="reason is a list"),
        pytest.param({"reason": ""}, "reason is empty", id="reason is empty"),
        pytest.param({"label": None}, "label is None; a record without", id="good without label"),
        pytest.param({"label": ""}, "label is ''; a record without", id="good with empty label"),
        pytest.param({"label": "Team"}, "label is 'Team'; a record", id="label not normalised"),
        pytest.param({"label": "a" * 26}, "has a normalised label", id="label too long"),
        pytest.param({"extra": 1}, "expected an object with exactly", id="unknown field"),
    ],
)
def test_refuses_a_wrong_record(tmp_path: Path, changes: dict[str, Any], found: str) -> None:
    path = write(tmp_path / "manifest.json", **changes)
    with pytest.raises(EvalError, match=found):
        read_manifest(path)


def test_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=r"cannot read manifest .*nowhere\.json"):
        read_manifest(tmp_path / "nowhere.json")
