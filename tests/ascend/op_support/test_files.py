from __future__ import annotations

import contextlib
import copy
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.errors import AscendError
from ascend.op_support.data import version_key
from ascend.op_support.files import DATA, parse_release, read_release, releases
from ascend.op_support.query import Operator, Tensor
from ascend.op_support.table import OpSupport

if TYPE_CHECKING:
    from pathlib import Path

SAFE = (
    "Transpose Reshape Concat Slice Split Squeeze Unsqueeze Add Sub Mul Div Floor Clip Max Min Abs "
    "Less Greater Where MatMul Gemm Conv ReduceSum ReduceMean Softmax Sigmoid Tanh Relu HardSwish "
    "HardSigmoid Pad"
)
VERSIONS = (
    "3.1 5.0.4.6 5.1.RC1 6.0.RC1 6.0.1 7.0.RC1 7.0.0 8.0.RC2.alpha001 8.0.RC2.beta1 8.0.RC2 "
    "8.0.RC3 8.0.0 8.1.RC1 8.10.RC1 9.0.0"
)
NEW: dict[str, Any] = {
    "schema": 1,
    "cann": "9.9.RC1",
    "sources": {"list": {"text": "a list", "certainty": "documented"}},
    "opsets": {"source": "list", "range": "11-21"},
    "listed": {"source": "list", "operators": ["Add", "Floor"]},
    "registered": {"source": "list", "opsets": {"20-21": ["GridSample"]}},
    "observed": [{"source": "list", "operator": "Sin", "opsets": "13", "fact": "seen"}],
    "engines": [
        {
            "source": "list",
            "socs": ["Ascend999"],
            "operators": {
                "Floor": {
                    "mapping": "same name",
                    "ai_core": {"Floor": {"inputs": {"x": "float32"}, "outputs": {}}},
                    "ai_cpu": ["Floor"],
                    "rules": ["slice-steps"],
                    "note": "",
                },
                "Add": {"mapping": "same name", "ai_core": {"Add": "chosen at compile time"}},
            },
        }
    ],
}


def test_the_shipped_files_are_read_and_say_their_version() -> None:
    found = releases()
    names = [release.cann for release in found]
    assert names == ["5.0.4.6", "6.0.RC1", "6.0.1", "7.0.0", "8.0.0", "8.1.RC1"]
    assert all(read_release(DATA / f"cann-{name}.json").cann == name for name in names)


def test_the_safe_set_of_opset_11_is_listed_everywhere_and_on_the_ai_core() -> None:
    for name in SAFE.split():
        first = Tensor("bool" if name == "Where" else "float32", (4, 4))
        inputs = (first, *[Tensor("float32", (4, 4))] * 2)
        if name in {"Reshape", "Slice", "Split", "Squeeze", "Unsqueeze", "ReduceSum", "ReduceMean"}:
            inputs = inputs[:1]
        if name == "Pad":
            inputs = (first, Tensor("int64", (4,)))
        operator = Operator(name, 11, inputs=inputs)
        assert OpSupport("5.0.4.6", "Ascend310P3").verdict(operator).answer == "parsed", name
        assert OpSupport("8.1.RC1", "Ascend310P3").verdict(operator).answer == "AI Core", name


def test_a_new_version_is_one_new_file(tmp_path: Path) -> None:
    for path in DATA.glob("*.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "cann-9.9.RC1.json").write_text(json.dumps(NEW))
    support = OpSupport("9.9.RC1", "Ascend999", tmp_path)

    def answers(name: str, opset: int, dtype: str = "float32") -> tuple[str, str]:
        operator = Operator(name, opset, inputs=(Tensor(dtype, (2,)),))
        verdict = support.verdict(operator)
        return verdict.answer, verdict.certainty

    assert answers("Floor", 21) == ("AI Core", "documented")
    assert answers("Floor", 21, "float64") == ("AI CPU", "documented")
    assert answers("Floor", 22) == ("refused", "documented")
    assert answers("Add", 21) == ("AI Core", "documented")
    assert answers("GridSample", 20) == ("parsed", "documented")
    assert answers("GridSample", 16) == ("refused", "documented")
    assert answers("Sin", 13) == ("parsed", "documented")
    assert answers("Conv", 16)[0] == "parsed"  # registered in 8.1
    assert answers("Gelu", 20) == ("refused", "documented")
    # Versions before it see it as the newer neighbour.
    older = OpSupport("8.5.0", "Ascend310P3", tmp_path)
    assert older.verdict(Operator("Gelu", 16)).answer == "refused"
    assert older.verdict(Operator("GridSample", 16)).certainty == "unverified"


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the new file with one place changed; the path is dotted, numbers are indices."""
    document = copy.deepcopy(NEW)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = document
    for part in parents:
        place = place[part]
    place[last] = value
    return document


FLOOR = "engines/0/operators/Floor"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 2, "schema is 2, this version reads 1"),
        ("cann", "new", "CANN version 'new' is not one"),
        ("cann", 8, "cann is 8, expected a text"),
        ("extra", 1, "unknown key 'extra'; known are cann, engines"),
        ("sources", [], "sources is a list, expected an object"),
        ("sources/list/certainty", "sure", "certainty is 'sure', expected one of documented"),
        ("sources/list/text", None, "sources.list.text is nothing, expected a text"),
        ("listed/source", "none", "listed.source is 'none', expected one of list"),
        ("listed/source", [], "listed.source is [], expected one of list"),
        ("listed/operators", "Add", "listed.operators is a text, expected a list"),
        ("listed/operators", [1], "an entry of listed.operators is 1, expected a text"),
        ("opsets/range", "11-", "opsets.range is '11-', expected opsets like '11,16-18'"),
        ("opsets/range", None, "opsets.range is None, expected opsets like"),
        ("opsets/range", "1-99999999", "opsets.range holds '1-99999999', which is no opset"),
        ("registered/opsets", {"x": []}, "registered.opsets['x'] is 'x'"),
        ("observed", {}, "observed is an object, expected a list"),
        ("observed/0/opsets", "", "observed.Sin.opsets is ''"),
        ("engines/0/socs", "all", "engines.socs is a text, expected a list"),
        (f"{FLOOR}/rules", ["magic"], "engines.Floor.rules names 'magic'; known are clip-bounds"),
        (f"{FLOOR}/ai_core/Floor", "any", "engines.Floor.Floor is a text, expected an object"),
        (f"{FLOOR}/ai_core/Floor/inputs", {}, "engines.Floor.Floor.inputs is empty; write"),
        (f"{FLOOR}/mapping", 1, "engines.Floor.mapping is 1, expected a text"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_the_place(
    tmp_path: Path, path: str, value: object, message: str
) -> None:
    (tmp_path / "cann-9.9.RC1.json").write_text(json.dumps(changed(path, value)))
    with pytest.raises(AscendError) as refused:
        releases(tmp_path)
    text = str(refused.value)
    assert message in text
    assert text.startswith(f"data file {tmp_path / 'cann-9.9.RC1.json'}: ")
    assert "\n" not in text


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00", "null", '"x"'])
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(AscendError, match=r"data file .*x\.json: "):
        releases(tmp_path)


def test_two_files_of_one_version_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AscendError, match=re.escape("no data file")):
        releases(tmp_path / "nowhere")
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(NEW))
    with pytest.raises(AscendError, match=r"two data files say they are of CANN 9\.9\.RC1"):
        releases(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(part=st.sampled_from(sorted(NEW)), value=JSON)
def test_no_content_raises_anything_but_a_reason(part: str, value: object) -> None:
    with contextlib.suppress(ValueError, AscendError):
        assert parse_release({**NEW, part: value}).cann


def test_versions_are_ordered() -> None:
    ordered = VERSIONS.split()
    by_letters = sorted(ordered)
    assert sorted(by_letters, key=version_key) == ordered
    assert version_key("8.1.rc1") == version_key("8.1.RC1")
