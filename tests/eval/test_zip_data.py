"""A zip of data sets reads as its folder does; what an archive should not hold is not unpacked."""

from __future__ import annotations

import shutil
import stat
import zipfile
from typing import TYPE_CHECKING

import pytest

from eval import zip_data
from eval.data import open_data
from eval.errors import EvalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.eval.conftest import Draw, WriteSet


@pytest.fixture
def tree(tmp_path: Path, write_set: WriteSet, draw: Draw) -> Path:
    folder = tmp_path / "tree"
    write_set(folder / "SVT", [(draw("a1"), b"a1"), (draw("b"), b"b")])
    write_set(folder / "IC03_860", [(draw("c"), b"c")])
    return folder


def zipped(folder: Path, path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.mdb")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def archive_of(path: Path, *members: zipfile.ZipInfo | str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"x")
    return path


def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize("prefix", ["", "evaluation/", "data/evaluation/"])
def test_a_zip_reads_as_its_folder_under_the_same_names(
    tree: Path, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = temporary(tmp_path, monkeypatch)
    with open_data(tree) as expected, open_data(zipped(tree, tmp_path / "e.zip", prefix)) as found:
        assert found.counts == expected.counts == {"IC03_860": 1, "SVT": 2}
        assert list(found) == list(expected)
        assert len(found) == 3
        assert list(unpacked.iterdir())
    assert not list(unpacked.iterdir())


def test_a_data_set_at_the_root_is_named_after_the_archive(tree: Path, tmp_path: Path) -> None:
    with open_data(zipped(tree / "SVT", tmp_path / "SVTP.zip")) as found:
        assert found.counts == {"SVTP": 2}


def test_one_data_set_keeps_its_folder_name(tree: Path, tmp_path: Path) -> None:
    with open_data(zipped(tree / "SVT", tmp_path / "x.zip", "evaluation/SVT/")) as found:
        assert found.counts == {"SVT": 2}


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        pytest.param("../data.mdb", "leads out of its folder", id="a parent"),
        pytest.param("a/../../data.mdb", "leads out of its folder", id="a parent on the way"),
        pytest.param("/etc/data.mdb", "leads out of its folder", id="an absolute path"),
        pytest.param("C:/data.mdb", "leads out of its folder", id="a drive"),
        pytest.param(link("SVT/data.mdb"), "is a link", id="a link"),
        pytest.param("readme.txt", "holds no data.mdb", id="no data set"),
    ],
)
def test_what_an_archive_should_not_hold_is_refused(
    tmp_path: Path,
    member: zipfile.ZipInfo | str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpacked = temporary(tmp_path, monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    path = archive_of(tmp_path / "bad.zip", member)
    with pytest.raises(EvalError, match=reason):
        open_data(path)
    assert not list(unpacked.iterdir())
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_data, "SMALL", 1000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SVT/data.mdb", bytes(1 << 20))
    with pytest.raises(EvalError, match="unpacks to more than 100 times its size"):
        open_data(path)


@pytest.mark.parametrize(
    ("name", "limit"), [("MAX_BYTES", 1), ("MAX_MEMBERS", 1)], ids=["bytes", "members"]
)
def test_too_much_is_refused(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    monkeypatch.setattr(zip_data, name, limit)
    with pytest.raises(EvalError, match="2 data sets of"):
        open_data(zipped(tree, tmp_path / "e.zip"))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2] + content[-400:]


def flipped(content: bytes) -> bytes:
    return content[:60] + bytes([content[60] ^ 0xFF]) + content[61:]


@pytest.mark.parametrize("damage", [cut, flipped])
def test_a_damaged_archive_is_one_line(
    tree: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = zipped(tree, tmp_path / "e.zip")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(EvalError, match=r"not a readable zip|cannot unpack"):
        open_data(path)


def test_the_disk_is_asked_first(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tree, tmp_path / "e.zip")
    free = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(EvalError, match="bytes of temporary space, 1 are free"):
        open_data(path)
