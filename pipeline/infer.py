"""From a folder of ``img_<n>.bin`` to a folder of ``img_<n>_0.bin``, on a device or without one.

Both ways read the same files, form the same groups and write the same names, so that their results
can be compared and each can be scored. ``infer.json`` beside the results says how they were made::

    {"schema": "onnx-passes-infer/1", "model": "starnet_bs8.om", "backend": "ais_bench",
     "hardware": "310P3, device 0 of npu-smi", "on_device": true, "provider": null,
     "files": 300, "batch": 8, "result_bytes": {"0": 3700}, "mean_ms": 4.1, "fps": 1951.2}

``provider`` is onnxruntime's, null with ais_bench. ``batch`` is null if ais_bench does not tell the
sizes of the model; ``mean_ms`` is the mean time of a run as ais_bench or onnxruntime took it,
without reading and writing files.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ascend.ais_bench.files import Inputs
    from ascend.ais_bench.runner import Inference, Job
    from ascend.toolkit import Toolkit
    from eval.providers import Provider
    from pipeline.ort_model import Array, OrtModel

RECORD = "infer.json"
SCHEMA = "onnx-passes-infer/1"
DEFAULT_BATCH = 1  # of an .onnx that may run at any
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class DeviceTools:
    """Where ais_bench is: the Python that has it, and the toolkit whose environment it needs."""

    python: str = "python3"
    toolkit: Path | None = None


def find_environment(explicit: Path | None) -> Toolkit | None:
    """Return the toolkit; None if there is none, for a runtime may do without.

    Raises:
        MissingToolError: If the one that was named is not there.
    """
    from ascend.errors import MissingToolError
    from ascend.toolkit import find_toolkit

    try:
        return find_toolkit(explicit)
    except MissingToolError:
        if explicit is not None:
            raise
        return None


def infer_on_device(
    job: Job,
    folders: Sequence[Path],
    out: Path,
    tools: DeviceTools,
    on_line: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run a compiled model with ais_bench; return the record that is also written.

    Raises:
        AscendError: Of the class whose exit code tells what went wrong.
        EvalError: If the manifest beside the inputs cannot be read.
    """
    from ascend.ais_bench.runner import find_ais_bench, infer
    from ascend.fresh_folder import fresh_folder
    from pipeline.hardware import device_text

    _refuse_no_model(job.model)
    inputs = _inputs(folders)
    with fresh_folder(out, RECORD, (".bin",)) as fresh:
        tool = find_ais_bench(tools.python, find_environment(tools.toolkit))
        log = out.resolve().with_name(f"{out.resolve().name}.ais_bench.log")
        done = infer(tool, job, inputs, fresh, log, on_line)
        hardware = device_text(job.device, tool.environ)
        record = _record(job.model, None, hardware, done)
        _write_record(fresh, record)
    return record


def infer_with_onnxruntime(
    model_path: Path,
    folders: Sequence[Path],
    out: Path,
    *,
    batch: int | None = None,
    threads: int | None = None,
    provider: Provider | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run an ONNX model with onnxruntime; return the record that is also written.

    Args:
        model_path: The model.
        folders: Folders of .bin files, one for each input.
        out: The folder to write.
        batch: Files in a run, if the model does not fix it.
        threads: Threads within an operator; None for one a core.
        provider: Where it runs; None for the CPU.
        on_progress: Called with the files done and their total.

    Raises:
        PipelineError: If the model does not run.
        AscendError: If the files do not go into it, or ``out`` cannot be written.
        EvalError: If the manifest beside the inputs cannot be read.
    """
    from ascend.fresh_folder import fresh_folder
    from eval.providers import find_provider
    from pipeline.hardware import runtime_text
    from pipeline.ort_model import OrtModel

    provider = provider or find_provider()
    inputs = _inputs(folders)
    model = OrtModel(model_path, threads, provider)
    size = model.fixed_batch or batch or DEFAULT_BATCH
    items = inputs.items_per_run(model.input_bytes(size), batch, model_path.name)
    with fresh_folder(out, RECORD, (".bin",)) as fresh:
        done = _run_groups(model, inputs, items, fresh, on_progress)
        record = _record(model_path, provider, runtime_text(provider, threads), done)
        _write_record(fresh, record)
    return record


def _refuse_no_model(path: Path) -> None:
    if not path.is_file():
        msg = f"model {path} is not a file; 'onnx-passes compile' writes NAME_bs<N>.om"
        raise PipelineError(msg)


def _inputs(folders: Sequence[Path]) -> Inputs:
    """Return the files; those that the manifest beside them tells, if there is one."""
    from ascend.ais_bench.files import list_inputs
    from eval.manifest import read_manifest

    manifest = folders[0] / _MANIFEST
    if not manifest.is_file():
        return list_inputs(folders)
    good = read_manifest(manifest).good
    return list_inputs(folders, {f"img_{record.index}.bin" for record in good})


def _run_groups(
    model: OrtModel,
    inputs: Inputs,
    items: int,
    into: Path,
    on_progress: Callable[[int, int], None] | None,
) -> Inference:
    """Run the files in groups of ``items`` and write a result for each, as ais_bench does."""
    from ascend.ais_bench.figures import Figures
    from ascend.ais_bench.runner import Inference

    stems = inputs.stems
    times_ms: list[float] = []
    result_bytes: dict[int, int] = {}
    for start in range(0, len(stems), items):
        group = [files[start : start + items] for files in inputs.files]
        arrays = _arrays(model, group, items)
        began = time.perf_counter()
        outputs = model.run(arrays)
        times_ms.append(1000 * (time.perf_counter() - began))
        for number, output in enumerate(outputs):
            shares = _shares(output, items, model.outputs[number])
            result_bytes[number] = shares[0].nbytes
            for stem, share in zip(stems[start : start + items], shares, strict=False):
                (into / f"{stem}_{number}.bin").write_bytes(share.tobytes())
        if on_progress:
            on_progress(min(start + items, len(stems)), len(stems))
    mean = statistics.fmean(times_ms)
    figures = Figures(mean_ms=mean, throughput=1000 * items / mean)
    return Inference(len(stems), items, result_bytes, figures)


def _arrays(model: OrtModel, group: Sequence[tuple[Path, ...]], items: int) -> list[Array]:
    """Return the inputs of a run; a short group is filled up with its first file."""
    arrays = []
    for one, files in zip(model.inputs, group, strict=True):
        full = [*files, *files[:1] * (items - len(files))]
        content = b"".join(path.read_bytes() for path in full)
        flat = np.frombuffer(content, one.dtype.newbyteorder("<"))
        arrays.append(flat.reshape(-1, *one.item).astype(one.dtype, copy=False))
    return arrays


def _shares(output: Array, items: int, name: str) -> list[Array]:
    """Return the part of each file in an output."""
    if not output.shape or output.shape[0] % items:
        msg = (
            f"output {name!r} is {list(output.shape)} for {items} files; expected a first "
            "dimension that can be shared among them; give --batch 1"
        )
        raise PipelineError(msg)
    return np.split(output, items)


def _record(
    model: Path, provider: Provider | None, hardware: str, done: Inference
) -> dict[str, Any]:
    """Return the record; without a provider of onnxruntime it was ais_bench."""
    items, mean = done.items_per_run, done.figures.mean_ms
    return {
        "schema": SCHEMA,
        "model": model.name,
        "backend": "onnxruntime" if provider else "ais_bench",
        "hardware": hardware,
        "on_device": provider.on_device if provider else True,
        "provider": provider.full_name if provider else None,
        "files": done.files,
        "batch": items,
        "result_bytes": {str(number): size for number, size in done.result_bytes.items()},
        "mean_ms": mean,
        "fps": 1000 * items / mean if items and mean else None,
    }


def _write_record(folder: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")
