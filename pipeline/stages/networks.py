"""The networks that a recipe may name, and the weights that ship with one of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from onnx_passes.core.registry import did_you_mean
from pipeline.errors import PipelineError

SHIPPED_WEIGHTS = Path(__file__).resolve().parents[1] / "data" / "starnet_words.npz"


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that Paddle can build.

    Attributes:
        name: Its name in ``pipeline.models.recogniser.DESIGNS``.
        head: What reads the columns, in words.
        classes: Of its output, float32 [N, 25, classes]; they tell the decoder.
        weights: The checkpoint that ships, if one does; the official ones are not ours to ship.
    """

    name: str
    head: str
    classes: int
    weights: Path | None = None

    def weights_or(self, given: Path | None) -> Path:
        """Return the given checkpoint or the one that ships.

        Raises:
            PipelineError: If there is neither.
        """
        found = given or self.weights
        if found is None:
            msg = (
                f"no weights of {self.name} ship with this project, and random ones read nothing: "
                "give a checkpoint with --checkpoint FILE.pdparams (or .npz), or an exported model"
            )
            raise PipelineError(msg)
        return found


NETWORKS = {
    network.name: network
    for network in (
        Network("starnet", "CTC", 37, SHIPPED_WEIGHTS),
        Network("starnet_resnet34", "CTC", 37),
        Network("rare_mobilenetv3", "attention", 38),
        Network("rare_resnet34_vd", "attention", 38),
    )
}


def find_network(name: str) -> Network:
    """Return a network by its name.

    Raises:
        PipelineError: If there is none; with the nearest name.
    """
    if name not in NETWORKS:
        near = did_you_mean(name, NETWORKS) or f"; there are {', '.join(NETWORKS)}"
        msg = f"no network {name!r}{near}"
        raise PipelineError(msg)
    return NETWORKS[name]
