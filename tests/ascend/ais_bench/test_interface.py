"""What the probe printed, and what it makes of objects that lack what it asks for."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.ais_bench import probe
from ascend.ais_bench.interface import Interface, Tensor, parse_interface
from ascend.ais_bench.probe import MARK, describe


def printed(**document: object) -> str:
    return f"[INFO] load\n{MARK}{json.dumps(document)}\n[INFO] end\n"


def one(shape: object, size: object) -> list[dict[str, object]]:
    return [{"name": "x", "shape": shape, "bytes": size}]


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        pytest.param([2, 3], 24, 24, id="float32"),
        pytest.param([2, 3], 6, 6, id="int8"),
        pytest.param([2, 3], 48, 48, id="int64"),
        pytest.param([2, 3], 64, None, id="rounded up"),
        pytest.param([2, 3], 0, None, id="not told"),
        pytest.param([-1, 3], 24, None, id="a dynamic dimension"),
    ],
)
def test_a_size_is_believed_if_it_fits_the_shape(
    shape: list[int], size: int, expected: int | None
) -> None:
    found = parse_interface(printed(inputs=one(shape, size), outputs=None))
    assert found == Interface((Tensor("x", tuple(shape), expected),))
    assert found.input_bytes == (None if expected is None else [expected])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(MARK, id="the mark alone"),
        pytest.param(MARK + "[]", id="a list"),
        pytest.param(printed(inputs=[None]), id="an input that is null"),
        pytest.param(printed(inputs=one(["N"], 4)), id="a shape of names"),
        pytest.param(printed(inputs=one([True], 4)), id="a shape of booleans"),
    ],
)
def test_what_is_not_told_is_unknown(text: str) -> None:
    assert parse_interface(text) == Interface()
    assert parse_interface(text).input_bytes is None


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    parse_interface(MARK + text)


class TestTheProbe:
    def test_describes_what_a_session_tells(self) -> None:
        told = SimpleNamespace(name="x", shape=[2, 3], size=32, realsize=24)
        session = SimpleNamespace(get_inputs=lambda: [told])
        assert describe(session, "get_inputs") == [{"name": "x", "shape": [2, 3], "bytes": 24}]

    def test_takes_the_size_where_there_is_no_real_one(self) -> None:
        session = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(size=32)])
        assert describe(session, "get_inputs") == [{"name": "", "shape": [], "bytes": 32}]

    def test_knows_nothing_of_a_session_that_cannot_tell(self) -> None:
        assert describe(object(), "get_inputs") is None

    def test_is_python_3_7_which_came_with_cann_6(self) -> None:
        source = Path(probe.__file__).read_text()
        ast.parse(source, feature_version=(3, 7))
