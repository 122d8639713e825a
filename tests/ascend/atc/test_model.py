"""What ATC is told, held against the model: sizes, names of nodes, lists and files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.atc.files import checked_file
from ascend.atc.keep import PRECISION_KEY, listed_nodes, marked_nodes
from ascend.atc.model import default_batch, input_format, input_shapes, refuse_out_nodes
from ascend.atc.shapes import parse_dims
from ascend.errors import AscendError

MODEL = """
<ir_version: 8, opset_import: ["": 16]>
g (float[N, 3, H, 100] x, float[N, 2] s, float c) => (float[N, 3, H, 100] y, float[N, 2] z)
{ a = Relu(x) y = Mul(a, c) z = Neg(s) }
"""


def model(text: str = MODEL) -> ir.Model:
    """Return a model whose nodes are named after their place."""
    made = ir.from_proto(onnx.parser.parse_model(text))
    for node, name in zip(made.graph, ("first", "second", "third"), strict=False):
        node.name = name
    return made


def plain(dims: str) -> ir.Model:
    text = f"g (float[{dims}] x) => (float[{dims}] y) {{ y = Relu(x) }}"
    return model(f'<ir_version: 8, opset_import: ["": 16]> {text}')


def test_sizes_come_from_the_batch_what_is_given_and_the_model() -> None:
    given = {"x": ("N", "3", "32", "100")}
    expected = (("x", (8, 3, 32, 100)), ("s", (8, 2)), ("c", ()))
    assert input_shapes(model(), 8, given) == expected
    assert input_format(expected, None) == "NCHW"


def test_with_gears_what_they_cover_is_open() -> None:
    fixed = {"x": ("N", "3", "32", "100")}
    assert input_shapes(model(), -1, fixed, "batch")[:2] == (
        ("x", (-1, 3, 32, 100)),
        ("s", (-1, 2)),
    )
    images = plain("N, 3, H, W")
    assert input_shapes(images, 2, {}, "image") == (("x", (2, 3, -1, -1)),)
    assert input_shapes(images, 2, {}, "dims") == (("x", (-1, 3, -1, -1)),)
    assert input_format((("x", (-1, 3, -1, -1)),), "dims") == "ND"


@pytest.mark.parametrize(
    ("dims", "expected"),
    [("1, 2, 3", "ND"), ("1, 2, 3, 4", "NCHW"), ("1, 2, 3, 4, 5", "NCDHW")],
)
def test_the_format_follows_the_rank(dims: str, expected: str) -> None:
    assert input_format(input_shapes(plain(dims), 1, {}), None) == expected


def test_a_symbol_that_is_the_batch_elsewhere_is_the_batch_here() -> None:
    text = MODEL.replace("float[N, 2] s", "float[2, N] s").replace("float[N, 2] z", "float[2, N] z")
    given = {"x": ("N", "3", "32", "100")}
    assert input_shapes(model(text), 8, given)[1] == ("s", (2, 8))


@pytest.mark.parametrize(
    ("dims", "given", "batch"),
    [
        pytest.param("4, 3", {}, 4, id="the model's"),
        pytest.param("N, 3", {}, 1, id="one where the model has a choice"),
        pytest.param("N, 3", {"x": ("8", "3")}, 8, id="the given one"),
        pytest.param("N, 3", {"x": ("N", "3")}, 1, id="one where N is asked for"),
    ],
)
def test_the_batch_size_if_none_is_asked_for(
    dims: str, given: dict[str, tuple[str, ...]], batch: int
) -> None:
    assert default_batch(plain(dims), given) == batch


@pytest.mark.parametrize(
    ("dims", "batch", "given", "message"),
    [
        pytest.param("N, 3", 1, {"X": ("N", "3")}, "has x; did you", id="a name"),
        pytest.param("N, 3", 1, {"y": ("N", "3")}, "(ATC: E10016)", id="a name, with ATC's code"),
        pytest.param("N, H", 1, {}, "(H); give --shape x=N,SIZE (ATC: E10001)", id="an open size"),
        pytest.param("4, 3", 8, {}, "has batch 4, no input has 8", id="a fixed batch"),
        pytest.param("4, 3", -1, {}, "gears for batch need -1 there", id="gears, a fixed batch"),
        pytest.param("N, 3", 8, {"x": ("4", "3")}, "put N in its --shape", id="another batch"),
        pytest.param("N, 3", 1, {"x": ("1", "4")}, "contradicts the model", id="a fixed size"),
        pytest.param("N, 3", 1, {"x": ("1",)}, "contradicts the model", id="a rank"),
        pytest.param("N, 3", 1, {"x": ("1", "-1")}, "contradicts the model", id="opened again"),
        pytest.param("N, 3", 1, {"x": ("n", "3")}, "size 'n' is no number", id="a letter"),
    ],
)
def test_refuses_sizes_that_do_not_fit_the_model(
    dims: str, batch: int, given: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(AscendError) as caught:
        input_shapes(plain(dims), batch, given)
    assert message in str(caught.value)


def test_weights_that_are_inputs_are_not_fed() -> None:
    old = model(
        '<ir_version: 3, opset_import: ["": 11]> g (float[N, 2] x, float[2] w) => (float[N, 2] y)'
        " <float[2] w = {1, 2}> { y = Add(x, w) }"
    )
    assert input_shapes(old, 2, {}) == (("x", (2, 2)),)


@given(st.lists(st.text()))
def test_any_words_are_sizes_or_refused(words: list[str]) -> None:
    with contextlib.suppress(AscendError):
        assert len(parse_dims(words, 1)) == len(words)


def test_out_nodes_are_outputs_or_nodes_with_an_index() -> None:
    refuse_out_nodes(model(), ["y", "first:0", "third:0"])
    for name, message in (
        ("Y", "did you mean 'y'? (ATC: E10016)"),
        ("first:1", "node 'first' has not: it has 1, from 0"),
        ("frist:0", "did you mean 'first'?"),
    ):
        with pytest.raises(AscendError) as caught:
            refuse_out_nodes(model(), [name])
        assert message in str(caught.value)


# --- nodes that stay float32 ---------------------------------------------------------------------


def test_marked_nodes_are_listed_by_name() -> None:
    made = model()
    made.graph[1].metadata_props[PRECISION_KEY] = "float32"
    made.graph[2].metadata_props[PRECISION_KEY] = "float16"
    assert marked_nodes(made) == ("second",)


def test_the_key_of_the_mark_is_the_one_that_passes_write() -> None:
    from onnx_passes.core import emit

    assert PRECISION_KEY == emit.PRECISION_KEY


def test_a_marked_node_that_no_line_can_name_is_refused() -> None:
    made = model()
    made.graph[1].metadata_props[PRECISION_KEY] = "float32"
    made.graph[1].name = ""
    with pytest.raises(AscendError, match="Mul -> 'y' is marked to stay float32 but has no name"):
        marked_nodes(made)
    text = (
        '<ir_version: 8, opset_import: ["": 16, "own": 1]> g (float[2] x) => (float[2] y)'
        ' { y = own.f(x) } <domain: "own", opset_import: ["": 16]> f (p) => (q) { q = Neg(p) }'
    )
    made = model(text)
    next(iter(made.functions.values()))[0].metadata_props[PRECISION_KEY] = "float32"
    with pytest.raises(AscendError, match="stands in a function"):
        marked_nodes(made)


def test_a_list_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "keep.txt"
    path.write_bytes(b"first\r\n\nthird\nOpType::Softmax\nfirst\n")
    assert listed_nodes(path, model()) == ("first", "third", "OpType::Softmax")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "cannot be read", id="no file"),
        pytest.param(b"\xff", "cannot be read", id="no text"),
        pytest.param(b" \n", "names no node", id="nothing"),
        pytest.param(b"frist\n", "node 'frist', which is not there; did you mean", id="a typo"),
        pytest.param(b"x" * 5_000_000, "more than", id="too long"),
    ],
)
def test_refuses_lists(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "keep.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AscendError) as caught:
        listed_nodes(path, model())
    assert message in str(caught.value)


# --- files ---------------------------------------------------------------------------------------

MIXLIST = '{"black-list": {"to-add": ["Softmax"]}, "white-list": {"to-remove": ["Conv2D"]}}'


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("modify_mixlist", MIXLIST),
        ("fusion_switch_file", "AFusionPass:off\nBFusionPass : on\n"),
        ("fusion_switch_file", '{"Switch": {"GraphFusion": {"ALL": "off"}}}'),
        ("op_precision_mode", "[ByOpType]\nSoftmax=high_precision\n"),
        ("insert_op_conf", "aipp_op { }"),
    ],
)
def test_files_are_taken_by_their_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, text: str
) -> None:
    (tmp_path / "file").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert checked_file(flag, Path("file")) == tmp_path / "file"
    assert checked_file(flag, None) is None


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        pytest.param("insert_op_conf", None, "cannot be read", id="no file"),
        pytest.param("insert_op_conf", "\n", "is empty", id="an empty file"),
        pytest.param("modify_mixlist", "{", "expected JSON like", id="no JSON"),
        pytest.param("modify_mixlist", "{}", "expected JSON like", id="an empty object"),
        pytest.param("modify_mixlist", '{"blacklist": {}}', "mean 'black-list'", id="a list"),
        pytest.param("modify_mixlist", '{"black-list": {"add": []}}', "to-add and", id="to do"),
        pytest.param("modify_mixlist", '{"black-list": {"to-add": [1]}}', "no list", id="types"),
        pytest.param("fusion_switch_file", "A:off\nB=off", "line 2 is 'B=off'", id="a line"),
        pytest.param("fusion_switch_file", "{}", "expected JSON like", id="no switch"),
    ],
)
def test_refuses_files(tmp_path: Path, flag: str, text: str | None, message: str) -> None:
    path = tmp_path / "file"
    if text is not None:
        path.write_text(text)
    with pytest.raises(AscendError) as caught:
        checked_file(flag, path)
    assert message in str(caught.value)
