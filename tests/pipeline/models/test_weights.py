from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from eval import attention
from pipeline.drawn_words import draw_words
from pipeline.errors import WeightsError
from pipeline.models.framework import paddle
from pipeline.models.live_weights import live_weights
from pipeline.models.recogniser import DESIGNS, Recogniser
from pipeline.models.stroke_images import stroke_images
from pipeline.models.weights import build_network, build_starnet

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]
    Weights = dict[str, Floats]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return live_weights()


def _probabilities(model: Recogniser, images: Floats) -> Floats:
    model.eval()
    with paddle.no_grad():
        found: Floats = model(paddle.to_tensor(images)).numpy()
    return found


def _text(probabilities: Floats) -> str:
    best = [int(index) for index in probabilities.argmax(axis=1)]
    return "".join(chr(64 + index) for index, _ in itertools.groupby(best) if index)


def _movement(probabilities: Floats) -> float:
    """Return how far the closest two images are apart, in the column where they differ most."""
    return min(float(np.abs(a - b).max()) for a, b in itertools.combinations(probabilities, 2))


def test_the_output_is_alive(word_images: Floats) -> None:
    found = _probabilities(build_starnet(), word_images)
    assert found.max(axis=2).mean() > 0.5  # 1/37 = 0.03 for a network that knows nothing
    assert len({_text(one) for one in found}) == len(word_images)
    assert all(3 <= len(_text(one)) <= 20 for one in found)
    assert _movement(found) > 0.5


def test_an_attention_head_is_alive_and_ends_its_words() -> None:
    images = draw_words(12, 3, 32, 100)
    found = _probabilities(build_network(design=DESIGNS["rare_mobilenetv3"]), images)
    assert found.max(axis=2).mean() > 0.5
    texts = {reading.text for reading in attention.decode(found)}
    assert len(texts) == len(images)
    assert len({len(text) for text in texts}) > 2  # the end token comes at different steps
    assert min(map(len, texts)) >= 3
    assert _movement(found) > 0.5


def test_an_untrained_network_is_dead_by_the_same_measure(word_images: Floats) -> None:
    found = _probabilities(Recogniser(), word_images)
    assert found.max(axis=2).mean() < 0.05
    assert _movement(found) < 1e-3


def test_every_stage_depends_on_the_image(word_images: Floats) -> None:
    model = build_starnet()
    with paddle.no_grad():
        x = model.transform(paddle.to_tensor(word_images))
        for stage in [model.backbone.conv1, *model.backbone.blocks, model.backbone.conv2]:
            x = stage(x)
            values = x.numpy()
            assert 0.1 < values.std() < 10
            assert values.std(axis=0).mean() > 0.1 * values.std()


def test_the_extension_of_the_spline_is_zero_as_in_published_checkpoints(weights: Weights) -> None:
    assert not weights["transform.grid_generator.fc.weight"].any()
    assert not weights["transform.grid_generator.fc.bias"].any()
    assert weights["transform.loc_net.fc2.weight"].any()


def test_a_seed_gives_the_same_weights_again_and_another_seed_others(weights: Weights) -> None:
    again, other = live_weights(), live_weights(seed=1)
    assert list(weights) == list(again) == list(other)
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert not np.array_equal(weights["head.fc.weight"], other["head.fc.weight"])


@pytest.mark.parametrize("suffix", [".npz", ".pdparams"])
def test_weights_from_a_file_give_the_same_output(
    suffix: str, weights: Weights, word_images: Floats, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    other = live_weights(seed=1) if suffix == ".npz" else weights
    if suffix == ".npz":
        np.savez(path, **other)  # type: ignore[arg-type]  # numpy's own hints
    else:
        paddle.save(build_starnet().state_dict(), str(path))
    found = _probabilities(build_starnet(path), word_images[:2])
    expected = Recogniser()
    expected.set_state_dict({name: paddle.to_tensor(value) for name, value in other.items()})
    np.testing.assert_array_equal(found, _probabilities(expected, word_images[:2]))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, weight=np.zeros((2, 3), np.float32))
    with pytest.raises(WeightsError, match=r"311 missing .*; 1 unexpected"):
        build_starnet(path)


@pytest.mark.parametrize("name", ["starnet_resnet34", "rare_mobilenetv3"])
def test_weights_of_a_sibling_are_refused_in_one_line(
    name: str, weights: Weights, tmp_path: Path
) -> None:
    path = tmp_path / "starnet.npz"
    np.savez(path, **weights)  # type: ignore[arg-type]  # numpy's own hints
    with pytest.raises(WeightsError, match=r"missing .*; .* unexpected") as failure:
        build_network(path, DESIGNS[name])
    assert "\n" not in str(failure.value)
    assert len(str(failure.value)) < 1000


def test_the_drawn_images_are_smooth_and_in_range() -> None:
    images = stroke_images(5, seed=3)
    assert images.shape == (5, 3, 32, 100)
    assert images.dtype == np.float32
    assert np.abs(images).max() <= 1
    steps = np.abs(np.diff(images, axis=3))
    assert steps.mean() < 0.1 * images.std()  # white noise: 1.1
    assert np.array_equal(images, stroke_images(5, seed=3))
    assert not np.array_equal(images[0], images[1])
