"""Write trained weights under the names of the Paddle checkpoint.

    python -m benchmarks.train_starnet.convert RUN/model.pt starnet_words.npz --probe probe.npz

Weights of convolutions, matrices and LSTMs are stored as float16, vectors (batch norm, biases)
as float32; the LSTM tensors under their flat names only. The probe holds 64 inputs and what
PyTorch makes of them with the stored weights; ``check_paddle.py`` compares the Paddle network.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.train_starnet.data import as_input, load_shard
from benchmarks.train_starnet.network import StarNet, load_arrays, paddle_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROBES = 64


def main() -> None:
    """Convert, and write the probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="model.pt of a run")
    parser.add_argument("weights", type=Path, help="the .npz to write")
    parser.add_argument("--probe", type=Path, help="another .npz: inputs and outputs")
    parser.add_argument("--shard", type=Path, help="the shard to take the probe's images from")
    options = parser.parse_args()
    stored: dict[str, Any] = {
        name: halved(value) for name, value in paddle_arrays(torch.load(options.model)).items()
    }
    np.savez_compressed(options.weights, **stored)
    print(f"{len(stored)} tensors, {options.weights.stat().st_size} bytes")
    if options.probe:
        shard = load_shard(options.shard)
        images = as_input(shard.images[:PROBES], shard.widths[:PROBES])
        np.savez(options.probe, **answers(options.weights, images))


def halved(value: NDArray[np.float32]) -> NDArray[np.float32] | NDArray[np.float16]:
    """Return matrices and filters as float16, vectors as they are."""
    return value.astype(np.float16) if value.ndim > 1 else value


def answers(weights: Path, images: NDArray[np.float32]) -> dict[str, Any]:
    """Return what a converted file makes of float32 [N, 3, 32, 100], stage by stage."""
    model = load_arrays(StarNet(), weights).eval()
    given = torch.from_numpy(np.ascontiguousarray(images))
    with torch.no_grad():
        points = model.transform.loc_net(given)
        upright = model.transform(given, points)
        probabilities = model.read(upright).softmax(2)
    stages = {"points": points, "upright": upright, "probabilities": probabilities}
    return {"images": images} | {name: stage.numpy() for name, stage in stages.items()}


if __name__ == "__main__":
    main()
