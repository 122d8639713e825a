from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest

from onnx_passes.core.contract import Exactness, Pass, PassResult, UsageError
from onnx_passes.core.options import make

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class Optioned(Pass):
    name: ClassVar[str] = "optioned"
    exactness: ClassVar[Exactness] = "exact"
    count: int = 1
    share: float = 0.5
    fast: bool = False
    form: Literal["auto", "loop"] = "auto"
    note: str = ""
    limit: int | None = None
    either: str | int = 0
    axes: tuple[int, ...] = ()
    names: tuple[str, ...] | None = None
    odd: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        if self.count < 0:
            msg = "count must not be negative"
            raise ValueError(msg)

    def run(self, model: ir.Model) -> PassResult:
        raise NotImplementedError(model)


@pytest.mark.parametrize(
    ("option", "given", "expected"),
    [
        ("count", 3, 3),
        ("share", 2, 2.0),
        ("fast", True, True),
        ("form", "loop", "loop"),
        ("note", 7, "7"),
        ("limit", None, None),
        ("limit", 4, 4),
        ("either", 5, 5),
        ("either", "five", "five"),
        ("axes", [0, 2], (0, 2)),
        ("axes", (), ()),
        ("names", ("a", "b"), ("a", "b")),
        ("names", None, None),
    ],
)
def test_a_value_gets_the_type_of_its_field(option: str, given: Any, expected: Any) -> None:  # noqa: ANN401
    value = getattr(make("optioned", {option: given}, Optioned), option)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("option", "given", "wanted"),
    [
        ("count", "three", "int"),
        ("count", True, "int"),
        ("count", 1.5, "int"),
        ("share", "half", "float"),
        ("share", True, "float"),
        ("fast", 1, "bool"),
        ("form", "spiral", "auto.*loop"),
        ("note", True, "str"),
        ("limit", "none at all", "int"),
        ("axes", 3, "tuple"),
        ("axes", (1, "a"), "tuple"),
        ("names", "a", "tuple"),
        ("odd", [1], "list"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(option: str, given: Any, wanted: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=rf"option '{option}' of pass 'optioned' is .*{wanted}"):
        make("optioned", {option: given}, Optioned)


def test_an_unknown_option_offers_the_nearest() -> None:
    message = r"has no option 'cuont'; did you mean 'count'\? \(it takes count, share, "
    with pytest.raises(UsageError, match=message):
        make("optioned", {"cuont": 1}, Optioned)
    with pytest.raises(UsageError, match=r"no option 'x' \(it takes no options\)"):
        make("drop-identity", {"x": 1})


def test_a_pass_may_refuse_its_own_options() -> None:
    with pytest.raises(UsageError, match="refuses its options: count must not be negative"):
        make("optioned", {"count": -1}, Optioned)
