"""A folder of results appears whole, replaces its own kind, and survives a failure."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ascend.errors import AscendError
from ascend.fresh_folder import fresh_folder

RECORD = "infer.json"


def write(out: Path, content: str) -> None:
    with fresh_folder(out, RECORD, (".bin",)) as fresh:
        (fresh / RECORD).write_text(content)
        (fresh / "a_0.bin").write_text(content)


def test_it_appears_with_its_parents_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    write(out, "new")
    assert (out / "a_0.bin").read_text() == "new"
    assert list(out.parent.iterdir()) == [out]


def test_an_earlier_result_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    (tmp_path / "out" / "b_0.bin").touch()
    write(tmp_path / "out", "new")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_0.bin", RECORD]


def test_an_earlier_result_stays_if_the_new_one_fails(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError), fresh_folder(tmp_path / "out", RECORD, (".bin",)):
        _ = 1 / 0
    assert (tmp_path / "out" / "a_0.bin").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_earlier_result_comes_back_if_the_new_one_cannot_be_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out", "old")
    rename = Path.rename

    def refuse_new(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_new)
    with pytest.raises(AscendError, match="Input/output error"):
        write(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a_0.bin").read_text() == "old"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param([RECORD, "thesis.doc"], "found thesis.doc", id="with a stranger"),
        pytest.param(["a_0.bin"], "infer.json is not in it", id="without the record"),
    ],
)
def test_a_folder_of_another_kind_is_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in names:
        (out / name).touch()
    with pytest.raises(AscendError, match=message):
        write(out, "new")
    assert sorted(path.name for path in out.iterdir()) == sorted(names)


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(AscendError, match="is a file"):
        write(tmp_path / "out", "new")


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AscendError, match=r"cannot use .*File exists"):
        write(tmp_path / "file" / "out", "new")
