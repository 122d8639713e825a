from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from eval.images import to_input
from eval.lmdb_data import RawSample
from eval.manifest import Record
from eval.samples import prepare

if TYPE_CHECKING:
    from eval.images import Pixels


def picture() -> Pixels:
    return np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


PNG = cv2.imencode(".png", picture())[1].tobytes()
JPEG = cv2.imencode(".jpg", picture())[1].tobytes()


def test_a_good_record_has_its_input_and_a_normalised_label() -> None:
    record, image = prepare(RawSample(7, "SVT", 3, PNG, "Caf\u00e9 9!".encode()))
    assert record == Record(7, "SVT", 3, "caf9", None)
    assert image is not None
    assert image.tobytes() == to_input(picture()).tobytes()


@pytest.mark.parametrize(
    ("image", "label", "kept", "reason"),
    [
        pytest.param(PNG, None, None, "missing label", id="missing label"),
        pytest.param(PNG, b"\xff\xfe", None, "label is not UTF-8", id="label is not UTF-8"),
        pytest.param(None, b"a", "a", "missing image", id="missing image"),
        pytest.param(b"", b"a", "a", "empty image", id="empty image"),
        pytest.param(JPEG[:-200], b"A", "A", "undecodable image", id="cut JPEG, raw label kept"),
        pytest.param(PNG, b"", "", "empty label", id="empty label"),
        pytest.param(PNG, b"a" * 26, "a" * 26, "label over 25 characters", id="26 characters"),
        pytest.param(PNG, b"?!", "?!", "label empty after filtering", id="only punctuation"),
        pytest.param(None, None, None, "missing label", id="the label is looked at first"),
        pytest.param(b"x", b"", "", "undecodable image", id="the text is looked at last"),
    ],
)
def test_a_bad_record_keeps_its_index_and_says_why(
    image: bytes | None, label: bytes | None, kept: str | None, reason: str
) -> None:
    record, result = prepare(RawSample(7, "SVT", 3, image, label))
    assert record == Record(7, "SVT", 3, kept, reason)
    assert result is None
