from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from eval.errors import EvalError
from eval.images import decode, to_input
from eval.manifest import read_manifest
from eval.preprocess import preprocess

if TYPE_CHECKING:
    from tests.eval.conftest import Draw, WriteSet


@pytest.fixture
def data(tmp_path: Path, write_set: WriteSet, draw: Draw) -> Path:
    """Three records in two data sets; the second is bad."""
    write_set(tmp_path / "data" / "b", [(draw("last"), b"last")])
    write_set(tmp_path / "data" / "a", [(draw("first"), b"First"), (draw("bad"), b"...")])
    return tmp_path / "data"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_good_record_becomes_a_file(tmp_path: Path, data: Path, draw: Draw) -> None:
    out = tmp_path / "deep" / "bins"
    manifest = preprocess(data, out)
    assert names(out) == ["img_0.bin", "img_2.bin", "manifest.json"]
    assert [record.label for record in manifest.records] == ["first", "...", "last"]
    assert read_manifest(out / "manifest.json") == manifest
    content = (out / "img_2.bin").read_bytes()
    image = decode(draw("last"))
    assert image is not None
    assert len(content) == 38_400
    assert content == to_input(image).tobytes()
    assert names(out.parent) == ["bins"]


def test_the_bytes_are_little_endian_and_channel_first(tmp_path: Path, write_set: WriteSet) -> None:
    blue = np.zeros((32, 100, 3), np.uint8)
    blue[:, :, 0] = 255
    write_set(tmp_path / "data", [(cv2.imencode(".png", blue)[1].tobytes(), b"a")])
    preprocess(tmp_path / "data", tmp_path / "bins")
    content = (tmp_path / "bins" / "img_0.bin").read_bytes()
    one, minus_one = b"\x00\x00\x80\x3f", b"\x00\x00\x80\xbf"
    assert content == one * 3200 + minus_one * 6400


def test_an_earlier_result_is_replaced_whole(tmp_path: Path, data: Path, draw: Draw) -> None:
    out = tmp_path / "bins"
    out.mkdir()
    preprocess(data, out)
    (out / "img_999.bin").write_bytes(b"of a longer data set")
    preprocess(data / "b", out)
    assert names(out) == ["img_0.bin", "manifest.json"]
    image = decode(draw("last"))
    assert image is not None
    assert (out / "img_0.bin").read_bytes() == to_input(image).tobytes()


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        pytest.param("notes.txt", "mine", "found notes.txt", id="another file"),
        pytest.param("img_0_0.bin", "mine", "found img_0_0.bin", id="a result"),
        pytest.param("img_0.bin", "mine", "found no manifest.json of ours", id="no manifest"),
        pytest.param("manifest.json", "{}", "found no manifest.json of ours", id="a stranger's"),
    ],
)
def test_refuses_a_folder_that_holds_other_files(
    tmp_path: Path, data: Path, name: str, content: str, found: str
) -> None:
    out = tmp_path / "bins"
    out.mkdir()
    (out / name).write_text(content)
    with pytest.raises(EvalError, match=found):
        preprocess(data, out)
    assert (out / name).read_text() == content


def test_refuses_to_write_into_the_data(data: Path) -> None:
    for out in (data, data / "bins"):
        with pytest.raises(EvalError, match="is inside the data folder"):
            preprocess(data, out)
    assert names(data) == ["a", "b"]


def test_refuses_a_file_as_output(tmp_path: Path, data: Path) -> None:
    (tmp_path / "bins").write_text("mine")
    with pytest.raises(EvalError, match="bins is a file; give a folder"):
        preprocess(data, tmp_path / "bins")
    with pytest.raises(EvalError, match=r"cannot use .*bins: File exists"):
        preprocess(data, tmp_path / "bins" / "below")


def test_an_interruption_leaves_the_earlier_result(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "bins"
    before = preprocess(data, out)

    def interrupt(done: int, total: int) -> None:
        if (done, total) == (2, 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess(data, out, interrupt)
    assert names(tmp_path) == ["bins", "data"]
    assert read_manifest(out / "manifest.json") == before


def test_a_failed_exchange_leaves_the_earlier_result(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bins"
    before = preprocess(data, out)
    rename = Path.rename

    def refuse_the_new(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(28, "No space left on device", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(EvalError, match=r"cannot use .*bins: No space left on device"):
        preprocess(data, out)
    assert names(tmp_path) == ["bins", "data"]
    assert read_manifest(out / "manifest.json") == before


def test_progress_counts_every_record(tmp_path: Path, data: Path) -> None:
    seen: list[tuple[int, int]] = []
    preprocess(data, tmp_path / "bins", lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
