from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from eval import ahead
from eval.errors import EvalError
from eval.images import decode, to_input
from eval.manifest import read_manifest
from eval.partial import Partial
from eval.preprocess import preprocess
from eval.samples import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.lmdb_data import RawSample
    from eval.samples import Prepared
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
    assert names(tmp_path) == [".bins.part", "bins", "data"]
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


class TestGoesOn:
    """After an interruption, by Ctrl-C or by kill -9, with what is whole and of the same data."""

    @pytest.fixture
    def words(self, tmp_path: Path, write_set: WriteSet, draw: Draw) -> Path:
        records: list[tuple[bytes | None, bytes | None]] = [
            (draw(f"word{i}"), f"word{i}".encode()) for i in range(9)
        ]
        records[2] = (None, b"lost")
        return write_set(tmp_path / "words", records)

    @pytest.fixture
    def prepared(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Return the records that are prepared from now on."""
        found: list[int] = []

        def noted(sample: RawSample) -> Prepared:
            found.append(sample.index)
            return prepare(sample)

        monkeypatch.setattr(ahead, "prepare", noted)
        return found

    def stop_at(self, words: Path, out: Path, count: int) -> None:
        def interrupt(done: int, _: int) -> None:
            if done == count:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            preprocess(words, out, interrupt)

    def whole(self, words: Path, out: Path) -> None:
        """Compare with a run that nothing has interrupted; nothing else is left."""
        expected = out.with_name("expected")
        preprocess(words, expected)
        assert names(out) == names(expected)
        for name in names(out):
            assert (out / name).read_bytes() == (expected / name).read_bytes(), name
        assert not out.with_name(f".{out.name}.part").exists()

    def test_where_it_was(self, tmp_path: Path, words: Path, prepared: list[int]) -> None:
        out = tmp_path / "bins"
        self.stop_at(words, out, 5)
        assert not out.exists()
        prepared.clear()
        seen: list[int] = []
        preprocess(words, out, lambda done, _: seen.append(done))
        assert prepared == [5, 6, 7, 8]
        assert seen == [6, 7, 8, 9]
        self.whole(words, out)

    def test_twice(self, tmp_path: Path, words: Path, prepared: list[int]) -> None:
        out = tmp_path / "bins"
        self.stop_at(words, out, 2)
        self.stop_at(words, out, 7)
        prepared.clear()
        preprocess(words, out)
        assert prepared == [7, 8]
        self.whole(words, out)

    def test_at_the_first_record_that_is_another_by_now(
        self, tmp_path: Path, words: Path, write_set: WriteSet, draw: Draw, prepared: list[int]
    ) -> None:
        out = tmp_path / "bins"
        self.stop_at(words, out, 8)
        records: list[tuple[bytes | None, bytes | None]] = [
            (draw(f"word{i}"), f"word{i}".encode()) for i in range(5)
        ]
        records[1] = (records[1][0], b"other")
        shorter = write_set(tmp_path / "shorter", records)
        prepared.clear()
        preprocess(shorter, out)
        assert prepared == [1, 2, 3, 4]
        self.whole(shorter, out)

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda part: (part / "new" / "img_0.bin").unlink(), id="a file is gone"),
            pytest.param(lambda part: (part / "journal").write_text(""), id="no journal"),
            pytest.param(
                lambda part: (part / "journal").write_text('["a", "b", "c"]\n["d", "word0", null]'),
                id="of another version or before a boot",
            ),
        ],
    )
    def test_not_with_what_cannot_be_trusted(
        self,
        tmp_path: Path,
        words: Path,
        spoil: Callable[[Path], object],
        prepared: list[int],
    ) -> None:
        out = tmp_path / "bins"
        self.stop_at(words, out, 5)
        spoil(tmp_path / ".bins.part")
        prepared.clear()
        preprocess(words, out)
        assert prepared == list(range(9))
        self.whole(words, out)

    @pytest.mark.parametrize("cut", ['["', "[1, 2", "null", "[[[", '{"a": 1}'])
    def test_before_a_line_that_was_cut_off(
        self, tmp_path: Path, words: Path, cut: str, prepared: list[int]
    ) -> None:
        out = tmp_path / "bins"
        self.stop_at(words, out, 5)
        journal = tmp_path / ".bins.part" / "journal"
        lines = journal.read_text().splitlines()
        journal.write_text("\n".join([*lines[:4], cut]))
        prepared.clear()
        preprocess(words, out)
        assert prepared == [3, 4, 5, 6, 7, 8]
        self.whole(words, out)

    def test_not_while_another_run_writes(self, tmp_path: Path, words: Path) -> None:
        out = tmp_path / "bins"
        other = Partial(out)
        with pytest.raises(EvalError, match="bins is being written by another run"):
            preprocess(words, out)
        other.close()
        preprocess(words, out)
        self.whole(words, out)

    @pytest.mark.parametrize(
        "put",
        [
            pytest.param(lambda folder: (folder / "mine").write_text("mine"), id="a file"),
            pytest.param(
                lambda folder: (folder / "journal").symlink_to("/dev/zero"), id="an endless journal"
            ),
        ],
    )
    def test_not_in_a_folder_of_somebody_else(
        self, tmp_path: Path, words: Path, put: Callable[[Path], object]
    ) -> None:
        (tmp_path / ".bins.part").mkdir()
        put(tmp_path / ".bins.part")
        before = names(tmp_path / ".bins.part")
        with pytest.raises(EvalError, match=r"\.bins\.part is not what an interrupted run leaves"):
            preprocess(words, tmp_path / "bins")
        assert names(tmp_path / ".bins.part") == before

    def test_an_error_keeps_nothing(
        self, tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk needs the room."""
        write = Path.write_bytes

        def full(self: Path, content: bytes) -> int:
            if self.name == "img_4.bin":
                write(self, content[:100])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
            return write(self, content)

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(EvalError, match=r"cannot use .*img_4\.bin: No space left on device"):
            preprocess(words, tmp_path / "bins")
        assert names(tmp_path) == ["words"]


def test_a_disk_that_takes_no_more_is_one_line(tmp_path: Path, data: Path) -> None:
    """The kernel refuses in the middle of a file, as on a full disk."""
    script = (
        "import resource, sys; from pipeline.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "main(sys.argv[1:])\n"
    )
    words = ["eval", "preprocess", "--data", str(data), "--out", str(tmp_path / "bins")]
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot use" in done.stderr
    assert "File too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert names(tmp_path) == ["data"]
