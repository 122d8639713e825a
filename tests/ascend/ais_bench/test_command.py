"""The arguments: what is given, what is refused, and both spellings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ascend.ais_bench.command import Request, arguments
from ascend.errors import AscendError

REQUEST = Request(
    Path("/m/net_bs8.om"),
    Path("/out"),
    "results",
    (Path("/in/a"), Path("/in/b")),
    device=2,
    loop=3,
    warmup=0,
    gear=8,
)


def test_the_options_are_those_of_the_table() -> None:
    assert arguments(REQUEST) == [
        *("--model", "/m/net_bs8.om"),
        *("--input", "/in/a,/in/b"),
        *("--output", "/out"),
        *("--output_dirname", "results"),
        *("--outfmt", "BIN"),
        *("--loop", "3"),
        *("--warmup_count", "0"),
        *("--device", "2"),
        *("--dymBatch", "8"),
    ]


def test_msit_spells_with_dashes() -> None:
    dashed = arguments(REQUEST, dashed=True)
    assert dashed[:4] == ["-om", "/m/net_bs8.om", "-i", "/in/a,/in/b"]
    assert {"--output-dirname", "--warmup-count", "--dym-batch"} <= set(dashed)
    assert not any("_" in part for part in dashed if part.startswith("--"))


def test_without_inputs_and_gears_their_options_are_absent() -> None:
    plain = arguments(dataclasses.replace(REQUEST, inputs=(), gear=None))
    assert "--input" not in plain
    assert "--dymBatch" not in plain


def test_paths_are_absolute() -> None:
    relative = dataclasses.replace(REQUEST, model=Path("net.om"))
    assert arguments(relative)[1] == str(Path.cwd() / "net.om")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"device": 256}, "device 256: expected 0 to 255", id="device"),
        pytest.param({"device": -1}, "device -1", id="negative device"),
        pytest.param({"loop": 0}, "0 runs", id="no runs"),
        pytest.param({"warmup": -1}, "-1 for warming up", id="negative warm-up"),
        pytest.param({"gear": 0}, "batch 0", id="no batch"),
        pytest.param({"inputs": (Path("/a,b"),)}, "by commas", id="a comma"),
    ],
)
def test_a_value_that_ais_bench_does_not_take_is_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(AscendError, match=message):
        arguments(dataclasses.replace(REQUEST, **change))
