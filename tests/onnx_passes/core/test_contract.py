from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import onnx_ir as ir
import pytest

from onnx_passes.core import contract
from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label

if TYPE_CHECKING:
    from tests.onnx_passes.conftest import Lab


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (contract.PassError, 2),
        (contract.UsageError, 2),
        (contract.ModelError, 2),
        (contract.CheckError, 1),
        (contract.ToolError, 3),
        (contract.MissingToolError, 4),
    ],
)
def test_errors_form_one_tree_with_the_exit_codes_of_its_drawing(
    error: type[contract.PassError], code: int
) -> None:
    assert issubclass(error, contract.PassError)
    assert error.exit_code == code
    line = next(line for line in (contract.__doc__ or "").splitlines() if error.__name__ in line)
    assert line.endswith(f"{code})")


@dataclasses.dataclass(frozen=True)
class Sized(Pass):
    name: ClassVar[str] = "sized"
    exactness: ClassVar[Exactness] = "exact"
    size: int = 4
    form: str = "auto"

    def run(self, model: ir.Model) -> PassResult:
        return PassResult(skipped=[Note(label(model.graph[0]), self.form)])


def test_a_pass_is_abstract_until_it_runs() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Pass()  # type: ignore[abstract]


def test_options_are_the_fields_that_differ_from_their_defaults_in_order() -> None:
    assert Sized().options() == {}
    assert list(Sized(form="loop", size=5).options().items()) == [("size", 5), ("form", "loop")]


def test_a_label_names_operator_and_first_named_output(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    assert label(model.graph[0]) == "Relu -> 'y'"
    outputs = [ir.Value(name=""), ir.Value(name="indices")]
    assert label(ir.Node("", "TopK", [], outputs=outputs)) == "TopK -> 'indices'"
    assert label(ir.Node("", "Sink", [], num_outputs=0)) == "Sink -> ''"


def test_a_limit_stops_a_pass_at_its_nth_rewrite_and_holds_within_its_block_only() -> None:
    result, notes = PassResult(), [Note(f"Relu -> '{name}'", "gone") for name in "abc"]
    with contract.at_most(2):
        result.rewritten.append(notes[0])
        with pytest.raises(contract.RewriteLimitReached) as reached:
            result.rewritten.append(notes[1])
    assert reached.value.rewritten == notes[:2]
    result.rewritten.append(notes[2])
    assert result.rewritten == notes
