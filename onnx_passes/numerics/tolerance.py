"""How large a difference may be, and why.

======== ============================================================================
exact    0: every bit agrees.
close    ``NOISE_FACTOR * max(noise, eps * peak)``: ``noise`` is what one-ulp nudges of all
         float constants and feeds do to this output (see nudge.py), ``eps * peak`` the
         spacing of numbers at the output's greatest magnitude.
inexact  ``INEXACT_SHARE * sensitivity``: a hundredth of what another input does to it.
======== ============================================================================
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from onnx_passes.core.contract import Exactness

# A nudge moves each constant once; a rewrite rounds each intermediate again, and the largest of n
# errors is compared with the largest of n errors of another draw. Measured on a live StarNet:
# benchmarks/README.md, "noise of correct rewrites".
NOISE_FACTOR = 8.0
INEXACT_SHARE = 0.01
# An output that a changed input moves by no more than this many spacings of its peak is dead.
DEAD_SPACINGS = 64.0
# Rounding noise above this share of the signal leaves nothing to compare.
MAX_NOISE_SHARE = 0.25
# Spacing of the numbers from 1 to 2, by dtype name.
_EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The greatest absolute difference allowed.

    Attributes:
        atol: In the output's unit; 0.0 means that all bits must agree.
        formula: The same in words and numbers.
    """

    atol: float
    formula: str


def tolerance(
    exactness: Exactness, *, dtype: np.dtype[Any], peak: float, noise: float, sensitivity: float
) -> Tolerance:
    """Return what an output may differ by.

    Args:
        exactness: The weakest of the passes between the two models.
        dtype: Of the output.
        peak: Greatest finite magnitude of the expected output.
        noise: What one-ulp nudges did to the output.
        sensitivity: What another input did to the output.
    """
    if exactness == "exact":
        return Tolerance(0.0, "bit-equal")
    if exactness == "inexact":
        atol = INEXACT_SHARE * sensitivity
        return Tolerance(atol, f"{INEXACT_SHARE:g} * sensitivity {sensitivity:.3g} = {atol:.3g}")
    eps = epsilon(dtype)
    atol = NOISE_FACTOR * max(noise, eps * peak)
    formula = f"{NOISE_FACTOR:g} * max(noise {noise:.3g}, eps {eps:.3g} * peak {peak:.3g})"
    return Tolerance(atol, f"{formula} = {atol:.3g}")


def epsilon(dtype: np.dtype[Any]) -> float:
    """Return the spacing of numbers at 1 for a float dtype, 0.0 for integers and booleans."""
    return _EPS.get(dtype.name, 0.0)
