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
