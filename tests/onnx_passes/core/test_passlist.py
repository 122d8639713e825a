from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnx_passes.core import registry
from onnx_passes.core.contract import Exactness, Pass, PassResult, UsageError
from onnx_passes.core.passlist import (
    Item,
    Repeat,
    collect,
    from_toml,
    parse,
    parse_call,
    pass_text,
    to_text,
)

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class Typed(Pass):
    name: ClassVar[str] = "typed"
    exactness: ClassVar[Exactness] = "exact"
    count: int = 1
    share: float = 0.5
    fast: bool = False
    note: str = ""
    limit: int | None = None
    either: str | int = 0
    names: tuple[str, ...] = ()

    def run(self, model: ir.Model) -> PassResult:
        raise NotImplementedError(model)


@dataclasses.dataclass(frozen=True)
class Plain(Typed):
    name: ClassVar[str] = "plain"


@pytest.fixture(autouse=True)
def two_passes(registry_as_before: None) -> None:  # noqa: ARG001, RUF100  its order matters
    registry.register(Typed)
    registry.register(Plain)


TYPED = st.builds(
    Typed,
    count=st.integers(),
    share=st.floats(allow_nan=False),
    fast=st.booleans(),
    note=st.text(),
    limit=st.none() | st.integers(),
    either=st.text() | st.integers(),
    names=st.lists(st.text()).map(tuple),
)
ITEMS: st.SearchStrategy[Item] = st.recursive(
    TYPED | st.just(Plain()),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda items: Repeat(tuple(items))),
    max_leaves=6,
)


@given(st.lists(ITEMS, min_size=1, max_size=4).map(tuple))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_passes_become_text_that_becomes_the_same_passes(items: tuple[Item, ...]) -> None:
    assert parse(to_text(items)) == items
    assert to_text(parse(to_text(items))) == to_text(items)


@given(st.text('abplaintyed{}()*=,[]" 1.\\', max_size=30))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_text_is_a_pass_list_or_one_line_of_refusal(text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert "\n" not in str(error) or "\n" in text  # noqa: PT017  success is fine, too


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain", (Plain(),), id="one name"),
        pytest.param(" plain , typed ", (Plain(), Typed()), id="blanks"),
        pytest.param("typed{}", (Typed(),), id="empty options"),
        pytest.param("typed{count=-3,share=1e-3}", (Typed(count=-3, share=1e-3),), id="numbers"),
        pytest.param("typed{fast=true,limit=none}", (Typed(fast=True),), id="words of the grammar"),
        pytest.param('typed{note="a,b}\\n"}', (Typed(note="a,b}\n"),), id="quoted text"),
        pytest.param("typed{note=a/b.c:d}", (Typed(note="a/b.c:d"),), id="a bare word"),
        pytest.param('typed{note="true"}', (Typed(note="true"),), id="a quoted literal is text"),
        pytest.param("typed{names=[a,b]}", (Typed(names=("a", "b")),), id="a list"),
        pytest.param("typed{names=[]}", (Typed(),), id="an empty list"),
        pytest.param(
            "plain,(typed,(plain)*)*", (Plain(), Repeat((Typed(), Repeat((Plain(),))))), id="groups"
        ),
    ],
)
def test_reads(text: str, expected: tuple[Item, ...]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "the pass list is empty", id="nothing"),
        pytest.param("  ", "the pass list is empty", id="blanks only"),
        pytest.param("plain,", "character 7: the end where a pass name", id="a trailing comma"),
        pytest.param(",plain", "character 1: ',' where a pass name", id="a leading comma"),
        pytest.param("plain,,plain", "character 7: ',' where a pass name", id="two commas"),
        pytest.param("plain typed", "character 7: 'typed' where ',' was", id="no comma"),
        pytest.param("plain)", r"character 6: '\)' where ',' was", id="a stray bracket"),
        pytest.param("(plain", "character 7: the end where ',' was", id="an open group"),
        pytest.param("(plain)", r"character 8: the end where '\*' was", id="a group without *"),
        pytest.param("()*", "an empty group", id="an empty group"),
        pytest.param("typed{count}", "character 12: '}' where '=' was", id="no value"),
        pytest.param("typed{count=}", "character 13: '}' where a value was", id="an empty value"),
        pytest.param("typed{count=1", "character 14: the end where ',' was", id="open options"),
        pytest.param("typed{1=2}", "character 7: '1' where an option name", id="a number as key"),
        pytest.param("typed{names=[a}", r"character 15: '}' where ',' was", id="an open list"),
        pytest.param('typed{note="a}', "character 12: unfinished text", id="an open quote"),
        pytest.param(r'typed{note="\q"}', "character 12: .* is not text as JSON", id="an escape"),
        pytest.param("typed{count=1,count=2}", "character 15: option 'count' is given tw", id="2x"),
        pytest.param('"plain"', "character 1: .* where a pass name", id="a quoted name"),
        pytest.param("3d", "character 1: '3d' where a pass name", id="a number as name"),
        pytest.param("(" * 9000, "too deeply", id="nine thousand brackets"),
        pytest.param("plian", "unknown pass 'plian'; did you mean 'plain'", id="a typo"),
        pytest.param("typed{cuont=1}", "no option 'cuont'; did you mean 'count'", id="an option"),
        pytest.param("typed{count=x}", "option 'count' of pass 'typed' is 'x'", id="a type"),
    ],
)
def test_refuses_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_text_leaves_defaults_out_and_quotes_only_what_needs_it() -> None:
    item = Typed(note="word", names=("a b", "true", "5"), either="5")
    assert pass_text(item) == 'typed{note=word,either="5",names=["a b","true","5"]}'
    assert to_text((Plain(), Repeat((Typed(count=2), Plain())))) == "plain,(typed{count=2},plain)*"


def test_collect_takes_text_passes_classes_groups_and_sequences_of_them() -> None:
    repeat = Repeat((Plain(),))
    assert collect("plain,typed") == (Plain(), Typed())
    assert collect(Typed(count=2)) == (Typed(count=2),)
    assert collect(Plain) == (Plain(),)
    assert collect(repeat) == (repeat,)
    mixed: list[Any] = ["plain", Typed, repeat, ("typed{count=2}",)]
    assert collect(mixed) == (Plain(), Typed(), repeat, Typed(count=2))
    assert collect([]) == ()


@pytest.mark.parametrize("given_", [5, [5], b"plain", None, int])
def test_collect_refuses_anything_else(given_: Any) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match="a pass list is text or passes, got "):
        collect(given_)


def test_toml_says_the_same_as_text() -> None:
    entries = [
        "plain",
        {"name": "typed", "count": 2, "names": ["a", "b"], "share": 1},
        {"repeat": ["plain", {"name": "typed"}]},
        "plain,typed{count=3}",
    ]
    text = "plain,typed{count=2,share=1.0,names=[a,b]},(plain,typed)*,plain,typed{count=3}"
    assert from_toml(entries) == parse(text)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param([], "the pass list is empty", id="nothing"),
        pytest.param([{"repeat": []}], "the pass list is empty", id="an empty group"),
        pytest.param(["plain", 5], "entry 2 of the pass list is 5; expected a name", id="a number"),
        pytest.param([{"nmae": "plain"}], "entry 1 of the pass list is ", id="a table without"),
        pytest.param([{"repeat": "plain"}], "is an array, got 'plain'", id="a repeat of text"),
        pytest.param([{"repeat": 3}], "is an array, got 3", id="a repeat of a number"),
        pytest.param([{"name": "plian"}], "did you mean 'plain'", id="an unknown name"),
        pytest.param([{"name": "typed", "count": "x"}], "expected int", id="a value's type"),
        pytest.param([{"name": "typed", "cuont": 1}], "did you mean 'count'", id="an option"),
    ],
)
def test_toml_refuses(entries: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_toml(entries)


def test_a_single_item_can_be_read_without_looking_its_name_up() -> None:
    call = parse_call('Gather{indices=[0,[2]],axis=1,name="a b"}', "operator")
    assert call == ("Gather", {"indices": (0, (2,)), "axis": 1, "name": "a b"})
    assert parse_call("Neg", "operator") == ("Neg", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("A,B", "operator, character 2: ',' where the end was expected", id="two"),
        pytest.param("", "operator, character 1: the end where a name was expected", id="none"),
        pytest.param("A{b}", "operator, character 4: '}' where '=' was expected", id="a bad one"),
        pytest.param("A{b=" + "[" * 5000, "operator nests its values too deeply", id="a deep one"),
    ],
)
def test_a_single_item_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_call(text, "operator")
