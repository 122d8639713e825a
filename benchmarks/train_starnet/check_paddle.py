"""Compare the Paddle network with the probe of ``convert.py``; run it where Paddle is installed.

python -m benchmarks.train_starnet.check_paddle starnet_words.npz probe.npz
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle

from pipeline.models.weights import build_starnet

# Two float32 libraries, one network. Only the rectified image may differ by more: the spline's
# matrix has a condition of 1869, so its rounding moves a sampling point by 2e-5 of the image.
LARGEST = {"points": 1e-4, "upright": 1e-2, "probabilities": 1e-4, "end to end": 2e-2}


def main() -> None:
    """Print the largest difference of each stage; exit with 1 if one is too large."""
    weights, probe = (Path(argument) for argument in sys.argv[1:3])
    with np.load(probe) as arrays:
        expected = dict(arrays)
    model = build_starnet(weights)
    images, upright = (paddle.to_tensor(expected[name]) for name in ("images", "upright"))
    with paddle.no_grad():
        found = {
            "points": model.transform.loc_net(images),
            "upright": model.transform(images),
            "probabilities": model.head(model.neck(model.backbone(upright))),
            "end to end": model(images),
        }
    expected["end to end"] = expected["probabilities"]
    worst = {n: float(np.abs(found[n].numpy() - expected[n]).max()) for n in LARGEST}
    for name, difference in worst.items():
        print(f"{name}: largest difference {difference:.2e}, up to {LARGEST[name]:.0e} allowed")
    classes = (a.argmax(2) for a in (found["end to end"].numpy(), expected["probabilities"]))
    print("same classes in every column:", bool(np.equal(*classes).all()))
    sys.exit(any(worst[name] > LARGEST[name] for name in LARGEST))


if __name__ == "__main__":
    main()
