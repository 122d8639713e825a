from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING

import lmdb
import pytest

from eval import lmdb_data
from eval.errors import EvalError, MissingExtraError
from eval.lmdb_data import LmdbTree, RawSample, leaf_folders
from eval.samples import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from tests.eval.conftest import WriteSet

ONE = [(b"picture", b"text")]


def test_records_are_numbered_over_all_sets_in_sorted_order(
    tmp_path: Path, write_set: WriteSet
) -> None:
    for name in ("g", "b", "nest/z", "nest/a", "f", "a", "e", "d", "c"):
        write_set(tmp_path / name, [(name.encode(), b"1"), (name.encode(), b"2")])
    with LmdbTree(tmp_path) as tree:
        samples = list(tree)
        assert len(tree) == 18
        assert list(tree.counts) == ["a", "b", "c", "d", "e", "f", "g", "nest/a", "nest/z"]
    assert [sample.index for sample in samples] == list(range(18))
    assert samples[15] == RawSample(15, "nest/a", 2, b"nest/a", b"2")


def test_the_data_folder_may_itself_be_a_set(tmp_path: Path, write_set: WriteSet) -> None:
    with LmdbTree(write_set(tmp_path / "CUTE80", ONE)) as tree:
        assert list(tree) == [RawSample(0, "CUTE80", 1, b"picture", b"text")]


def test_a_missing_key_is_none_and_keeps_its_index(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "a", [(None, b"text"), (b"picture", None), *ONE])
    with LmdbTree(tmp_path) as tree:
        stored = [(sample.index, sample.image, sample.label) for sample in tree]
    assert stored == [(0, None, b"text"), (1, b"picture", None), (2, b"picture", b"text")]


def test_an_empty_set_among_others_is_fine(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "a", [])
    write_set(tmp_path / "b", ONE)
    with LmdbTree(tmp_path) as tree:
        assert [(sample.index, sample.dataset) for sample in tree] == [(0, "b")]


def test_white_space_around_the_count_is_fine(tmp_path: Path, write_set: WriteSet) -> None:
    with LmdbTree(write_set(tmp_path / "a", ONE, count=b" 1\n")) as tree:
        assert len(tree) == 1


def test_refuses_zero_records(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "a", [])
    with pytest.raises(EvalError, match="holds no records"):
        LmdbTree(tmp_path)


def test_refuses_a_data_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="nowhere is not a folder"):
        LmdbTree(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["CUTE80", ".hidden", "nest/IC15"])
def test_refuses_a_leaf_folder_without_data(tmp_path: Path, write_set: WriteSet, name: str) -> None:
    write_set(tmp_path / "a", ONE)
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(EvalError, match=rf"{name} has neither sub-folders nor a file data\.mdb"):
        LmdbTree(tmp_path)


def test_refuses_a_set_that_holds_sub_folders(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "a", ONE)
    write_set(tmp_path / "a" / "b", ONE)
    with pytest.raises(EvalError, match=r"a holds data\.mdb and sub-folders"):
        LmdbTree(tmp_path)


def test_refuses_a_linked_folder(tmp_path: Path, write_set: WriteSet) -> None:
    elsewhere = write_set(tmp_path / "elsewhere", ONE)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(elsewhere)
    with pytest.raises(EvalError, match="linked is a link to a folder, which is not followed"):
        LmdbTree(tmp_path / "data")


def test_refuses_a_folder_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(EvalError, match=r"cannot list .*: Permission denied"):
        leaf_folders(tmp_path)


def test_refuses_a_set_without_a_count(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "SVT", ONE, count=None)
    with pytest.raises(EvalError, match="SVT has no key num-samples; expected"):
        LmdbTree(tmp_path)


@pytest.mark.parametrize("count", [b"", b"many", b"-1", b"1.0", b"1e3", "٣".encode(), b"\xff"])
def test_refuses_a_count_that_is_no_decimal_number(
    tmp_path: Path, write_set: WriteSet, count: bytes
) -> None:
    write_set(tmp_path / "SVT", ONE, count=count)
    with pytest.raises(EvalError, match=r"num-samples of .*SVT is b'.*'; expected a decimal"):
        LmdbTree(tmp_path)


def test_refuses_a_count_that_the_keys_cannot_bear(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "SVT", ONE, count=b"4000000")
    with pytest.raises(EvalError, match="SVT is 4000000, but the data set has only 3 keys"):
        LmdbTree(tmp_path)


@pytest.mark.parametrize("size", [8192, 20_000])
def test_refuses_a_file_that_was_cut(tmp_path: Path, write_set: WriteSet, size: int) -> None:
    data = write_set(tmp_path / "SVT", [(bytes(9000), b"text")] * 5) / "data.mdb"
    data.write_bytes(data.read_bytes()[:size])
    with pytest.raises(EvalError, match=rf"SVT/data\.mdb is cut short: {size} bytes"):
        LmdbTree(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="an empty file"),
        pytest.param(b"version https://git-lfs", id="a pointer to the file"),
        pytest.param(bytes(50_000), id="zeros"),
    ],
)
def test_refuses_a_file_that_is_not_lmdb(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(EvalError, match=r"data\.mdb is not a readable LMDB file: .+"):
        LmdbTree(tmp_path)


def test_a_value_that_is_too_large_is_a_bad_record_and_is_not_loaded(
    tmp_path: Path, write_set: WriteSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_data, "MAX_IMAGE_BYTES", 1000)
    write_set(tmp_path / "a", [(bytes(1001), b"text"), (bytes(1000), b"text"), (b"x", b"a" * 5000)])
    with LmdbTree(tmp_path) as tree:
        samples = list(tree)
    assert [sample.image and len(sample.image) for sample in samples] == [None, 1000, 1]
    assert [prepare(sample)[0].reason for sample in samples] == [
        "image over 1000 bytes",
        "undecodable image",
        "label over 4096 bytes",
    ]
    assert samples[2].label is None


def test_a_huge_value_takes_no_memory(tmp_path: Path) -> None:
    """300 MB in a record: neither read nor decoded."""
    (tmp_path / "a").mkdir()
    with (
        lmdb.open(str(tmp_path / "a"), map_size=1 << 29, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"num-samples", b"1")
        transaction.put(b"image-%09d" % 1, bytes(300 << 20))
        transaction.put(b"label-%09d" % 1, b"a")
    tracemalloc.start()
    with LmdbTree(tmp_path) as tree:
        (sample,) = tree
        assert sample.refusal == f"image over {64 << 20} bytes"
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_set_that_another_process_is_writing_is_read_as_it_was(
    tmp_path: Path, write_set: WriteSet
) -> None:
    """The writer holds LMDB's lock; readers ask for none, as on a read-only disk."""
    folder = write_set(tmp_path / "SVT", ONE)
    script = (
        "import lmdb, sys; environment = lmdb.open(sys.argv[1]); "
        "transaction = environment.begin(write=True); "
        "transaction.put(b'num-samples', b'2'); transaction.put(b'label-000000001', b'other'); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"locked\n"
        with LmdbTree(folder) as tree:
            assert list(tree) == [RawSample(0, "SVT", 1, b"picture", b"text")]
        writer.kill()


def test_a_lock_file_that_cannot_be_opened_is_not_needed(
    tmp_path: Path, write_set: WriteSet
) -> None:
    lock = write_set(tmp_path / "SVT", ONE) / "lock.mdb"
    lock.unlink()
    lock.symlink_to(tmp_path / "nowhere" / "lock.mdb")
    with LmdbTree(tmp_path / "SVT") as tree:
        assert len(list(tree)) == 1
    assert not lock.exists()


def test_names_of_all_scripts(tmp_path: Path, write_set: WriteSet) -> None:
    write_set(tmp_path / "Daten, 数据" / "IIIT5k ü", [(b"picture", "größe".encode())])
    with LmdbTree(tmp_path / "Daten, 数据") as tree:
        assert list(tree.counts) == ["IIIT5k ü"]
        assert [sample.label for sample in tree] == ["größe".encode()]


def test_refuses_a_damaged_page(tmp_path: Path, write_set: WriteSet) -> None:
    data = write_set(tmp_path / "SVT", [(bytes(9000), b"text")] * 5) / "data.mdb"
    content = bytearray(data.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    data.write_bytes(content)
    with pytest.raises(EvalError, match="SVT"), LmdbTree(tmp_path) as tree:
        list(tree)


def test_everything_is_closed_after_a_refusal_and_after_use(
    tmp_path: Path, write_set: WriteSet
) -> None:
    write_set(tmp_path / "a", ONE)
    write_set(tmp_path / "b", ONE, count=None)
    with pytest.raises(EvalError, match="num-samples"):
        LmdbTree(tmp_path)
    for _ in range(2):
        with LmdbTree(tmp_path / "a") as tree:  # LMDB refuses an environment that is still open
            assert len(tree) == 1


def test_without_the_extra_the_error_says_how_to_get_it(
    tmp_path: Path, write_set: WriteSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "a", ONE)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ascend-onnx-passes\[eval\]'"):
        LmdbTree(tmp_path)
    assert MissingExtraError.exit_code == 4
