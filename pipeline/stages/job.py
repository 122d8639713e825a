"""One run of the flow: what was asked for, and where everything is."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import FlowError
from pipeline.stages.origin import exported, refuse_confusion, refuse_to_overwrite, repaired

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from ascend.toolkit import Toolkit
    from eval.providers import Provider
    from pipeline.infer import DeviceTools
    from pipeline.sources import Source
    from pipeline.stages.recipe import Recipe
    from pipeline.stages.state import State

Backend = Literal["onnxruntime", "ascend"]
CPU_BATCH = 32  # of onnxruntime unless told; more do not make it faster
REFERENCE = "original"  # the folder of what the exported model reads


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user asks for.

    Attributes:
        work: Folder for everything the run writes.
        model: An .onnx in place of the recipe's network.
        data: Folder of LMDB data sets, zip or label file; None renders the recipe's words.
        weights: Checkpoint; None takes the one that ships with the network.
        inference: An inference model of Paddle 3 in place of the recipe's network.
        paddleocr: A checkout of PaddleOCR in its place; needs a config and weights.
        config: The checkout's configuration of the network.
        paddle_python: The Python that the checkout's requirements are installed in.
        backend: What runs the models: ``onnxruntime``, or ``ascend`` (ATC and ais_bench).
        batches: Batch sizes; none for the recipe's on a device, or one on the CPU.
        soc: The chip; None for the recipe's.
        toolkit: The CANN toolkit, if not where usual.
        python: The Python that ais_bench is installed in.
        device: Number of the device.
        timeout_s: What one run of ATC or ais_bench may take.
        provider: Where onnxruntime runs the rewritten model, see :mod:`eval.providers`; the
            original always runs on the CPU.
        workers: Lanes that prepare records; None for one a core.
        strict: End where a record is bad.
    """

    work: Path
    model: Path | None = None
    data: Path | None = None
    weights: Path | None = None
    inference: Path | None = None
    paddleocr: Path | None = None
    config: Path | None = None
    paddle_python: str | None = None
    backend: Backend = "onnxruntime"
    batches: tuple[int, ...] = ()
    soc: str | None = None
    toolkit: Path | None = None
    python: str = "python3"
    device: int = 0
    timeout_s: float = 3600.0
    provider: str = "cpu"
    workers: int | None = None
    strict: bool = False


class Job:
    """A recipe with its settings, its paths and what its stages have found so far.

    Attributes:
        recipe: The recipe.
        settings: The settings.
        states: What the finished stages left, by stage.
    """

    def __init__(self, recipe: Recipe, settings: Settings) -> None:
        """Put the two together.

        Raises:
            FlowError: If they do not go together.
            PipelineError: If the source of the model is not whole.
            ModelError: If the given model cannot be read.
        """
        self.recipe, self.settings = recipe, settings
        self.states: dict[str, State] = {}
        refuse_confusion(recipe, settings)
        refuse_to_overwrite(self)
        if self.on_device and settings.provider != "cpu":
            msg = "--provider is for --backend onnxruntime; ais_bench runs on the device anyway"
            raise FlowError(msg)

    def result(self, stage: str) -> dict[str, Any]:
        """Return what a finished stage found; nothing if it is not finished."""
        return self.states[stage].result if stage in self.states else {}

    @property
    def work(self) -> Path:
        """The folder for everything."""
        return self.settings.work

    @property
    def on_device(self) -> bool:
        """Whether the models run on a device."""
        return self.settings.backend == "ascend"

    @functools.cached_property
    def source(self) -> Source | None:
        """What is exported or repaired; None if a given model is taken as it is.

        Raises:
            ModelError: If a given model cannot be read.
            PipelineError: If it needs a repair and cannot have it.
        """
        if self.settings.model and self.given:
            return repaired(self.settings.model, self.given)
        return exported(self.recipe, self.settings)

    @property
    def original(self) -> Path:
        """The model that everything is compared with."""
        exported = self.work / f"{self.recipe.name}.onnx"
        return exported if self.source else self.settings.model or exported

    @property
    def simplified(self) -> Path:
        """What optimize starts from."""
        if not self.recipe.simplify:
            return self.original
        return self.work / f"{self.recipe.name}_simplified.onnx"

    @property
    def optimized(self) -> Path:
        """The rewritten model."""
        return self.work / f"{self.recipe.name}_ascend.onnx"

    @property
    def feeds(self) -> Path:
        """The images that the passes are checked on."""
        return self.work / "feeds.npz"

    @property
    def inputs(self) -> Path:
        """The preprocessed records."""
        return self.work / "bin"

    @property
    def manifest(self) -> Path:
        """What the files in `inputs` are."""
        return self.inputs / "manifest.json"

    @property
    def data(self) -> Path | None:
        """The records; None if none are given and none are rendered."""
        rendered = self.work / "data" if self.recipe.words else None
        return self.settings.data or rendered

    @property
    def why_no_data(self) -> str:
        """Why no text is read, or an empty string."""
        return "" if self.data else "no --data are given, and the recipe renders no words"

    @functools.cached_property
    def given(self) -> ir.Model | None:
        """The model that was given.

        Raises:
            ModelError: If it cannot be read.
        """
        from onnx_passes.core.model_io import load

        return load(self.settings.model) if self.settings.model else None

    @functools.cached_property
    def fixed_batch(self) -> int | None:
        """The batch size that a given model fixes."""
        from onnx_passes.numerics.feeds import graph_inputs

        values = graph_inputs(self.given) if self.given else []
        first = values[0].shape[0] if values and values[0].shape else None
        return first if isinstance(first, int) else None

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes to run at."""
        if self.settings.batches or self.fixed_batch:
            return self.settings.batches or (self.fixed_batch or 1,)
        return self.recipe.batches if self.on_device else (CPU_BATCH,)

    @property
    def reference_batch(self) -> int:
        """The batch size of the original, on the CPU."""
        return self.fixed_batch or (CPU_BATCH if self.on_device else self.batches[0])

    @property
    def soc(self) -> str:
        """The chip."""
        return self.settings.soc or self.recipe.soc

    @functools.cached_property
    def toolkit(self) -> Toolkit | None:
        """The toolkit; None without a device or without one here."""
        from ascend.errors import AscendError
        from ascend.toolkit import find_toolkit

        try:
            return find_toolkit(self.settings.toolkit) if self.on_device else None
        except AscendError:
            return None

    @property
    def cann(self) -> str:
        """The version of CANN that is here, or that the recipe names."""
        return (self.toolkit.version if self.toolkit else None) or self.recipe.cann

    @property
    def tools(self) -> DeviceTools:
        """Where ais_bench is."""
        from pipeline.infer import DeviceTools

        return DeviceTools(self.settings.python, self.settings.toolkit)

    @functools.cached_property
    def provider(self) -> Provider:
        """Where onnxruntime runs the rewritten model.

        Raises:
            MissingProviderError: If this onnxruntime does not have it.
        """
        from eval.providers import find_provider

        return find_provider(self.settings.provider, self.settings.device)

    @functools.cached_property
    def cpu(self) -> str:
        """The processor, in words that stay with a figure."""
        from pipeline.hardware import cpu_text

        return cpu_text(None)

    @functools.cached_property
    def hardware(self) -> str:
        """What the models run on, in words that stay with a figure."""
        from ascend.errors import AscendError
        from pipeline.hardware import device_text, runtime_text

        if not self.on_device:
            return runtime_text(self.provider, None)
        try:
            environment = self.toolkit.environment() if self.toolkit else {}
        except AscendError:
            environment = {}
        return device_text(self.settings.device, _over_ours(environment))

    def compiled(self, batch: int) -> Path:
        """Return the compiled model of a batch size, under the name that ATC gave it."""
        names: dict[str, str] = self.result("compile").get("files", {})
        return self.work / names.get(str(batch), f"{self.optimized.stem}_bs{batch}.om")

    def model_at(self, batch: int) -> Path:
        """Return what runs at a batch size: the compiled model or the ONNX model."""
        return self.compiled(batch) if self.on_device else self.optimized

    def runs(self) -> list[str]:
        """Return the names of what is inferred and scored: the original, then each batch size."""
        return [REFERENCE, *(f"bs{batch}" for batch in self.batches)]


def _over_ours(environment: dict[str, str]) -> dict[str, str]:
    import os

    return {**os.environ, **environment}
