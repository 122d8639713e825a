"""``onnx-passes infer``: results for files, from a compiled model or from an ONNX model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.cli.console import Meter

    Decorated = Callable[..., Any]

_logger = logging.getLogger(__name__)
_PATH = click.Path(path_type=Path)


device_option = click.option(
    "--device",
    type=click.IntRange(0, 255),
    default=0,
    show_default=True,
    metavar="N",
    help="Number of the device.",
)


def device_options(command: Decorated) -> Decorated:
    """Add the options that say where ais_bench and the device are."""
    for option in (
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0, min_open=True),
            default=3600.0,
            show_default=True,
            metavar="S",
            help="Seconds that one run of ais_bench may take.",
        ),
        click.option(
            "--toolkit", type=_PATH, metavar="DIR", help="The CANN toolkit, if not where usual."
        ),
        click.option(
            "--python",
            default="python3",
            show_default=True,
            metavar="NAME",
            help="The Python that ais_bench is installed in.",
        ),
        click.option(
            "--gears",
            is_flag=True,
            help="The .om was compiled with several batches; --batch chooses (ais_bench "
            "--dymBatch).",
        ),
        device_option,
    ):
        command = option(command)
    return command


threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="Threads of onnxruntime for an .onnx (one a core unless told).",
)


provider_option = click.option(
    "--provider",
    type=click.Choice(["cpu", "cuda", "cann", "auto"]),
    default="cpu",
    show_default=True,
    help="Where onnxruntime runs an .onnx; auto is the first of cann, cuda and cpu that is "
    "installed. --device chooses the device.",
)


def refuse_other_kind(model: Path) -> None:
    """Refuse what is neither a compiled model nor an ONNX model."""
    if model.suffix not in {".om", ".onnx"}:
        msg = f"model {model}: expected an .om, for ais_bench, or an .onnx, for onnxruntime"
        raise click.UsageError(msg)


@click.command()
@click.argument("model", metavar="MODEL", type=_PATH)
@click.option(
    "--inputs",
    "folders",
    required=True,
    multiple=True,
    type=_PATH,
    metavar="DIR",
    help="Folder of .bin files, as 'eval preprocess' writes it. Once for each input of the model.",
)
@click.option(
    "--out",
    "out_dir",
    required=True,
    type=_PATH,
    metavar="DIR",
    help="Folder to write; an earlier result in it is replaced when the new one is complete.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    metavar="N",
    help="Files in a run. An .om or an .onnx with a fixed batch must agree; 1 unless told for an "
    ".onnx that may run at any.",
)
@device_options
@threads_option
@provider_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def infer(
    model: Path,
    folders: tuple[Path, ...],
    out_dir: Path,
    *,
    as_json: bool,
    **options: Any,  # noqa: ANN401  those above
) -> None:
    """Turn DIR/img_<n>.bin into OUT/img_<n>_0.bin, which 'eval score' reads.

    An .om runs on the device, with ais_bench. An .onnx runs with onnxruntime, through the same
    files: the same path without a device, and something to compare the device with.

    \b
    Example:
      onnx-passes eval preprocess --data evaluation --out bin_data
      onnx-passes infer starnet_bs8.om --inputs bin_data --out results/bs8
      onnx-passes eval score --results results/bs8 --manifest bin_data/manifest.json

    Every result must be there with its size, or nothing is written. OUT/infer.json says how the
    results were made.

    Exit codes: 0 written; 2 bad usage or input; 3 ais_bench failed; 4 ais_bench or the provider
    of onnxruntime is missing.
    """
    from pipeline.cli.console import emit_json, progress

    refuse_other_kind(model)
    run = _on_device if model.suffix == ".om" else _with_onnxruntime
    with progress("infer") as meter:
        record = run(model, folders, out_dir, meter, options)
    if as_json:
        emit_json({"out": str(out_dir), **record})
    else:
        _show(record, out_dir)


def _on_device(
    model: Path, folders: tuple[Path, ...], out_dir: Path, _: Meter, options: dict[str, Any]
) -> dict[str, Any]:
    from ascend.ais_bench.runner import Job
    from pipeline.infer import DeviceTools, infer_on_device

    chosen = {name: options[name] for name in ("device", "batch", "gears", "timeout_s")}
    tools = DeviceTools(options["python"], options["toolkit"])
    return infer_on_device(Job(model, **chosen), folders, out_dir, tools, _log)


def _with_onnxruntime(
    model: Path, folders: tuple[Path, ...], out_dir: Path, meter: Meter, options: dict[str, Any]
) -> dict[str, Any]:
    from eval.providers import find_provider
    from pipeline.infer import infer_with_onnxruntime

    return infer_with_onnxruntime(
        model,
        folders,
        out_dir,
        batch=options["batch"],
        threads=options["threads"],
        provider=find_provider(options["provider"], options["device"]),
        on_progress=meter.update,
    )


def _log(line: str) -> None:
    _logger.info("%s", line)


def _show(record: dict[str, Any], out_dir: Path) -> None:
    from pipeline.cli.console import out

    sizes = record["result_bytes"].values()
    files = f"{record['files']} results in {out_dir}"
    each = f"{' and '.join(map(str, sizes))} bytes each"
    batch = "" if record["batch"] is None else f" at batch {record['batch']}"
    out.print(f"{files}, {each}", markup=False, soft_wrap=True)
    if record["mean_ms"] is not None:
        speed = "" if record["fps"] is None else f", {record['fps']:.1f} images/s"
        out.print(f"{record['mean_ms']:.3f} ms a run{batch}{speed}", markup=False)
    out.print(f"on: {record['hardware']}", markup=False, soft_wrap=True)
