"""The Python interface of the stand-in; ``STANDIN_AIS_BENCH_GENERATION`` chooses its spelling.

``STANDIN_AIS_BENCH_NO_DESCRIPTION`` hides what the facts do not promise: ``get_inputs`` and
``get_outputs``.
"""

from __future__ import annotations

import os
from typing import Any

from .model import Array, Description, Model

MODES = {"2022": {"static", "dymshape", "dymdims"}, "2024": {"static", "dynbatch", "dynshape"}}


class InferSession:
    """A model on a device."""

    def __init__(self, device_id: int, model_path: str) -> None:
        """Load the model."""
        self._model = Model(device_id, model_path)
        generation = os.environ.get("STANDIN_AIS_BENCH_GENERATION", "2024")
        self._modes = MODES[generation]
        setattr(self, "sumary" if generation == "2022" else "summary", self._summary)
        if not os.environ.get("STANDIN_AIS_BENCH_NO_DESCRIPTION"):
            self.get_inputs = self._inputs
            self.get_outputs = self._model.outputs

    def infer(self, feeds: list[Array], mode: str = "static") -> list[Array]:
        """Compute the outputs."""
        if mode not in self._modes:
            msg = f"wrong infer_mode:{mode}"
            raise RuntimeError(msg)
        return self._model.run(feeds)

    def _inputs(self) -> list[Description]:
        return self._model.inputs()

    def _summary(self) -> Any:  # noqa: ANN401  whatever the real one gives
        return self._model.times_ms
