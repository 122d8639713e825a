"""Write a network as ONNX: Paddle saves its program, paddle2onnx converts it, this module checks.

paddle2onnx ends its process when it meets an operator it cannot convert, without naming it. It
therefore runs in a child process, which first compares the program with the converter's list.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx_passes.core import model_io
from pipeline import paddle2onnx_child
from pipeline.errors import ExportError, MissingExtraError, PipelineError
from pipeline.paddle2onnx_child import OPSET, UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

INPUT_NAME = "x"
BATCH_SYMBOL = "N"
TIMEOUT_S = 300.0  # a hundred times what StarNet takes on two cores
SHOWN_LINES = 5  # of the converter's own output, on failure
# By path: the child needs no other module of this package, nor its folder on the search path.
_START = "import runpy, sys; runpy.run_path(sys.argv[1])['main'](*sys.argv[2:])"


def export_starnet(
    out_path: Path, weights: Path | None = None, *, timeout_s: float = TIMEOUT_S
) -> Path:
    """Write the network whose weights ship, StarNet MobileNetV3; see ``export_network``."""
    return export_network(out_path, weights, timeout_s=timeout_s)


def export_network(
    out_path: Path,
    weights: Path | None = None,
    network: str = "starnet",
    *,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Write a network: ``x`` float32 [N, 3, 32, 100] -> ``fetch_name_0`` float32 [N, 25, classes].

    Args:
        out_path: The ONNX file; its folder must exist.
        weights: A ``.pdparams`` or ``.npz`` file; None takes weights that are made up but alive.
        network: Which, by its name in ``DESIGNS``; 37 classes with CTC, 38 with attention.
        timeout_s: How long the conversion may take.

    Returns:
        ``out_path``.

    Raises:
        WeightsError: If ``weights`` cannot be read or does not fit.
        ExportError: If the conversion fails.
        PipelineError: If the folder of ``out_path`` does not exist.
        MissingExtraError: If Paddle or paddle2onnx is not installed.
    """
    check_before_work(out_path)
    from pipeline.models.framework import paddle
    from pipeline.models.recogniser import DESIGNS, INPUT_SHAPE
    from pipeline.models.weights import build_network

    with paddle.utils.unique_name.guard():  # names in the file: the same for every export
        model = build_network(weights, DESIGNS[network])
        return export_layer(model, out_path, INPUT_SHAPE, timeout_s=timeout_s)


def export_layer(
    layer: Any,  # noqa: ANN401  a paddle.nn.Layer; Paddle is imported lazily
    out_path: Path,
    item_shape: Sequence[int],
    *,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Write a Paddle layer with one input and one output; both get the batch dimension ``N``.

    Args:
        layer: A ``paddle.nn.Layer``, put into eval mode.
        out_path: The ONNX file; its folder must exist.
        item_shape: The input's shape without the batch.
        timeout_s: How long the conversion may take.

    Returns:
        ``out_path``.

    Raises:
        ExportError: If the conversion fails; the message names unsupported operators.
        PipelineError: If the folder of ``out_path`` does not exist.
        MissingExtraError: If paddle2onnx is not installed.
    """
    check_before_work(out_path)
    with tempfile.TemporaryDirectory(prefix="onnx-passes-export-") as folder:
        converted = Path(folder, "converted.onnx")
        save_program(layer, Path(folder, "inference"), item_shape)
        _convert(Path(folder), converted.name, timeout_s)
        model_io.save(finished(converted), out_path)
    return out_path


def check_before_work(out_path: Path) -> None:
    """Refuse a missing extra and a missing folder."""
    for module in ("paddle", "paddle2onnx"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module=module, extra="paddle")
    if not out_path.parent.is_dir():
        msg = f"cannot write {out_path}: the folder {out_path.parent} does not exist; create it"
        raise PipelineError(msg)


def save_program(layer: Any, stem: Path, item_shape: Sequence[int]) -> None:  # noqa: ANN401  see above
    """Write ``<stem>.json`` and ``<stem>.pdiparams``."""
    from pipeline.models.framework import paddle

    layer.eval()
    spec = paddle.static.InputSpec([None, *item_shape], "float32", name=INPUT_NAME)
    try:
        paddle.jit.save(layer, str(stem), input_spec=[spec])
    except Exception as error:
        msg = f"Paddle cannot save {type(layer).__name__} as a static program: {_last_line(error)}"
        raise ExportError(msg) from error


def _convert(folder: Path, target: str, timeout_s: float) -> None:
    """Run paddle2onnx in ``folder`` and make every way to fail one line."""
    files = [paddle2onnx_child.__file__, "inference.json", "inference.pdiparams", target]
    try:
        child = subprocess.run(  # noqa: S603, RUF100  our own interpreter and module
            [sys.executable, "-c", _START, *files],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"paddle2onnx did not finish within {timeout_s:g} s and was stopped"
        raise ExportError(msg) from error
    if child.returncode != 0 or not (folder / target).is_file():
        raise ExportError(failure(child.returncode, child.stdout + child.stderr))


def failure(code: int, output: str) -> str:
    """Return one line on a conversion that ended with ``code`` after saying ``output``."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line.removeprefix(UNSUPPORTED) for line in lines if line.startswith(UNSUPPORTED)]
    if named and code == -signal.SIGABRT:
        return (
            f"paddle2onnx cannot convert the Paddle operator(s) {named[0].strip()}; "
            "compute them before the export, or write the layer without them"
        )
    end = f"signal {-code}" if code < 0 else f"exit {code}"
    return f"paddle2onnx failed ({end}): {' | '.join(lines[-SHOWN_LINES:])}"


def finished(converted: Path) -> ir.Model:
    """Give input and output one batch dimension, infer the shapes between them, and check."""
    import onnx
    import onnx_ir as ir

    try:
        model = onnx.load(converted)
        for value in (*model.graph.input, *model.graph.output):  # each has a name of its own
            batch = value.type.tensor_type.shape.dim[0]
            if not batch.dim_value:
                batch.dim_param = BATCH_SYMBOL
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, checker and shape inference share no base class
        msg = f"paddle2onnx wrote an invalid model: {_first_line(error)}"
        raise ExportError(msg) from error
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found != {"": OPSET}:
        msg = f"paddle2onnx wrote the operator sets {found}, expected opset {OPSET} alone"
        raise ExportError(msg)
    return ir.from_proto(model)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
