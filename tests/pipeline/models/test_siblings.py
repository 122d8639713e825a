"""The other three networks: every entry of their state, counted against what was published."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.models.framework import paddle
from pipeline.models.recogniser import DESIGNS, Recogniser
from pipeline.stages.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    Entries = Iterator[tuple[str, tuple[int, ...]]]

STARNET = Path(__file__).with_name("starnet_state.txt").read_text(encoding="ascii").splitlines()
RESNET = (("0", 64, 3), ("1", 128, 4), ("2", 256, 6), ("3", 512, 3))
# Published, by the counts of the checkpoints that they were made of: entries, values.
PUBLISHED = {
    "starnet_resnet34": (255, 26_194_019),
    "rare_mobilenetv3": (335, 1_692_266),
    "rare_resnet34_vd": (263, 27_002_468),
}
# The published counts of the two attention networks are those of the CTC networks, less the CTC
# head, plus exactly the LSTM cell and the generator's bias. Why the others of the head are not in
# them is not known; their shapes follow from the cell's, and the entries count them all.
UNCOUNTED = ("i2h.weight", "h2h.weight", "h2h.bias", "score.weight", "generator.weight")


def _unit(prefix: str, inputs: int, out: int, kernel: int, names: tuple[str, str]) -> Entries:
    conv, norm = (f"{prefix}.{name}" for name in names)
    yield f"{conv}.weight", (out, inputs, kernel, kernel)
    for entry in ("weight", "bias", "_mean", "_variance"):
        yield f"{norm}.{entry}", (out,)


def _large_transform() -> Entries:
    channels = (3, 64, 128, 256, 512)
    for i in range(4):
        prefix = f"transform.loc_net.loc_conv{i}"
        yield from _unit(prefix, channels[i], channels[i + 1], 3, ("conv", "bn"))
    for name, inputs, out in (
        ("loc_net.fc1", 512, 256),
        ("loc_net.fc2", 256, 40),
        ("grid_generator.fc", 40, 6),
    ):
        yield f"transform.{name}.weight", (inputs, out)
        yield f"transform.{name}.bias", (out,)


def _resnet() -> Entries:
    names = ("_conv", "_batch_norm")
    for name, inputs, out in (("1", 3, 32), ("2", 32, 32), ("3", 32, 64)):
        yield from _unit(f"backbone.conv1_{name}", inputs, out, 3, names)
    inputs = 64
    for stage, channels, blocks in RESNET:
        for block in range(blocks):
            prefix = f"backbone.bb_{stage}_{block}"
            yield from _unit(f"{prefix}.conv0", inputs, channels, 3, names)
            yield from _unit(f"{prefix}.conv1", channels, channels, 3, names)
            if block == 0:
                yield from _unit(f"{prefix}.short", inputs, channels, 1, names)
            inputs = channels


def _lstm(inputs: int, hidden: int) -> Entries:
    def tensors(width: int) -> Entries:
        yield "weight_ih", (4 * hidden, width)
        yield "weight_hh", (4 * hidden, hidden)
        yield "bias_ih", (4 * hidden,)
        yield "bias_hh", (4 * hidden,)

    widths = (inputs, 2 * hidden)
    for layer, width in enumerate(widths):
        for back in ("", "_reverse"):
            for name, shape in tensors(width):
                yield f"neck.encoder.lstm.{name}_l{layer}{back}", shape
    for layer, width in enumerate(widths):
        for cell in ("cell_fw", "cell_bw"):
            for name, shape in tensors(width):
                yield f"neck.encoder.lstm.{layer}.{cell}.{name}", shape


def _attention(features: int, hidden: int) -> Entries:
    yield "head.attention_cell.i2h.weight", (features, hidden)
    yield "head.attention_cell.h2h.weight", (hidden, hidden)
    yield "head.attention_cell.h2h.bias", (hidden,)
    yield "head.attention_cell.score.weight", (hidden, 1)
    yield "head.attention_cell.rnn.weight_ih", (4 * hidden, features + 38)
    yield "head.attention_cell.rnn.weight_hh", (4 * hidden, hidden)
    yield "head.attention_cell.rnn.bias_ih", (4 * hidden,)
    yield "head.attention_cell.rnn.bias_hh", (4 * hidden,)
    yield "head.generator.weight", (hidden, 38)
    yield "head.generator.bias", (38,)


def _lines(*parts: Entries) -> list[str]:
    return [f"{name} {'x'.join(map(str, shape))}" for part in parts for name, shape in part]


def _ctc(features: int) -> Entries:
    yield "head.fc.weight", (features, 37)
    yield "head.fc.bias", (37,)


EXPECTED = {
    "starnet_resnet34": _lines(_large_transform(), _resnet(), _lstm(512, 256), _ctc(512)),
    "rare_mobilenetv3": STARNET[:-2] + _lines(_attention(192, 96)),
    "rare_resnet34_vd": _lines(
        _large_transform(), _resnet(), _lstm(512, 256), _attention(512, 256)
    ),
}


@pytest.fixture(scope="module", params=PUBLISHED)
def sibling(request: pytest.FixtureRequest) -> tuple[str, Recogniser]:
    model = Recogniser(DESIGNS[request.param])
    model.eval()
    return request.param, model


def test_every_name_and_shape_is_the_familys(sibling: tuple[str, Recogniser]) -> None:
    name, model = sibling
    state = model.state_dict()
    found = [f"{entry} {'x'.join(map(str, tensor.shape))}" for entry, tensor in state.items()]
    assert found == EXPECTED[name]
    assert len(found) == PUBLISHED[name][0]


def test_the_distinct_tensors_hold_the_published_number_of_values(
    sibling: tuple[str, Recogniser],
) -> None:
    name, model = sibling
    distinct = {id(tensor): (entry, tensor) for entry, tensor in model.state_dict().items()}
    assert len(distinct) == PUBLISHED[name][0] - 16  # an LSTM of two layers appears twice
    sizes = [
        math.prod(tensor.shape)
        for entry, tensor in distinct.values()
        if not (entry.startswith("head.") and entry.endswith(UNCOUNTED))
    ]
    assert sum(sizes) == PUBLISHED[name][1]


def test_the_output_is_as_wide_as_its_head(sibling: tuple[str, Recogniser]) -> None:
    name, model = sibling
    with paddle.no_grad():
        columns = model.backbone(paddle.zeros([2, 3, 32, 100]))
        found = model.head(model.neck(columns))
    assert columns.shape == [2, model.backbone.out_channels, 1, 25]
    assert found.shape == [2, 25, NETWORKS[name].classes]


def test_a_recipe_may_name_each_of_the_family() -> None:
    assert set(NETWORKS) == set(DESIGNS) == {"starnet", *PUBLISHED}
    for name, network in NETWORKS.items():
        assert network.name == name
        assert network.classes == DESIGNS[name].head.classes
