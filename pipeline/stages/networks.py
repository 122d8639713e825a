"""The networks that a recipe may name: how each is exported, and the weights that ship with it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_DATA = Path(__file__).resolve().parents[1] / "data"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that Paddle can build.

    Attributes:
        export: Writes it as ONNX: takes the target and a checkpoint.
        weights: The checkpoint that ships; the official ones are not ours to ship.
        input_name: Its input, float32 [N, 3, 32, 100].
    """

    export: Callable[[Path, Path], object]
    weights: Path
    input_name: str


def _export_starnet(target: Path, weights: Path) -> None:
    from pipeline import export

    export.export_starnet(target, weights)


NETWORKS = {
    "starnet": Network(_export_starnet, _DATA / "starnet_words.npz", "x"),
}
