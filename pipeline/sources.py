"""Where a recogniser comes from, and the one function that makes a checked ONNX file of it.

=====================  =================================================================
what a user has        what is done
=====================  =================================================================
a checkpoint, nothing  a built-in network with these, or the shipped, weights; exported
an inference model     exported
a PaddleOCR checkout   its own export first, then as an inference model
an ONNX file           checked; what guides leave behind is repaired
=====================  =================================================================
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from pipeline.stages.networks import find_network

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from pipeline.agreement import Agreement
    from pipeline.inference_model import Fold, Folded

DEFAULT = "starnet"


@dataclasses.dataclass(frozen=True)
class Source:
    """What a user has. At most one of ``inference``, ``paddleocr`` and ``onnx``.

    Attributes:
        checkpoint: Weights: of the built-in network (``.pdparams``, ``.npz``; None: the shipped
            ones, if some ship), or of the network that ``config`` describes.
        network: The built-in network; None for StarNet MobileNetV3.
        inference: Folder or prefix of ``inference.json`` and ``inference.pdiparams``.
        paddleocr: Checkout of PaddleOCR; needs ``config`` and ``checkpoint``.
        config: Its configuration of the network.
        python: The interpreter to run the checkout with; None for ours.
        onnx: An ONNX file.
        fold: Which constants of the Paddle program are computed before the conversion.

    Raises:
        PipelineError: If the fields do not go together.
    """

    checkpoint: Path | None = None
    network: str | None = None
    inference: Path | None = None
    paddleocr: Path | None = None
    config: Path | None = None
    python: str | None = None
    onnx: Path | None = None
    fold: Fold = "all"

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        given = [name for name in ("inference", "paddleocr", "onnx") if getattr(self, name)]
        if self.checkpoint and not self.paddleocr:
            given.append("checkpoint")
        if len(given) > 1:
            msg = f"a recogniser has one source, got {' and '.join(given)}; give one of them"
            raise PipelineError(msg)
        if self.paddleocr and not (self.config and self.checkpoint):
            msg = "a PaddleOCR checkout needs its config and a checkpoint; give both"
            raise PipelineError(msg)
        if not self.paddleocr and (self.config or self.python):
            msg = "config and python belong to a PaddleOCR checkout; give paddleocr too"
            raise PipelineError(msg)
        if self.network and (self.inference or self.paddleocr or self.onnx):
            msg = "network names a built-in network, which takes a checkpoint and nothing else"
            raise PipelineError(msg)
        if not (self.inference or self.paddleocr or self.onnx):
            find_network(self.network or DEFAULT).weights_or(self.checkpoint)


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What was written, and why it can be trusted.

    Attributes:
        path: The ONNX file.
        opset: Of its default domain.
        nodes: Nodes of its graph.
        inputs: Name, dtype and shape of each input, in words.
        outputs: The same of the outputs.
        folded: Constants of the Paddle program that replaced computations.
        operations: Operations of that program before and after; None for an ONNX file.
        agreement: The ONNX model against Paddle's own run; None for an ONNX file.
        repairs: What had to be done to an ONNX file.
    """

    path: Path
    opset: int
    nodes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    folded: tuple[Folded, ...] = ()
    operations: tuple[int, int] | None = None
    agreement: Agreement | None = None
    repairs: tuple[str, ...] = ()


def fetch(
    source: Source,
    out_path: Path,
    *,
    say: Callable[[str], None] = lambda _text: None,
    timeout_s: float = 300.0,
) -> Fetched:
    """Write the recogniser as one checked ONNX file.

    Args:
        source: What there is.
        out_path: The ONNX file; its folder must exist. Nothing is written on failure.
        say: Gets a line on each step that takes long.
        timeout_s: How long Paddle and its converter may take; a checkout may take twice that.

    Raises:
        PipelineError: If the source cannot be used (WeightsError: the weights).
        ExportError: If Paddle, paddle2onnx or the checkout's tool fails.
        CheckError: If the ONNX model computes something else than Paddle.
        MissingExtraError: If Paddle or paddle2onnx is not installed.
        ModelError: If an ONNX file is no model, or does not run.
    """
    from onnx_passes.core import model_io
    from pipeline.export import check_before_work

    if source.onnx is not None:
        from pipeline.onnx_source import read_onnx

        model, repairs = read_onnx(source.onnx)
        model_io.save(model, out_path)
        return dataclasses.replace(_described(model, out_path), repairs=tuple(repairs))
    check_before_work(out_path)
    with tempfile.TemporaryDirectory(prefix="onnx-passes-source-") as name:
        from pipeline.inference_files import find
        from pipeline.inference_model import export_inference

        inference = find(_inference(source, Path(name), say, timeout_s))
        say("Paddle runs the inference model, then paddle2onnx converts it")
        exported = export_inference(inference, fold=source.fold, timeout_s=timeout_s)
    model_io.save(exported.model, out_path)
    return dataclasses.replace(
        _described(exported.model, out_path),
        folded=exported.folded,
        operations=exported.operations,
        agreement=exported.agreement,
    )


def _inference(source: Source, folder: Path, say: Callable[[str], None], timeout_s: float) -> Path:
    """Return where the inference model is, after making one in ``folder`` where there is none."""
    if source.inference is not None:
        return source.inference
    if source.paddleocr is not None and source.config and source.checkpoint:
        from pipeline.paddleocr import Checkout, export_checkout

        checkout = Checkout(source.paddleocr, source.config, source.checkpoint, source.python)
        return export_checkout(checkout, folder, say, timeout_s=2 * timeout_s)
    network = find_network(source.network or DEFAULT)
    weights = network.weights_or(source.checkpoint)
    say(f"{network.name} with {weights}")
    _save_network(network.name, weights, folder / "inference")
    return folder


def _save_network(name: str, weights: Path, stem: Path) -> None:
    from pipeline.export import save_program
    from pipeline.models.framework import paddle
    from pipeline.models.recogniser import DESIGNS, INPUT_SHAPE
    from pipeline.models.weights import build_network

    with paddle.utils.unique_name.guard():  # names in the file: the same for every export
        save_program(build_network(weights, DESIGNS[name]), stem, INPUT_SHAPE)


def _described(model: ir.Model, path: Path) -> Fetched:
    from onnx_passes.core.model_io import opset

    return Fetched(
        path=path,
        opset=opset(model),
        nodes=len(model.graph),
        inputs=tuple(_value(value) for value in model.graph.inputs),
        outputs=tuple(_value(value) for value in model.graph.outputs),
    )


def _value(value: ir.Value) -> str:
    dtype = "?" if value.dtype is None else value.dtype.numpy().name
    dims = "?" if value.shape is None else ", ".join(str(dim) for dim in value.shape)
    return f"{value.name} {dtype} [{dims}]"
