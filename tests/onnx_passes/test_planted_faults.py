"""Every planted fault is caught, and blamed on the right pass, rewrite and tensor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from onnx_passes.core.bisect import Culprit, bisect
from onnx_passes.core.manager import Settings, optimize, run_passes
from onnx_passes.core.model_io import load
from onnx_passes.core.passlist import parse
from onnx_passes.core.registry import load_plugin

if TYPE_CHECKING:
    from types import ModuleType

PLUGIN = Path(__file__).resolve().parents[2] / "benchmarks" / "planted.py"
PREFIX = "drop-identity,fuse-batch-norm"
FAULTS = (
    "scale-weight",
    "shift-pads",
    "swap-concat",
    "transpose-grid",
    "flip-align-corners",
    "narrow-dtype",
    "make-nan",
)
# Long enough for a child process to start on a busy machine, short enough to wait for.
HANG_TIMEOUT_S = 8.0


@pytest.fixture(scope="module")
def planted() -> ModuleType:
    import inspect

    (cls, *_) = load_plugin(PLUGIN)
    module = inspect.getmodule(cls)
    assert module is not None
    return module


@pytest.fixture(scope="module")
def fused(starnet_onnx: Path) -> Path:
    """Return StarNet after the two correct passes that come before every fault."""
    from onnx_passes.core.model_io import save

    path = starnet_onnx.with_name("fused.onnx")
    outcome = optimize(starnet_onnx, PREFIX)
    assert outcome.ok
    save(outcome.model, path)
    return path


def find(path: Path, text: str) -> Culprit:
    culprit = bisect(load(path), parse(f"{PREFIX},{text},drop-unused"), Settings())
    assert culprit is not None
    return culprit


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        *(("plant-fault", fault) for fault in FAULTS),
        # The others are run by benchmarks/planted_faults.py.
        ("plant-fault-closely", "scale-weight"),
        ("plant-fault-closely", "transpose-grid"),
    ],
)
def test_is_blamed_on_its_pass_and_tensor(
    planted: ModuleType, starnet_onnx: Path, fused: Path, claim: str, fault: str
) -> None:
    culprit = find(starnet_onnx, f"{claim}{{fault={fault}}}")
    assert culprit.step.name == claim
    assert culprit.tensor is not None
    assert culprit.tensor.name == planted.culprit_tensor(load(fused), fault)


@pytest.mark.usefixtures("planted")
def test_is_blamed_on_its_rewrite(starnet_onnx: Path) -> None:
    culprit = find(starnet_onnx, "plant-fault{fault=scale-weight}")
    assert culprit.rewrite is not None
    assert culprit.tensor is not None
    # 67 convolutions, the one in the middle is scaled.
    assert (culprit.rewrite.number, culprit.rewrite.total) == (34, 67)
    assert culprit.tensor.name in culprit.rewrite.note.node
    assert culprit.node == culprit.rewrite.note.node


@pytest.mark.usefixtures("planted")
def test_a_renamed_output_is_blamed(starnet_onnx: Path) -> None:
    outcome = optimize(starnet_onnx, f"{PREFIX},plant-fault{{fault=rename-output}}")
    assert [step.name for step in outcome.blamed] == ["plant-fault"]
    assert "renamed" in outcome.blamed[0].reason


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize(
    ("how", "said"), [("crash", "SIGSEGV"), ("hang", f"within {HANG_TIMEOUT_S:g} s")]
)
def test_a_pass_that_never_returns_is_a_verdict(starnet_onnx: Path, how: str, said: str) -> None:
    passes = parse(f"drop-identity,plant-end{{how={how}}}")
    outcome = run_passes(load(starnet_onnx), passes, Settings(timeout_s=HANG_TIMEOUT_S))
    assert outcome.verdict == "crashed"
    assert said in outcome.steps[-1].reason
    assert outcome.steps[0].kept


def test_correct_rewrites_are_not_blamed(starnet_onnx: Path) -> None:
    outcome = optimize(starnet_onnx, f"onnxsim,decompose-grid-sample,{PREFIX}", on_fail="keep")
    assert outcome.ok
    assert not outcome.blamed
    assert outcome.steps[0].max_abs is not None
    assert outcome.steps[0].max_abs > 0  # folding a batch norm rounds, and that is seen
