"""``python -m ais_bench``: the behaviour of the facts on a stand-in .om, with real arithmetic.

``STANDIN_AIS_BENCH_GENERATION``: 2022 (``sumary.json`` inside the folder, the old line) or 2024.
``STANDIN_AIS_BENCH_FAIL``: load-model, open-device, crash, hang, partial, short, disk-full, mute,
exit, swallow.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import parse
from .infer.model import AclError, Array, Description, Model, fail

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    Group = list[list[Path]]  # the files of each input

GENERATION = os.environ.get("STANDIN_AIS_BENCH_GENERATION", "2024")
FAIL = os.environ.get("STANDIN_AIS_BENCH_FAIL", "")
ENDINGS = (".npy", ".NPY", ".bin", ".BIN")


def say(line: str) -> None:
    print(f"[INFO] {line}", flush=True)  # noqa: T201  it is a program


def main() -> None:
    options = parse(sys.argv[1:])
    model = Model(options.device, options.model)
    say(f"load model {options.model} success")
    if (options.dymBatch or 0) not in (model.gears or [0]):
        fail(f"dymBatch {options.dymBatch} is none of {model.gears}", "[1][ACL: dynamic batch]")
    folder = _folder(options)
    inputs = model.inputs(options.dymBatch)
    model.run([np.zeros(one.shape, one.datatype) for one in inputs])
    if FAIL == "hang":
        while True:
            signal.pause()
    if FAIL == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if options.input:
        try:
            _infer(model, inputs, options, folder)
        except AclError:
            if FAIL != "swallow":  # an error that is printed and ends with status 0
                raise
            return
    else:
        _pure(model, inputs, options)
    if FAIL == "exit":
        sys.exit(9)
    _report(model.times_ms, options.batchsize or inputs[0].shape[0], folder)


def _folder(options: argparse.Namespace) -> Path | None:
    if not options.output:
        return None
    name = options.output_dirname or time.strftime("%Y_%m_%d-%H_%M_%S")
    folder = Path(options.output, name)
    folder.mkdir(exist_ok=True)
    return folder


def _pure(model: Model, inputs: list[Description], options: argparse.Namespace) -> None:
    zeros = [np.zeros(one.shape, one.datatype) for one in inputs]
    model.times_ms.clear()
    for _ in range(options.loop):
        model.run(zeros)


def _infer(
    model: Model, inputs: list[Description], options: argparse.Namespace, folder: Path | None
) -> None:
    groups = list(_groups(inputs, options.input))
    for _ in range(options.warmup_count):
        model.run(_arrays(inputs, groups[0]))
    model.times_ms.clear()
    if FAIL == "partial":
        groups = groups[: len(groups) // 2]
    for group in groups:
        arrays = _arrays(inputs, group)
        for _ in range(options.loop):
            outputs = model.run(arrays)
        if folder is not None:
            _write(folder, group[0], outputs)


def _groups(inputs: list[Description], text: str) -> Iterator[Group]:
    """Yield the files of each run, for each input."""
    lists = [_files(Path(part)) for part in text.split(",")]
    if len(lists) != len(inputs):
        fail(f"input count:{len(lists)} not match {len(inputs)}", "[1][ACL: invalid input]")
    tensor, file = inputs[0].realsize, lists[0][0].stat().st_size
    if not file or tensor % file:
        fail(f"arg0 tensorsize: {tensor} filesize: {file} not match", "[1][ACL: invalid input]")
    step = tensor // file
    for start in range(0, len(lists[0]), step):
        group = [files[start : start + step] for files in lists]
        yield [files + files[:1] * (step - len(files)) for files in group]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [file for file in path.iterdir() if file.name.endswith(ENDINGS)]
    return sorted(found, key=lambda file: _natural(file.name))


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _arrays(inputs: list[Description], group: Group) -> list[Array]:
    arrays = []
    for one, files in zip(inputs, group, strict=True):
        content = b"".join(file.read_bytes() for file in files)
        if len(content) != one.realsize:
            fail(f"ndata size:{len(content)} not match {one.realsize}", "[1][ACL: invalid data]")
        arrays.append(np.frombuffer(content, one.datatype).reshape(one.shape))
    return arrays


def _write(folder: Path, files: list[Path], outputs: list[Array]) -> None:
    """Write each file's share of the outputs; padding, which repeats the first file, is not."""
    real = [file for place, file in enumerate(files) if place == 0 or file != files[0]]
    for number, output in enumerate(outputs):
        shares = np.split(output, len(files))
        for file, share in zip(real, shares, strict=False):
            if FAIL == "disk-full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            content = share.tobytes()
            name = f"{file.name.split('.', 1)[0]}_{number}.bin"
            (folder / name).write_bytes(content[:-4] if FAIL == "short" else content)


def _report(times: list[float], batch: int, folder: Path | None) -> None:
    figures = {
        "min": min(times),
        "max": max(times),
        "mean": float(np.mean(times)),
        "median": float(np.median(times)),
        "percentile(99%)": float(np.percentile(times, 99)),
    }
    throughput = 1000 * batch / figures["mean"]
    if FAIL == "mute":
        return
    say("-----------------Performance Summary------------------")
    parts = ", ".join(f"{name} = {value}" for name, value in figures.items())
    say(f"NPU_compute_time (ms): {parts}")
    shape = f"({batch})" if GENERATION == "2022" else f".mean({batch})"
    mean = figures["mean"]
    say(f"throughput 1000*batchsize{shape}/NPU_compute_time.mean({mean}): {throughput}")
    if folder is None:
        return
    summary = {
        "filesinfo": {},
        "NPU_compute_time": figures,
        "H2D_latency": {},
        "D2H_latency": {},
        "throughput": throughput,
        "npu_compute_time_list": times,
    }
    old = GENERATION == "2022"
    place = folder / "sumary.json" if old else folder.with_name(f"{folder.name}_summary.json")
    place.write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
