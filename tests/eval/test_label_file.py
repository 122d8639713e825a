"""Label files of PaddleOCR and ICDAR, good and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eval import label_file
from eval.data import open_data
from eval.errors import EvalError
from eval.preprocess import preprocess

if TYPE_CHECKING:
    from pathlib import Path

    from tests.eval.conftest import Draw


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    pictures = tmp_path / "SVT"
    (pictures / "test").mkdir(parents=True)
    for name in ("a1", "b2"):
        (pictures / "test" / f"{name}.png").write_bytes(draw(name))
    (tmp_path / "secret.png").write_bytes(draw("x"))
    return pictures


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "labels.txt"
    path.write_text(text, encoding=encoding, newline="")
    return path


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("test/a1.png\ta1\ntest/b2.png\tB 2\n", id="PaddleOCR"),
        pytest.param("test/a1.png\ta1\r\n\r\ntest/b2.png\tB 2", id="with Windows lines"),
        pytest.param('test/a1.png, "a1"\ntest/b2.png, "B 2"\n', id="ICDAR"),
        pytest.param('test/a1.png,"a1"\ntest/b2.png ,  "B 2" \n', id="ICDAR, other spaces"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_both_forms_give_the_records_in_order(
    folder: Path, text: str, encoding: str, draw: Draw
) -> None:
    with open_data(written(folder, text, encoding)) as data:
        assert (data.counts, len(data)) == ({"SVT": 2}, 2)
        first, second = data
    assert (first.index, first.dataset, first.record) == (0, "SVT", 1)
    assert (first.image, first.label) == (draw("a1"), b"a1")
    assert (second.index, second.record, second.label) == (1, 2, b"B 2")


def test_quotes_and_tabs_in_a_text_survive(folder: Path) -> None:
    with open_data(written(folder, 'a.png, "say \\"hi\\", \\\\ and go"\n')) as data:
        assert [sample.label for sample in data] == [b'say "hi", \\ and go']
    with open_data(written(folder, 'a.png\tx\ty "z", w\n')) as data:
        assert [sample.label for sample in data] == [b'x\ty "z", w']


OUTSIDE = "image outside of the folder of the label file"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.png", OUTSIDE),
        ("test/none.png", "missing image"),
        ("test", "missing image"),
        ("a\0b", "image cannot be read"),
        ("test/../../secret.png", OUTSIDE),
    ],
)
def test_a_picture_that_is_not_there_or_not_inside_is_a_bad_record(
    folder: Path, tmp_path: Path, name: str, reason: str
) -> None:
    manifest = preprocess(written(folder, f"{name}\tx\ntest/a1.png\ta1\n"), tmp_path / "out")
    assert [record.reason for record in manifest.records] == [reason, None]


def test_an_absolute_path_is_not_inside(folder: Path, tmp_path: Path) -> None:
    with open_data(written(folder, f"{tmp_path / 'secret.png'}\tx\n")) as data:
        assert [sample.image for sample in data] == [None]


def test_a_file_too_large_for_a_word_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_file, "MAX_IMAGE_BYTES", 10)
    with open_data(written(folder, "test/a1.png\tx\n")) as data:
        assert [sample.image for sample in data] == [None]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no line"),
        (b"\n \n", "holds no line"),
        (b"a.png\tx\nb.png y\n", r"line 2: found 'b.png y', expected path<tab>text"),
        (b"a.png x\n", "line 1: found 'a.png x', expected path<tab>text, or path"),
        (b'a.png, "x"\nb.png, y\n', "line 2: found 'b.png, y'"),
        (b"a.png\t\xff\n", "is not UTF-8 at byte 6"),
    ],
)
def test_what_is_no_label_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(EvalError, match=message):
        open_data(path)


def test_nothing_there_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="does not exist; give a folder"):
        open_data(tmp_path / "nowhere")
