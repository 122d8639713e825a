"""Fixtures that are too dear to make twice: one exported StarNet and one batch of images."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# The same examples in every run: a change is judged by what it changes. Look for new ones with
# HYPOTHESIS_SEARCH=1 in the environment.
settings.register_profile("fixed", derandomize=True, database=None)
settings.register_profile("search", print_blob=True)
settings.load_profile("search" if os.environ.get("HYPOTHESIS_SEARCH") else "fixed")

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

# Of the seeds 100 to 139 the one whose closest call between two letters is the widest: 0.03 on
# the 175 columns, so that rounding cannot change a text.
WORD_SEED = 124


@pytest.fixture(scope="session")
def starnet_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return StarNet as ONNX, with live weights; made once for all workers. Do not write to it."""
    from pipeline.export import export_starnet

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of this worker's folder: common to all workers of the run
    model = folder / "starnet.onnx"
    with (folder / "starnet.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not model.exists():
            export_starnet(model)
    return model


@pytest.fixture(scope="session")
def word_images() -> npt.NDArray[np.float32]:
    """Return float32 [7, 3, 32, 100] in [-1, 1]: drawn strokes, no noise. Do not write to it."""
    from pipeline.models.stroke_images import stroke_images

    images = stroke_images(7, WORD_SEED)
    images.setflags(write=False)
    return images
