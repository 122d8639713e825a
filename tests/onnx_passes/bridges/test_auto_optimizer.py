from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from onnx_passes import optimize
from onnx_passes.bridges.auto_optimizer import AutoOptimizer, rules
from onnx_passes.core.contract import MissingToolError, ToolError, UsageError
from onnx_passes.core.options import make

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.onnx_passes.conftest import Lab

STANDINS = Path(__file__).with_name("standins")
TEXT = """
g (float[N, 8] x) => (float[N, M] y, float[N, M] r)
<int64[1] two = {2}, int64[1] one = {1}, int64[1] end = {7}, int64[1] axis = {1}> {
    i = Identity(x)
    a = Slice(i, two, end, axis)
    b = Slice(a, one, end, axis)
    r = Relu(b)
    y = Exp(r)
}
"""


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the stand-in where the package would be; the child process inherits the path."""
    monkeypatch.syspath_prepend(str(STANDINS))
    monkeypatch.delitem(sys.modules, "auto_optimizer", raising=False)
    yield
    sys.modules.pop("auto_optimizer", None)


@pytest.mark.usefixtures("standin")
def test_a_right_rule_passes_our_checks_in_a_child_process(lab: Lab) -> None:
    outcome = optimize(lab.model(TEXT), "auto-optimizer{rule=KnowledgeDropIdentity}")
    (step,) = outcome.steps
    assert (step.verdict, outcome.ok) == ("passed", True), step.reason
    assert lab.ops(outcome.model) == ["Slice", "Slice", "Relu", "Exp"]
    assert step.rewritten[0].text == ("auto-optimizer of unknown version: 5 nodes before, 4 after")


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        pytest.param("KnowledgeMergeConsecutiveSlice", "y", id="other numbers"),
        pytest.param("KnowledgeTransposeLargeInputConv", "r", id="an invalid model"),
        pytest.param("KnowledgeRaises", "KeyError|auto_optimizer failed", id="a rule that raises"),
    ],
)
def test_our_checks_catch(lab: Lab, rule: str, reason: str) -> None:
    outcome = optimize(lab.model(TEXT), f"auto-optimizer{{rule={rule}}}")
    (step,) = outcome.steps
    assert step.verdict in {"failed", "crashed"}
    assert step.text == f"auto-optimizer{{rule={rule}}}"
    assert any(word in step.reason for word in reason.split("|")), step.reason
    assert lab.ops(outcome.model) == ["Identity", "Slice", "Slice", "Relu", "Exp"]


@pytest.mark.usefixtures("standin")
def test_a_rule_that_does_not_match_changes_nothing(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { y = Exp(x) }")
    assert AutoOptimizer(rule="KnowledgeDropIdentity").run(model).rewritten == []


@pytest.mark.usefixtures("standin")
def test_a_rule_that_raises_is_an_error_in_one_line(lab: Lab) -> None:
    with pytest.raises(ToolError, match="auto_optimizer failed: "):
        AutoOptimizer(rule="KnowledgeRaises").run(lab.model(TEXT))


@pytest.mark.usefixtures("standin")
def test_refuses_no_rule_and_a_misspelt_one() -> None:
    with pytest.raises(UsageError, match="needs a rule, one of KnowledgeDropIdentity"):
        make("auto-optimizer", {}, AutoOptimizer)
    with pytest.raises(UsageError, match="did you mean 'KnowledgeDropIdentity'"):
        make("auto-optimizer", {"rule": "KnowledgeDropIdentitty"}, AutoOptimizer)


def test_without_the_package_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AutoOptimizer, "module", "no_such_module_here")
    with pytest.raises(MissingToolError, match=r"not installed: see .*bridges/README\.md"):
        make("auto-optimizer", {"rule": "KnowledgeDropIdentity"}, AutoOptimizer)


def test_another_package_of_that_name_is_not_taken_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "auto_optimizer.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "auto_optimizer", raising=False)
    with pytest.raises(MissingToolError, match="is not Huawei's"):
        make("auto-optimizer", {"rule": "KnowledgeDropIdentity"}, AutoOptimizer)
    sys.modules.pop("auto_optimizer", None)


@pytest.mark.skipif(
    importlib.util.find_spec("auto_optimizer") is None,
    reason="Huawei's auto_optimizer is not installed; bridges/README.md says how to get it",
)
def test_the_real_package_has_the_interface_that_the_bridge_uses(lab: Lab) -> None:
    assert "KnowledgeConv1d2Conv2d" in rules()
    model = lab.model("g (float[2] x) => (float[2] y) { y = Exp(x) }")
    assert AutoOptimizer(rule="KnowledgeConv1d2Conv2d").run(model).rewritten == []
