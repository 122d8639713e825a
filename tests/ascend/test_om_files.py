"""Compiled models are found by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ascend.errors import AscendError
from ascend.om_files import batch_in_name, by_batch, choose

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("net_bs1", "net_bs16_linux_x86_64", "net_bs8", "net_bsx", "other_bs4", "net_b"):
        (tmp_path / f"{name}.om").touch()
    (tmp_path / "net_bs2.onnx").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("net_bs8.om", 8),
        ("net_bs64_linux_aarch64.om", 64),
        ("net_bs8_v2_bs4.om", 4),
        ("net_bs8.om.om", None),
        ("net.om", None),
        ("net_bs8.onnx", None),
        ("net_bs8.om.old", None),
    ],
)
def test_a_name_tells_its_batch(name: str, batch: int | None) -> None:
    assert batch_in_name(name) == batch


@pytest.mark.parametrize("name", ["net.om", "net_bs8.om", "net_bs99.om"])
def test_any_name_of_the_family_finds_it(models: Path, name: str) -> None:
    found = by_batch(models / name)
    assert {batch: path.name for batch, path in found.items()} == {
        1: "net_bs1.om",
        8: "net_bs8.om",
        16: "net_bs16_linux_x86_64.om",
    }


class TestChoose:
    def test_a_file_stands_for_itself(self, models: Path) -> None:
        assert choose(models / "net_bs8.om", []) == {8: models / "net_bs8.om"}
        assert choose(models / "net_b.om", []) == {None: models / "net_b.om"}

    def test_a_name_stands_for_all_its_batches_in_order(self, models: Path) -> None:
        assert list(choose(models / "net.om", [])) == [1, 8, 16]

    def test_batches_choose_among_them(self, models: Path) -> None:
        chosen = choose(models / "net_bs1.om", [16, 8])
        assert [path.name for path in chosen.values()] == ["net_bs16_linux_x86_64.om", "net_bs8.om"]

    @pytest.mark.parametrize(
        ("name", "batches", "message"),
        [
            pytest.param("net.om", [1, 4, 2], r"batch 4, 2 \(there: 1, 8, 16\)", id="a batch"),
            pytest.param("lost.om", [], r"batch any \(there: none\)", id="all of them"),
        ],
    )
    def test_what_is_not_there_is_named(
        self, models: Path, name: str, batches: list[int], message: str
    ) -> None:
        with pytest.raises(AscendError, match=message):
            choose(models / name, batches)
