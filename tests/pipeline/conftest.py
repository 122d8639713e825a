"""The shipped StarNet as an inference model and as ONNX, made once for all workers of a run."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Make = Callable[[Path], object]

WORDS = Path(__file__).parents[1] / "data" / "words"
BATCH = 50
# Of the seeds 0 to 3 those whose closest call between two classes is the widest: 0.003 or more on
# eight words, ten times what rounding changes there. An attention head goes on from what it wrote,
# so one class that turns over changes all that follows.
LIVE_SEEDS = {"starnet_resnet34": 0, "rare_mobilenetv3": 3, "rare_resnet34_vd": 3}
ROOT = Path(__file__).parents[2]
# The command line of the original, on our own network.
TOOL = f"""
import argparse, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.pipeline.unfolded import save_unfolded
parser = argparse.ArgumentParser()
parser.add_argument("-c", required=True)
parser.add_argument("-o", nargs="+", default=[])
told = parser.parse_args()
assert Path(told.c).read_text() == "Architecture: StarNet"
values = dict(item.split("=", 1) for item in told.o)
print("W configuration read")
target = Path(values.pop("Global.save_inference_dir"))
weights = Path(values.pop("Global.pretrained_model") + ".pdparams")
assert not values
target.mkdir(parents=True)
save_unfolded(target / "inference", weights)
"""


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Make], Path]:
    """Return ``once(name, make)``: the folder ``name``, filled by ``make(folder)`` if new."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Make) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def unfolded(once: Callable[[str, Make], Path]) -> Path:
    """Return the folder of an inference model that inverts a matrix. Do not write to it."""

    def make(folder: Path) -> None:
        from pipeline.stages.networks import SHIPPED_WEIGHTS
        from tests.pipeline.unfolded import save_unfolded

        save_unfolded(folder / "inference", SHIPPED_WEIGHTS)

    return once("unfolded", make)


@pytest.fixture(scope="session")
def straight(once: Callable[[str, Make], Path]) -> Path:
    """Return the straight export of the shipped weights. Do not write to it."""

    def make(folder: Path) -> None:
        from pipeline.export import export_starnet
        from pipeline.stages.networks import SHIPPED_WEIGHTS

        export_starnet(folder / "starnet.onnx", SHIPPED_WEIGHTS)

    return once("straight", make) / "starnet.onnx"


@pytest.fixture(scope="session")
def committed_words() -> npt.NDArray[np.float32]:
    """Return the images of tests/data/words: float32 [300, 3, 32, 100]."""
    from eval.lmdb_data import LmdbTree
    from eval.samples import prepare

    with LmdbTree(WORDS) as tree:
        images = [image for _, image in map(prepare, tree) if image is not None]
    return np.stack(images)


@pytest.fixture(scope="session")
def read(committed_words: npt.NDArray[np.float32]) -> Callable[[Path], list[str]]:
    """Return ``read(model)``: the texts that an ONNX file reads on the committed words."""
    from eval.ctc import decode
    from onnx_passes.numerics.runner import Runner

    def texts(path: Path) -> list[str]:
        runner = Runner(path, threads=2)
        found: list[str] = []
        for start in range(0, len(committed_words), BATCH):
            feeds = {runner.input_names[0]: committed_words[start : start + BATCH]}
            (probabilities,) = runner.run(feeds).values()
            found += [reading.text for reading in decode(probabilities)]
        return found

    return texts


@pytest.fixture(scope="session")
def straight_texts(straight: Path, read: Callable[[Path], list[str]]) -> list[str]:
    """Return what the straight export reads: words, most of them right."""
    return read(straight)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a stand-in for a checkout of PaddleOCR that exports our StarNet."""
    folder = tmp_path / "PaddleOCR"
    (folder / "tools").mkdir(parents=True)
    (folder / "configs").mkdir()
    (folder / "tools" / "export_model.py").write_text(TOOL)
    (folder / "configs" / "rec.yml").write_text("Architecture: StarNet")
    (folder / "paddleocr.py").write_text("VERSION = '2.5.0.3'\n")
    return folder


@pytest.fixture
def pdparams(tmp_path: Path) -> Path:
    """Return the shipped weights as a checkpoint of Paddle."""
    from pipeline.models.framework import paddle
    from pipeline.stages.networks import SHIPPED_WEIGHTS

    path = tmp_path / "best_accuracy.pdparams"
    with np.load(SHIPPED_WEIGHTS) as arrays:
        paddle.save({name: array.astype(np.float32) for name, array in arrays.items()}, str(path))
    return path


class Siblings:
    """Files of the networks without weights that ship, made once for all workers of a run."""

    def __init__(self, once: Callable[[str, Make], Path]) -> None:
        self._once = once

    def checkpoint(self, network: str) -> Path:
        """Return a checkpoint of Paddle that is alive. Do not write to it."""

        def make(folder: Path) -> None:
            from pipeline.models.framework import paddle
            from pipeline.models.live_weights import live_weights
            from pipeline.models.recogniser import DESIGNS

            weights = live_weights(LIVE_SEEDS[network], DESIGNS[network])
            paddle.save(weights, str(folder / "live.pdparams"))

        return self._once(f"live-{network}", make) / "live.pdparams"

    def unfolded(self, network: str) -> Path:
        """Return the folder of an inference model that inverts a matrix. Do not write to it."""
        checkpoint = self.checkpoint(network)

        def make(folder: Path) -> None:
            from tests.pipeline.unfolded import save_unfolded

            save_unfolded(folder / "inference", checkpoint, network)

        return self._once(f"unfolded-{network}", make)


@pytest.fixture(scope="session")
def siblings(once: Callable[[str, Make], Path]) -> Siblings:
    """Return what makes the files of the siblings."""
    return Siblings(once)
