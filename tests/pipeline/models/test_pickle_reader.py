from __future__ import annotations

import collections
import os
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pipeline.models.pickle_reader import MAX_STEPS, RefusedPickleError, read_pickle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

ARRAYS: dict[str, npt.NDArray[Any]] = {
    "row-major": np.arange(6, dtype=np.float32).reshape(2, 3),
    "column-major": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
    "big-endian": np.array([1.5, -2], ">f4"),
    "half": np.array([1.5, -2], np.float16),
    "scalar": np.array(7, np.float32),
}


class Call:
    """Pickles into a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


def _nested_key(depth: int) -> bytes:
    """Return a pickle whose dict key is a tuple of two tuples of two tuples..."""
    doubling = b"".join(b"h%c" % i + b"h%c" % i + b"\x86q%c" % (i + 1) for i in range(depth))
    return b"\x80\x02}q\xff)q\x00" + doubling + b"K\x01s."


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("form", [dict, collections.OrderedDict])
def test_reads_a_dict_of_arrays(form: type[dict[str, Any]], protocol: int) -> None:
    found: Any = read_pickle(pickle.dumps(form({**ARRAYS, "note": {"a": "b"}}), protocol))
    assert isinstance(found, dict)
    assert found.pop("note") == {"a": "b"}
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_reads_one_array_under_two_names() -> None:
    array = np.ones(3, np.float32)
    found = read_pickle(pickle.dumps({"a": array, "b": array}))
    assert isinstance(found, dict)
    np.testing.assert_array_equal(found["a"], found["b"])


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(lambda mark: Call(os.system, f"touch {mark}"), "posix.system", id="a command"),
        pytest.param(
            lambda mark: Call(eval, f"open({str(mark)!r}, 'w')"),
            ".eval",
            id="an expression",
        ),
        pytest.param(
            lambda mark: {"a": 1.0, "b": Call(collections.OrderedDict, Call(os.mkdir, str(mark)))},
            ".mkdir",
            id="a command inside a call inside a dict",
        ),
        pytest.param(lambda mark: Call(getattr, Call(str), str(mark)), ".getattr", id="getattr"),
    ],
)
def test_refuses_code_and_runs_none_of_it(
    make: Callable[[Path], object], name: str, protocol: int, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    data = pickle.dumps(make(mark), protocol)
    with pytest.raises(RefusedPickleError) as refusal:
        read_pickle(data)
    assert not mark.exists()
    assert "\n" not in str(refusal.value)
    if protocol >= 2:  # the older ones fail on the first instruction that they alone use
        assert f"{name}'" in str(refusal.value)


def test_the_commands_of_these_tests_would_run_in_the_usual_reader(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(Call(os.mkdir, str(mark))))
    assert mark.exists()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "no pickle", id="an empty file"),
        pytest.param(b"PK\x03\x04 not a pickle at all", "no pickle", id="another format"),
        pytest.param(b"\x80\x04.", "no pickle", id="a pickle of nothing"),
        pytest.param(b"\x80\x04t.", "no pickle", id="a tuple without its beginning"),
        pytest.param(b"\x80\x04h\x07.", "no pickle", id="a value never stored"),
        pytest.param(pickle.dumps({1: 2}), "key of type int", id="a key that is no text"),
        pytest.param(pickle.dumps([1]), "EMPTY_LIST", id="an instruction of no use here"),
        pytest.param(
            pickle.dumps(np.array([1], np.int64)), "dtype other than float", id="an integer array"
        ),
        pytest.param(
            pickle.dumps(np.array([None, {}], object)), "dtype other than", id="an array of objects"
        ),
        pytest.param(
            b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
            "bytes other than",
            id="another encoding",
        ),
        pytest.param(
            pickle.dumps(np.zeros(3, np.float32), 2).replace(
                b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x009"
            ),
            "unknown byte order",
            id="a byte order that multiplies",
        ),
        pytest.param(
            b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.", "ndarray", id="a call of ndarray"
        ),
    ],
)
def test_refuses_what_is_no_dict_of_arrays(data: bytes, reason: str) -> None:
    with pytest.raises(RefusedPickleError, match=reason) as refusal:
        read_pickle(data)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("protocol", [2, 4])
def test_refuses_every_truncation(protocol: int) -> None:
    data = pickle.dumps({"a": ARRAYS["row-major"], "b": ARRAYS["half"]}, protocol)
    for end in range(len(data)):
        with pytest.raises(RefusedPickleError):
            read_pickle(data[:end])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            b"\x80\x04\x8e" + struct.pack("<Q", 1 << 50) + b"a.", id="a petabyte of bytes"
        ),
        pytest.param(b"\x80\x02Nr\xff\xff\xff\x7f0.", id="a memo of sixteen gigabytes"),
        pytest.param(b"\x80\x02" + b"N" * (MAX_STEPS + 1) + b".", id="a million instructions"),
        pytest.param(_nested_key(60), id="a key that takes a century to hash"),
        pytest.param(
            b"\x80\x02c_codecs\nencode\nq\x00X\xe8\x03\x00\x00"
            + b"a" * 1000
            + b"X\x06\x00\x00\x00latin1\x86q\x01Rq\x02"
            + b"h\x00h\x01R" * 100
            + b".",
            id="bytes unfolded a hundred times",
        ),
        pytest.param(
            pickle.dumps(np.zeros(3, np.float32), 2).replace(
                b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"
            ),
            id="an array larger than its bytes",
        ),
    ],
)
def test_refuses_a_bomb_at_once(data: bytes) -> None:
    with pytest.raises(RefusedPickleError):
        read_pickle(data)
