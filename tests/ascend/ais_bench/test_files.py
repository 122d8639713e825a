"""Inputs and results by name, order and size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.ais_bench.files import (
    Inputs,
    check_results,
    list_inputs,
    natural_key,
    result_sizes,
    stem,
)
from ascend.ais_bench.interface import Interface, Tensor
from ascend.errors import AscendError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def folder(at: Path, files: Mapping[str, int]) -> Path:
    """Write files of these sizes."""
    at.mkdir()
    for name, size in files.items():
        (at / name).write_bytes(bytes(size))
    return at


def images(at: Path, count: int, size: int = 16) -> Inputs:
    return list_inputs([folder(at, {f"img_{n}.bin": size for n in range(count)})])


class TestListInputs:
    def test_the_order_is_natural(self, tmp_path: Path) -> None:
        assert images(tmp_path / "in", 12).stems == [f"img_{n}" for n in range(12)]

    def test_what_is_no_input_is_passed_over(self, tmp_path: Path) -> None:
        found = list_inputs([folder(tmp_path / "in", {"a.bin": 4, "manifest.json": 9})])
        assert (found.stems, found.sizes) == (["a"], (4,))

    def test_two_inputs_are_paired_by_name(self, tmp_path: Path) -> None:
        one = folder(tmp_path / "x", {"a.bin": 4, "b.bin": 4})
        two = folder(tmp_path / "y", {"b.bin": 8, "a.bin": 8})
        found = list_inputs([one, two])
        assert found.sizes == (4, 8)
        assert [path.name for path in found.files[1]] == ["a.bin", "b.bin"]

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            pytest.param({}, "holds no .bin file", id="an empty folder"),
            pytest.param({"a.bin": 4, "b.bin": 8}, "of one size", id="two sizes"),
            pytest.param({"a.bin": 0}, "above 0", id="empty files"),
            pytest.param({"a.1.bin": 4, "a.2.bin": 4}, "named 'a'", id="one name before the dot"),
            pytest.param({"a.bin": 4, "b.npy": 4}, "b.npy; ais_bench would", id="an array file"),
        ],
    )
    def test_a_folder_is_refused(
        self, tmp_path: Path, files: Mapping[str, int], message: str
    ) -> None:
        with pytest.raises(AscendError, match=message):
            list_inputs([folder(tmp_path / "in", files)])

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(AscendError, match="No such file"):
            list_inputs([tmp_path / "in"])

    def test_folders_with_other_names_are_refused(self, tmp_path: Path) -> None:
        one = folder(tmp_path / "x", {"a.bin": 4})
        two = folder(tmp_path / "y", {"b.bin": 4})
        with pytest.raises(AscendError, match="same names"):
            list_inputs([one, two])

    @pytest.mark.parametrize(
        ("expected", "message"),
        [
            pytest.param({"a.bin", "b.bin", "c.bin"}, "lacks c.bin", id="one is not there"),
            pytest.param({"a.bin"}, "also holds b.bin", id="one too many"),
        ],
    )
    def test_the_manifest_must_agree(
        self, tmp_path: Path, expected: set[str], message: str
    ) -> None:
        with pytest.raises(AscendError, match=message):
            list_inputs([folder(tmp_path / "in", {"a.bin": 4, "b.bin": 4})], expected)


class TestItemsPerRun:
    def test_it_is_how_often_a_file_fits(self, tmp_path: Path) -> None:
        assert images(tmp_path / "in", 3).items_per_run([128], None, "m") == 8
        assert images(tmp_path / "one", 3).items_per_run([16], 1, "m") == 1

    @pytest.mark.parametrize(
        ("needed", "batch", "message"),
        [
            pytest.param([40], None, "takes 40: expected a divisor", id="no divisor"),
            pytest.param([8], None, "takes 8: expected a divisor", id="files too large"),
            pytest.param([128], 4, "takes 8 files a run, not 4", id="another batch"),
            pytest.param([16, 16], None, "has 2 inputs, 1 were given", id="another input"),
        ],
    )
    def test_sizes_that_do_not_go_together_are_refused(
        self, tmp_path: Path, needed: list[int], batch: int | None, message: str
    ) -> None:
        with pytest.raises(AscendError, match=message):
            images(tmp_path / "in", 3).items_per_run(needed, batch, "m.om")

    def test_each_input_must_be_filled_by_as_many(self, tmp_path: Path) -> None:
        one = folder(tmp_path / "x", {"a.bin": 4})
        two = folder(tmp_path / "y", {"a.bin": 4})
        with pytest.raises(AscendError, match="same for each"):
            list_inputs([one, two]).items_per_run([8, 16], None, "m.om")


class TestCheckResults:
    def test_all_that_must_be_there_is_returned(self, tmp_path: Path) -> None:
        found = folder(tmp_path / "out", {"a_0.bin": 4, "a_1.bin": 8, "stray.bin": 1})
        assert check_results(found, ["a"], None) == {"a_0.bin": 4, "a_1.bin": 8}

    def test_more_than_three_names_are_counted(self, tmp_path: Path) -> None:
        found = folder(tmp_path / "out", {"img_0_0.bin": 4})
        stems = [f"img_{n}" for n in range(6)]
        with pytest.raises(
            ToolFailedError,
            match=r"5 of 6 .*: img_1_0.bin, img_2_0.bin, img_3_0.bin and 2 more; .* \(output\)",
        ):
            check_results(found, stems, None, " (output)")

    @pytest.mark.parametrize(
        ("sizes", "message"),
        [
            pytest.param(None, "1 of 3 results .* than 4 bytes: b_0.bin; b_0.bin has 3", id="odd"),
            pytest.param((3,), "2 of 3 results .* than 3 bytes: a_0.bin, c_0.bin", id="known"),
            pytest.param((4, 4), "3 of 6 results are missing: a_1.bin", id="a lost output"),
        ],
    )
    def test_a_result_of_another_size_is_named(
        self, tmp_path: Path, sizes: tuple[int, ...] | None, message: str
    ) -> None:
        found = folder(tmp_path / "out", {"a_0.bin": 4, "b_0.bin": 3, "c_0.bin": 4})
        with pytest.raises(ToolFailedError, match=message):
            check_results(found, ["a", "b", "c"], sizes)

    def test_no_folder_is_no_result(self, tmp_path: Path) -> None:
        with pytest.raises(ToolFailedError, match=r"1 of 1 results are missing: a_0\.bin"):
            check_results(tmp_path / "out", ["a"], None)


def test_the_size_of_a_result_is_a_share_of_the_output() -> None:
    outputs = (Tensor("y", (8, 4), 128), Tensor("z", (8,), 32))
    assert result_sizes(Interface((), outputs), 8) == (16, 4)
    assert result_sizes(Interface((), (*outputs, Tensor("w", (-1,), None))), 8) is None
    assert result_sizes(Interface(), 8) is None


@pytest.mark.parametrize(
    ("name", "expected"), [("img_7.bin", "img_7"), ("a.b.bin", "a"), ("none", "none")]
)
def test_a_result_is_named_after_what_comes_before_the_first_dot(name: str, expected: str) -> None:
    assert stem(name) == expected


@given(st.lists(st.text()))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural_key)) == sorted(names)
