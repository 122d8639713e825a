"""The command line of ais_bench, built from a request that is checked first.

``python3 -m ais_bench`` and its successor ``msit benchmark`` do the same job; the second spells
the options with dashes. ``--batchsize`` is never given: it is used in a formula only, and the
speed is computed here. Results are always BIN, the form that scores are read from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ascend.errors import AscendError

if TYPE_CHECKING:
    from pathlib import Path

GREATEST_DEVICE = 255  # --device takes 0..255
# msit benchmark: -om and -i are documented; the others follow its rule, dashes. Not verified.
_DASHED = {
    "--model": "-om",
    "--input": "-i",
    "--output_dirname": "--output-dirname",
    "--warmup_count": "--warmup-count",
    "--dymBatch": "--dym-batch",
}


@dataclass(frozen=True)
class Request:
    """What ais_bench is asked to do.

    Attributes:
        model: The .om file.
        output: Folder that gets a folder ``dirname`` with the results.
        dirname: Its name.
        inputs: A folder or file for each input of the model; none for pure inference.
        device: Number of the device.
        loop: How often each run is repeated.
        warmup: Runs before the first that counts.
        gear: The batch of the run, for a model compiled with several; None for a model with one.
    """

    model: Path
    output: Path
    dirname: str
    inputs: tuple[Path, ...] = ()
    device: int = 0
    loop: int = 1
    warmup: int = 1
    gear: int | None = None


def arguments(request: Request, *, dashed: bool = False) -> list[str]:
    """Return the options for ``request``; ``dashed`` takes the spelling of ``msit benchmark``.

    Raises:
        AscendError: If a value is outside what ais_bench takes, or a path cannot be passed.
    """
    if refusal := _why_not(request):
        raise AscendError(refusal)
    pairs = {
        "--model": str(request.model.absolute()),
        "--input": ",".join(str(path.absolute()) for path in request.inputs),
        "--output": str(request.output.absolute()),
        "--output_dirname": request.dirname,
        "--outfmt": "BIN",
        "--loop": str(request.loop),
        "--warmup_count": str(request.warmup),
        "--device": str(request.device),
        "--dymBatch": "" if request.gear is None else str(request.gear),
    }
    spelled = {_DASHED.get(name, name) if dashed else name: text for name, text in pairs.items()}
    return [part for name, text in spelled.items() if text for part in (name, text)]


def _why_not(request: Request) -> str | None:
    if not 0 <= request.device <= GREATEST_DEVICE:
        return f"device {request.device}: expected 0 to {GREATEST_DEVICE}"
    if request.loop < 1 or request.warmup < 0:
        return (
            f"{request.loop} runs after {request.warmup} for warming up: expected at least 1 and 0"
        )
    if request.gear is not None and request.gear < 1:
        return f"batch {request.gear}: expected at least 1"
    for path in request.inputs:
        if "," in str(path.absolute()):
            return f"inputs {path}: ais_bench separates inputs by commas; use a path without one"
    return None
