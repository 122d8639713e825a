"""Score what an inference tool wrote: one ``img_<index>_0.bin`` for each good record.

The file is float32, little-endian, the softmax over the characters: [1, 25, 37] and 3,700 bytes of
a CTC head, [1, 25, 38] and 3,800 bytes of an attention head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eval.errors import EvalError, NonFiniteError
from eval.evaluation import BadPolicy, Evaluation, check_policy, conclude
from eval.heads import CLASSES, STEPS, decode

if TYPE_CHECKING:
    from pathlib import Path

    from eval.ctc import Reading
    from eval.evaluation import Progress
    from eval.images import Float32
    from eval.manifest import Manifest

_CLASSES = {4 * STEPS * classes: classes for classes in CLASSES}  # by the bytes of a file


def score(
    results_dir: Path,
    manifest: Manifest,
    bad: BadPolicy = "count",
    on_progress: Progress | None = None,
) -> Evaluation:
    """Read the results of every good record and compare them with the labels.

    Args:
        results_dir: The folder with the ``img_<index>_0.bin`` files.
        manifest: What ``preprocess`` returned and wrote when it made the inputs.
        bad: Whether a bad record counts as wrong or is excluded.
        on_progress: Called with the files done and their total.

    Raises:
        EvalError: If a file is missing or has another size, or no record counts.
        NonFiniteError: If a file holds NaN or infinity.
    """
    check_policy(bad)
    good = manifest.good
    readings: list[Reading] = []
    for record in good:
        readings += decode(_read(results_dir / f"img_{record.index}_0.bin"))
        if on_progress:
            on_progress(len(readings), len(good))
    return conclude(manifest, readings, bad)


def _read(path: Path) -> Float32:
    """Return float32 [1, 25, 37 or 38]."""
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"cannot read result {path}: {error.strerror}; expected one for each good record"
        raise EvalError(msg) from error
    classes = _CLASSES.get(len(content))
    if classes is None:
        forms = " or ".join(f"{size} (float32 [1, {STEPS}, {n}])" for size, n in _CLASSES.items())
        msg = f"result {path} has {len(content)} bytes; expected {forms}"
        raise EvalError(msg)
    probabilities = np.frombuffer(content, "<f4").reshape(1, STEPS, classes)
    if not np.isfinite(probabilities).all():
        msg = f"result {path} holds NaN or infinity; check the model's precision"
        raise NonFiniteError(msg)
    return probabilities
