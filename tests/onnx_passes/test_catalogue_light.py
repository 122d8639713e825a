"""Right or refused: each pass and preset on the light networks that the onnx package carries.

Their weights are computed when they run and their outputs are dead, so numbers would prove nothing:
what is asked is that the result is a model, is no larger, and stays as it is. They are old (opset
9, each initializer an input), which many passes refuse, so each is tried as of today too.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest

from ascend.presets import PRESETS, Preset
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.passlist import parse
from tests.onnx_passes.graphs_judge import serialised
from tests.onnx_passes.graphs_onnx import LIGHT
from tests.onnx_passes.graphs_plans import NAMES

if TYPE_CHECKING:
    from onnx_passes.core.contract import Pass

MODELS = sorted(path.stem for path in LIGHT.glob("light_*.onnx"))
AGES = ("as it is", "as of today")
OPTIONS = {
    "split-large-conv": "{max_kernel=2}",
    "split-average-pool": "{max_kernel=3}",
    "set-opset": "{version=17}",
}
# These write several nodes for one, on purpose.
GROWS = {"split-large-conv", "split-average-pool"}
# onnxsim computes all weights, hundreds of megabytes, and gives up on the old ones.
OURS = [name for name in NAMES if name != "onnxsim"]


@functools.cache
def network(name: str, age: str) -> bytes:
    """Return a network, with true constants and opset 13 if it is to be as of today."""
    proto = onnx.load(LIGHT / f"{name}.onnx")
    if age == "as of today":
        constants = {tensor.name for tensor in proto.graph.initializer}
        kept = [value for value in proto.graph.input if value.name not in constants]
        del proto.graph.input[:]
        proto.graph.input.extend(kept)
        proto.ir_version = 8
        proto = onnx.version_converter.convert_version(proto, 13)
    return bytes(proto.SerializeToString())


def model(text: bytes) -> ir.Model:
    return ir.from_proto(onnx.ModelProto.FromString(text))


def test_all_of_them_are_there() -> None:
    assert len(MODELS) >= 9


@pytest.mark.parametrize("age", AGES)
@pytest.mark.parametrize("name", MODELS)
def test_each_pass_leaves_a_valid_network(name: str, age: str) -> None:
    text, fired = network(name, age), set()
    for pass_name in OURS:
        (item,) = parse(pass_name + OPTIONS.get(pass_name, ""))
        try:
            fired |= {pass_name} if _stays_valid(item, text) else set()  # type: ignore[arg-type]
        except AssertionError as error:
            msg = f"{pass_name} on {name}: {error}"
            raise AssertionError(msg) from error
    expected = {"infer-shapes"} if age == "as it is" else {"set-opset", "fold-constants"}
    assert expected <= fired


def _stays_valid(item: Pass, text: bytes) -> bool:
    """Run a pass twice; return whether the first run changed something."""
    network = model(text)
    before, nodes = serialised(network), len(network.graph)
    result = item.run(network)
    after = serialised(network)
    assert bool(result.rewritten) == (after != before)
    if after == before:
        return False
    onnx.checker.check_model(onnx.ModelProto.FromString(after), full_check=True)
    assert item.name in GROWS or len(network.graph) <= nodes
    assert item.run(network).rewritten == []
    assert serialised(network) == after
    return True


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
@pytest.mark.parametrize("name", MODELS)
def test_each_preset_leaves_a_smaller_valid_network(name: str, preset: Preset) -> None:
    for age in AGES:
        before, items = model(network(name, age)), parse(preset.passes)
        interface = [value.name for value in (*before.graph.inputs, *before.graph.outputs)]
        outcome = run_passes(before, items, Settings(check=False))
        assert outcome.blamed == ()
        after = ir.to_proto(outcome.model)
        onnx.checker.check_model(after, full_check=True)
        assert [value.name for value in (*after.graph.input, *after.graph.output)] == interface
        if age == "as of today":
            assert outcome.after.nodes < 0.75 * outcome.before.nodes
            assert not {"Identity", "Dropout", "Constant"} & set(outcome.after.operators)
        again = run_passes(outcome.model, items, Settings(check=False))
        assert again.after == outcome.after
