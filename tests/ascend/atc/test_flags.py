"""The flags of ATC: what is written, and what is refused before ATC is asked."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.atc.flags import Flags
from ascend.atc.known import FLAGS, parse_raw
from ascend.atc.shapes import InputShape, largest, parse_gears, spell
from ascend.errors import AscendError

BASE = Flags(Path("/models/m.onnx"), "m_bs8", "Ascend310P3", (("x", (8, 3, 32, 100)),))


def test_arguments_say_all_that_was_asked() -> None:
    flags = dataclasses.replace(
        BASE,
        precision_mode="allow_mix_precision",
        modify_mixlist=Path("/models/mix.json"),
        keep_dtype=Path("keep_dtype.txt"),
        out_nodes=("conv:0", "y"),
        extra=(("log", "info"),),
    )
    assert flags.arguments() == [
        "--model=/models/m.onnx",
        "--framework=5",
        "--output=m_bs8",
        "--soc_version=Ascend310P3",
        "--input_format=NCHW",
        "--input_shape=x:8,3,32,100",
        "--precision_mode=allow_mix_precision",
        "--keep_dtype=keep_dtype.txt",
        "--modify_mixlist=/models/mix.json",
        "--out_nodes=conv:0;y",
        "--log=info",
    ]


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        pytest.param((("x", (8, 3)), ("s", ())), "x:8,3;s:", id="a scalar has no sizes"),
        pytest.param((("x", (-1, (1, 10))),), "x:-1,1~10", id="dynamic sizes and ranges"),
    ],
)
def test_sizes_are_spelled_as_atc_reads_them(shapes: InputShape, text: str) -> None:
    assert spell(shapes) == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"output": ""}, "E10022", id="no file name"),
        pytest.param({"output": "out/"}, "E10022", id="a folder as file name"),
        pytest.param({"output": "a b"}, "holds ' '; ATC takes letters", id="a space in the name"),
        pytest.param({"model": Path("/mödel.onnx")}, "--model=/mödel.onnx holds 'ö'", id="umlaut"),
        pytest.param({"soc_version": ""}, "E10054", id="no chip"),
        pytest.param({"input_format": "NHWC"}, "one of NCHW, ND, NCDHW", id="a format"),
        pytest.param({"precision_mode": "force_fp61"}, "did you mean 'force_fp16'", id="a typo"),
        pytest.param({"precision_mode_v2": "fp61"}, "did you mean 'fp16'", id="a typo in v2"),
        pytest.param(
            {"precision_mode": "force_fp32", "precision_mode_v2": "fp16"},
            "exclude each other",
            id="two precision modes",
        ),
        pytest.param(
            {"precision_mode_v2": "fp16", "extra": (("precision_mode", "force_fp16"),)},
            "exclude each other",
            id="two precision modes, one of them raw",
        ),
        pytest.param(
            {"precision_mode_v2": "fp16", "cann": "5.0.4.6"},
            "CANN 5.0.4.6 has no --precision_mode_v2",
            id="v2 in CANN 5",
        ),
        pytest.param(
            {"precision_mode": "must_keep_origin_dtype", "keep_dtype": Path("keep.txt")},
            "ATC ignores --keep_dtype",
            id="a list that would be ignored",
        ),
        pytest.param({"modify_mixlist": Path("m.json")}, "mixed precision only", id="mixlist"),
        pytest.param({"input_shape": (("a:b", (1,)),)}, "'a:b' cannot stand", id="a colon"),
        pytest.param({"input_shape": (("x", (0,)),)}, "has size 0, expected 1", id="size 0"),
        pytest.param({"input_shape": (("x", ((4, 2),)),)}, "has size 4~2", id="a reversed range"),
        pytest.param({"extra": (("modle", "x"),)}, "no flag --modle; did you", id="unknown flag"),
        pytest.param({"extra": (("log", ""),)}, "E10054", id="an empty flag"),
        pytest.param({"extra": (("log", "verbose"),)}, "debug, info", id="an unknown choice"),
        pytest.param({"extra": (("auto_tune_mode", "RL"),)}, "has removed it", id="removed"),
        pytest.param({"extra": (("framework", "5"),)}, "the command sets it", id="not theirs"),
        pytest.param({"extra": (("dynamic_dims", "1;2"),)}, "use --gears", id="raw gears"),
        pytest.param({"extra": (("external_weight", "1"),)}, "would stay behind", id="weights"),
        pytest.param({"extra": (("input_format", "ND"),)}, "is set twice", id="twice"),
    ],
)
def test_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AscendError) as caught:
        dataclasses.replace(BASE, **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"precision_mode_v2": "fp16", "cann": "8.1.RC1"}, id="v2 in CANN 8"),
        pytest.param({"extra": (("precision_mode", "of_2027"),)}, id="an unknown mode, raw"),
        pytest.param({"input_shape": (("x", ((1, -1), 3)),)}, id="an open range"),
        pytest.param(
            {"precision_mode_v2": "mixed_float16", "modify_mixlist": Path("m")}, id="mixlist"
        ),
    ],
)
def test_takes(changes: dict[str, Any]) -> None:
    assert dataclasses.replace(BASE, **changes).arguments()


# --- gears ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("batch=1,4,8", "--dynamic_batch_size=1,4,8"),
        ("image=32,100;64,200", "--dynamic_image_size=32,100;64,200"),
        ("dims=1,32;8,64", "--dynamic_dims=1,32;8,64"),
    ],
)
def test_gears_are_spelled_as_atc_reads_them(text: str, flag: str) -> None:
    shapes = {
        "batch": (("x", (-1, 3, 32, 100)),),
        "image": (("x", (1, 3, -1, -1)),),
        "dims": (("x", (-1, 3, -1, 100)),),
    }
    gears = parse_gears(text)
    flags = dataclasses.replace(
        BASE,
        gears=gears,
        input_shape=shapes[gears.kind],
        input_format="ND" if gears.kind == "dims" else "NCHW",
    )
    assert flag in flags.arguments()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("batch=1", "E10035", id="one gear"),
        pytest.param(f"batch={','.join(map(str, range(1, 102)))}", "E10036", id="101 gears"),
        pytest.param("batch=1,0", "gear [0] does not fit", id="size 0"),
        pytest.param("batch=4,4", "named twice", id="twice"),
        pytest.param("image=32;64", "expected --gears 'image=32,100;64,200'", id="no width"),
        pytest.param("dims=1,2;3", "gear [3] does not fit", id="uneven"),
        pytest.param("batch=1,,4", "lack a number", id="a gap"),
        pytest.param("bach=1,4", "are none of batch=1,4,8", id="another kind"),
        pytest.param("dims=1;-2", "are none of", id="a negative size"),
    ],
)
def test_refuses_gears(text: str, message: str) -> None:
    with pytest.raises(AscendError) as caught:
        parse_gears(text)
    assert message in str(caught.value)


def test_two_gears_and_a_hundred_are_enough_and_not_too_many() -> None:
    assert len(parse_gears("batch=1,2").sizes) == 2
    assert len(parse_gears(f"batch={','.join(map(str, range(1, 101)))}").sizes) == 100
    assert largest(parse_gears("image=64,200;32,100")) == (64, 200)


@pytest.mark.parametrize(
    ("gears", "shape", "changes", "message"),
    [
        pytest.param("batch=1,4", (8, 3), {}, "all sizes are fixed", id="nothing is open"),
        pytest.param("batch=1,4", (-1, -1), {}, "has -1 at 1, only 0 may be", id="another axis"),
        pytest.param("batch=1,4", (-1, (1, 9)), {}, "E10009", id="a range"),
        pytest.param(
            "batch=1,4",
            (-1, 3),
            {"extra": (("input_shape_range", "x:[1~4,3]"),)},
            "--dynamic_batch_size and --input_shape_range exclude each other (ATC: E10009)",
            id="input_shape_range",
        ),
        pytest.param("image=1,2;3,4", (-1, 3, -1, -1), {}, "only 2 and 3 may", id="batch too"),
        pytest.param("image=1,2;3,4", (1, 1, 3, -1, -1), {}, "-1 at 4", id="rank 5"),
        pytest.param("image=1,2;3,4", (1, 3, -1), {}, "has rank 3", id="rank 3"),
        pytest.param(
            "image=1,2;3,4", (1, 3, -1, -1), {"input_format": "ND"}, "=NCHW, got ND", id="ND"
        ),
        pytest.param("dims=1;3", (-1, 3), {}, "need --input_format=ND, got NCHW", id="NCHW"),
        pytest.param(
            "dims=1;3", (-1, -1), {"input_format": "ND"}, "1 numbers, 2 sizes are -1", id="count"
        ),
    ],
)
def test_refuses_gears_that_do_not_go_with_the_sizes(
    gears: str, shape: tuple[Any, ...], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(AscendError) as caught:
        dataclasses.replace(BASE, gears=parse_gears(gears), input_shape=(("x", shape),), **changes)
    assert message in str(caught.value)


# --- flags that the user types for ATC -----------------------------------------------------------


def test_raw_flags_are_read_both_ways_and_paths_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keep.txt").write_text("a\n")
    monkeypatch.chdir(tmp_path)
    words = ["--log=info", "--keep_dtype", "keep.txt", "--check_report", "r.json"]
    assert parse_raw(words) == (
        ("log", "info"),
        ("keep_dtype", str(tmp_path / "keep.txt")),
        ("check_report", str(tmp_path / "r.json")),
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["log=info"], "'log=info' is no flag", id="no dashes"),
        pytest.param(["--"], "'--' is no flag", id="dashes alone"),
        pytest.param(["--log"], "--log has no value", id="no value"),
        pytest.param(["--log", "--log=info"], "--log has no value", id="a flag for a value"),
        pytest.param(["--log=info", "--log=debug"], "is given twice", id="twice"),
        pytest.param(["--lgo=info"], "no flag --lgo; did you mean 'log'?", id="a typo"),
        pytest.param(["--keep_dtype=none.txt"], "there is no file none.txt", id="no file"),
        pytest.param(["--display_model_info=yes"], "0, 1, true, false", id="a switch"),
    ],
)
def test_refuses_raw_flags(words: list[str], message: str) -> None:
    with pytest.raises(AscendError) as caught:
        parse_raw(words)
    assert message in str(caught.value)


@given(st.lists(st.text() | st.sampled_from([f"--{name}" for name in FLAGS])))
def test_any_raw_words_are_read_or_refused(words: list[str]) -> None:
    with contextlib.suppress(AscendError):
        parse_raw(words)
