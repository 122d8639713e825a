"""A model in onnxruntime, on the CPU or where a provider takes it, at any batch.

``eval.backends`` runs recognisers of one interface at onnxruntime's own number of threads; this
runs whatever ais_bench would run, on the same files, at a number of threads that is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.providers import Provider
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    Array = np.ndarray[Any, Any]

_DTYPES = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Input:
    """An input; its first dimension is the batch, None if it may be any."""

    name: str
    dtype: np.dtype[Any]
    batch: int | None
    item: tuple[int, ...]

    def shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape at a batch size."""
        return (batch, *self.item)


class OrtModel:
    """A session on a model whose inputs are open in the first dimension at most.

    Attributes:
        inputs: Its inputs.
        fixed_batch: The batch that the model fixes; None if it may be any.
    """

    def __init__(
        self,
        path: Path,
        threads: int | None = None,
        provider: Provider = Provider(),  # noqa: B008  it cannot change
    ) -> None:
        """Load the model.

        Args:
            path: The ONNX file.
            threads: Threads within an operator; None for onnxruntime's choice, one a core.
            provider: Where it runs.

        Raises:
            PipelineError: If onnxruntime does not take it, or another dimension is open.
            ModelError: If the file is no model.
            MissingProviderError: If the provider does not start.
        """
        import onnxruntime as ort

        from onnx_passes.core.model_io import load
        from onnx_passes.numerics.runner import first_line

        load(path)  # refuses what is no model, or reaches outside its folder, in one line
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(str(path), options, providers=provider.entries)
        except Exception as error:  # the runtime's errors share no base class
            msg = f"onnxruntime cannot load {path}: {first_line(error)}"
            raise PipelineError(msg) from error
        provider.refuse_fallback(self._session)
        self._path = path
        self.outputs = [value.name for value in self._session.get_outputs()]
        self.inputs = [_input(value, path) for value in self._session.get_inputs()]
        fixed = {one.batch for one in self.inputs} - {None}
        if len(fixed) > 1:
            msg = f"model {path} fixes its inputs at several batches: {sorted(map(str, fixed))}"
            raise PipelineError(msg)
        self.fixed_batch = next(iter(fixed), None)

    def input_bytes(self, batch: int) -> list[int]:
        """Return the size of each input at a batch size."""
        return [math.prod(one.shape(batch)) * one.dtype.itemsize for one in self.inputs]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the outputs.

        Raises:
            PipelineError: If onnxruntime fails.
        """
        from onnx_passes.numerics.runner import first_line

        feeds = {one.name: array for one, array in zip(self.inputs, arrays, strict=True)}
        try:
            return [np.asarray(output) for output in self._session.run(None, feeds)]
        except Exception as error:  # see above
            msg = f"onnxruntime cannot run {self._path}: {first_line(error)}"
            raise PipelineError(msg) from error


def _input(value: Any, path: Path) -> Input:  # noqa: ANN401  onnxruntime has no types
    """Return an input of a session, or refuse it."""
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    try:
        dtype = np.dtype(_DTYPES.get(kind, kind))
    except TypeError:
        msg = f"model {path}: input {value.name!r} is {value.type}, which has no .bin form"
        raise PipelineError(msg) from None
    batch, *item = value.shape or [None]
    if not value.shape or not all(isinstance(dim, int) for dim in item):
        msg = (
            f"model {path}: input {value.name!r} has the shape {value.shape}; expected only the "
            "batch, its first dimension, to be open; fix the others with the pass pin-shape"
        )
        raise PipelineError(msg)
    return Input(value.name, dtype, batch if isinstance(batch, int) else None, tuple(item))
