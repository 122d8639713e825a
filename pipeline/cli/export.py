"""``onnx-passes export``: a checked ONNX file from whatever a user has of a recogniser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.stages.networks import NETWORKS

if TYPE_CHECKING:
    from pipeline.sources import Fetched

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("out_path", metavar="OUT.onnx", type=_PATH)
@click.option(
    "--checkpoint",
    type=_PATH,
    metavar="FILE",
    help="Weights (.pdparams; .npz for a built-in network). Of starnet, the shipped ones unless "
    "told.",
)
@click.option(
    "--network",
    type=click.Choice(list(NETWORKS)),
    help="The built-in network that the checkpoint is of. Default: starnet.",
)
@click.option(
    "--inference",
    type=_PATH,
    metavar="DIR",
    help="Inference model of Paddle 3: the folder of inference.json and inference.pdiparams, or "
    "the prefix of such a pair.",
)
@click.option(
    "--paddleocr",
    type=_PATH,
    metavar="DIR",
    help="Checkout of PaddleOCR. Its tools/export_model.py is run; needs --config and "
    "--checkpoint.",
)
@click.option("--config", type=_PATH, metavar="CFG", help="Configuration of the network.")
@click.option(
    "--python",
    metavar="NAME",
    help="The Python that the checkout's requirements are installed in, if not this one.",
)
@click.option("--onnx", type=_PATH, metavar="FILE", help="An ONNX file, checked and taken over.")
@click.option(
    "--fold",
    type=click.Choice(["all", "inverse"]),
    default="all",
    show_default=True,
    help="What of the Paddle program becomes constants: all that depends on no input and no "
    "parameter, or matrix inverses only.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="S",
    help="Seconds that Paddle and its converter may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def export(out_path: Path, *, timeout_s: float, as_json: bool, **fields: Any) -> None:  # noqa: ANN401  the fields of Source
    """Write a recogniser as OUT.onnx, opset 16, and compare it with Paddle's own run.

    \b
    Example:
      onnx-passes export starnet.onnx
      onnx-passes export starnet.onnx --checkpoint best_accuracy.pdparams
      onnx-passes export rare.onnx --network rare_mobilenetv3 --checkpoint best_accuracy.pdparams
      onnx-passes export starnet.onnx --inference inference/rec_starnet
      onnx-passes export starnet.onnx --paddleocr PaddleOCR \\
        --config configs/rec/rec_mv3_tps_bilstm_ctc.yml --checkpoint best_accuracy
      onnx-passes export starnet.onnx --onnx opt_starnet.onnx

    The comparison runs both on drawn words. Nothing is written if they differ by more than
    rounding explains.

    Exit codes: 0 written; 1 the numbers differ or tell nothing; 2 bad usage or input; 3 Paddle,
    paddle2onnx or the checkout's tool failed; 4 an extra is missing.
    """
    from pipeline.cli.console import emit_json, progress
    from pipeline.cli.options import refuse_bad_target
    from pipeline.sources import Source, fetch

    refuse_bad_target(out_path)
    source = Source(**fields)
    with progress("export"):
        fetched = fetch(source, out_path, say=_say, timeout_s=timeout_s)
    if as_json:
        emit_json(_document(fetched))
    else:
        _show(fetched)


def _say(line: str) -> None:
    from pipeline.cli.console import err

    err.print(line, markup=False, soft_wrap=True)


def _document(fetched: Fetched) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(fetched)


def _show(fetched: Fetched) -> None:
    from pipeline.cli.console import out

    for line in _lines(fetched):
        out.print(line, markup=False, soft_wrap=True)


def _lines(fetched: Fetched) -> list[str]:
    lines = [f"{fetched.path}: opset {fetched.opset}, {fetched.nodes} nodes"]
    lines += [f"input: {value}" for value in fetched.inputs]
    lines += [f"output: {value}" for value in fetched.outputs]
    if fetched.operations is not None:
        shapes = [f"{one.operator} {one.dtype} {list(one.shape)}" for one in fetched.folded]
        before, after = fetched.operations
        detail = f": {'; '.join(shapes)}; {before} -> {after} operations" if shapes else ""
        lines.append(f"folded: {len(shapes)} values{detail}")
    lines += [f"repaired: {repair}" for repair in fetched.repairs]
    if (agreement := fetched.agreement) is None:
        lines.append("numbers: not compared; there is no Paddle model to compare with")
    else:
        lines.append(f"numbers: {agreement.told}")
    return lines
