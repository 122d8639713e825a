"""Compare the Paddle network with the probe of ``convert.py``; run it where Paddle is installed.

python -m benchmarks.train_starnet.check_paddle starnet_words.npz probe.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle

from pipeline.models.weights import build_starnet

LARGEST = 1e-4  # of a probability: two float32 libraries, one network


def main() -> None:
    """Print the largest difference; exit with 1 if it is too large."""
    weights, probe = (Path(argument) for argument in sys.argv[1:3])
    with np.load(probe) as arrays:
        images, expected = arrays["images"], arrays["probabilities"]
    with paddle.no_grad():
        found = build_starnet(weights)(paddle.to_tensor(images)).numpy()
    difference = float(np.abs(found - expected).max())
    same = int((found.argmax(2) == expected.argmax(2)).all(axis=1).sum())
    print(f"largest difference {difference:.2e}; same classes in {same} of {len(images)} images")
    sys.exit(difference > LARGEST)


if __name__ == "__main__":
    main()
