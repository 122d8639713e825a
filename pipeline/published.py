"""Throughput that guides have published for the models of this family, with their source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError

_FILE = Path(__file__).parent / "data" / "published.json"


@dataclass(frozen=True)
class Published:
    """What a guide states; none of it was measured here.

    Attributes:
        name: How ``--published`` calls it.
        model: The model and its input.
        hardware: What it ran on.
        software: Versions of driver and CANN.
        certainty: How the figures are known.
        source: Where they stand.
        fps: Images a second by batch size.
    """

    name: str
    model: str
    hardware: str
    software: str
    certainty: str
    source: str
    fps: dict[int, float]


def published(name: str) -> Published:
    """Return the figures of a model.

    Raises:
        PipelineError: If there are none by that name; with the nearest one.
    """
    from onnx_passes.core.registry import did_you_mean

    models = json.loads(_FILE.read_text(encoding="utf-8"))["models"]
    if name not in models:
        near = did_you_mean(name, models)
        msg = f"no published figures for {name!r}{near}; there are {', '.join(models)}"
        raise PipelineError(msg)
    fields = dict(models[name])
    fps = {int(batch): float(value) for batch, value in fields.pop("fps").items()}
    return Published(name, fps=fps, **fields)
