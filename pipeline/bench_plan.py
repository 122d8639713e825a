"""What a bench measures: each model at each batch size, on a device or on the CPU."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.providers import find_provider
from pipeline.bench import Case
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ascend.ais_bench.runner import AisBench
    from pipeline.infer import DeviceTools
    from pipeline.ort_model import Array, OrtModel

    Measure = Callable[[], tuple[float, int | None]]

BATCHES = (1, 4, 8, 16, 32, 64)  # of an .onnx unless told: those of the published guide
DEVICE_LOOP = 100  # a choice: below a second a repeat for models of this family
CPU_LOOP = 10


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    Attributes:
        batches: Batch sizes; none for all compiled models there are, or `BATCHES`.
        loop: Runs in a measurement; None for `DEVICE_LOOP` or `CPU_LOOP`.
        warmup: Runs before them that do not count.
        device: Number of the device.
        gears: Whether an .om was compiled with several batches.
        threads: Threads of onnxruntime; None for one a core.
        timeout_s: Wall time for one run of ais_bench.
        provider: Where onnxruntime runs an ONNX model, see :mod:`eval.providers`.
    """

    batches: tuple[int, ...] = ()
    loop: int | None = None
    warmup: int = 1
    device: int = 0
    gears: bool = False
    threads: int | None = None
    timeout_s: float = 3600.0
    provider: str = "cpu"


def plan(models: Sequence[Path], settings: Settings, tools: DeviceTools) -> list[Case]:
    """Return what to measure: every model at every batch size.

    Raises:
        AscendError: If there is no compiled model for a batch size, or ais_bench is not there.
        PipelineError: If an ONNX model does not take a batch size.
    """
    compiled = [model for model in models if model.suffix == ".om"]
    chosen = [pair for model in compiled for pair in _compiled(model, settings)]
    cases = _device_cases(chosen, settings, tools) if chosen else []
    for model in models:
        if model.suffix != ".om":
            cases += _onnx_cases(model, settings)
    return cases


def _compiled(model: Path, settings: Settings) -> list[tuple[int | None, Path]]:
    from ascend.om_files import choose

    if settings.gears:
        if not settings.batches or not model.is_file():
            msg = f"{model}: a model with several batches must exist and needs --batch"
            raise PipelineError(msg)
        return [(batch, model) for batch in settings.batches]
    return list(choose(model, settings.batches).items())


def _device_cases(
    chosen: Sequence[tuple[int | None, Path]], settings: Settings, tools: DeviceTools
) -> list[Case]:
    from ascend.ais_bench.runner import find_ais_bench
    from pipeline.hardware import device_text
    from pipeline.infer import find_environment

    tool = find_ais_bench(tools.python, find_environment(tools.toolkit))
    hardware = device_text(settings.device, tool.environ)
    loop = settings.loop or DEVICE_LOOP
    return [
        Case(
            path.name,
            "ais_bench",
            hardware,
            batch,
            loop,
            _on_device(tool, path, batch, loop, settings),
        )
        for batch, path in chosen
    ]


def _on_device(
    tool: AisBench, path: Path, batch: int | None, loop: int, settings: Settings
) -> Measure:
    """Return what measures a compiled model once."""
    from ascend.ais_bench.runner import Job, measure

    job = Job(path, settings.device, batch, settings.gears, settings.timeout_s)

    def once() -> tuple[float, int | None]:
        figures = measure(tool, job, loop=loop, warmup=settings.warmup)
        told = None if settings.gears else figures.batch
        return figures.mean_ms or 0.0, int(told) if told else None

    return once


def _onnx_cases(path: Path, settings: Settings) -> list[Case]:
    from onnx_passes.core.model_io import load
    from onnx_passes.numerics.feeds import generate
    from pipeline.hardware import runtime_text
    from pipeline.ort_model import OrtModel

    provider = find_provider(settings.provider, settings.device)
    model = OrtModel(path, settings.threads, provider)
    batches = settings.batches or ((model.fixed_batch,) if model.fixed_batch else BATCHES)
    hardware, loop = runtime_text(provider, settings.threads), settings.loop or CPU_LOOP
    source = load(path)
    cases = []
    for batch in batches:
        if model.fixed_batch not in {None, batch}:
            msg = f"model {path} runs at batch {model.fixed_batch} only, not at {batch}"
            raise PipelineError(msg)
        shapes = {one.name: one.shape(batch) for one in model.inputs}
        feeds = generate(source, shapes=shapes)
        arrays = [feeds[one.name] for one in model.inputs]
        once = _here(model, arrays, batch, loop, settings.warmup)
        cases.append(Case(path.name, "onnxruntime", hardware, batch, loop, once, provider))
    return cases


def _here(model: OrtModel, arrays: Sequence[Array], batch: int, loop: int, warmup: int) -> Measure:
    """Return what measures an ONNX model once."""

    def once() -> tuple[float, int | None]:
        for _ in range(warmup):
            model.run(arrays)
        began = time.perf_counter()
        for _ in range(loop):
            model.run(arrays)
        return 1000 * (time.perf_counter() - began) / loop, batch

    return once
