"""Take a recogniser that is ONNX already: checked, and as the guides leave it, repaired.

Guides for a converter without grid_sample leave one of two files, both of opset 11. Before the
splice a chain of Pad, Squeeze, Transpose and Add stands where GridSample belongs; after it, a
GridSample stands in a model whose opset has none, so that no runtime but the device's takes it.
Either becomes a valid model of opset 16. Anything else stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from onnx_passes.core import model_io
from onnx_passes.core.contract import ModelError
from onnx_passes.numerics.runner import Runner
from onnx_passes.passes.infer_shapes import InferShapes
from onnx_passes.passes.set_opset import SetOpset
from onnx_passes.passes.splice_grid_sample import SpliceGridSample
from pipeline.errors import PipelineError

if TYPE_CHECKING:
    from pathlib import Path

OPSET = 16  # the first with GridSample
_ASIDE = "onnx_passes.aside"  # a domain that set-opset leaves alone


def read_onnx(path: Path) -> tuple[ir.Model, list[str]]:
    """Return a model that onnxruntime takes, and what had to be done to it.

    Raises:
        ModelError: If the file is no model, or onnxruntime does not take it.
        PipelineError: If a placeholder or a GridSample cannot be brought to opset 16.
    """
    model = model_io.load(path)
    try:
        model, done = _repaired(model)
        Runner(model)
    except (ModelError, PipelineError) as error:
        msg = f"model {path}: {error}"
        raise type(error)(msg) from error
    return model, done


def left_by_a_guide(model: ir.Model) -> bool:
    """Return whether a model is one of the two files that are repaired.

    Raises:
        PipelineError: If it is one, and cannot be brought to opset 16.
    """
    return bool(_repaired(model)[1])


def _repaired(model: ir.Model) -> tuple[ir.Model, list[str]]:
    """Return a model of opset 16 if one of the two files was found, else the model as it is."""
    opset = model_io.opset(model)
    operators = {node.op_type for node in model.graph if not node.domain}
    if "GridSample" in operators:
        return (model, []) if opset >= OPSET else (_lifted(model), [_from(opset)])
    if "Pad" not in operators:
        return model, []
    spliced = model_io.clone(model)
    if opset < OPSET and SetOpset(OPSET).run(spliced).skipped:
        return model, []
    InferShapes().run(spliced)
    if not (notes := SpliceGridSample().run(spliced).rewritten):
        return model, []
    said = [f"splice-grid-sample: {note.text}, in place of a placeholder" for note in notes]
    return spliced, [_from(opset), *said] if opset < OPSET else said


def _lifted(model: ir.Model) -> ir.Model:
    """Return a copy of opset 16; GridSample steps aside meanwhile, since no older opset has it."""
    lifted = model_io.clone(model)
    _move(lifted, "", _ASIDE)
    lifted.opset_imports[_ASIDE] = 1
    _tell_shapes(lifted)
    refused = SetOpset(OPSET).run(lifted).skipped
    if refused:
        msg = f"GridSample needs opset {OPSET}, and {refused[0].node} cannot follow: "
        raise PipelineError(msg + refused[0].text)
    del lifted.opset_imports[_ASIDE]
    _move(lifted, _ASIDE, "")
    InferShapes().run(lifted)
    return lifted


def _tell_shapes(model: ir.Model) -> None:
    """Write down all shapes; nothing infers what a GridSample that stepped aside makes."""
    InferShapes().run(model)
    for node in model.graph:
        if node.domain == _ASIDE and node.inputs[0] is not None and node.inputs[1] is not None:
            picture, grid, output = node.inputs[0], node.inputs[1], node.outputs[0]
            if picture.shape is not None and grid.shape is not None:
                output.shape = ir.Shape([*picture.shape[:2], *grid.shape[1:-1]])
                output.type = picture.type
    InferShapes().run(model)


def _move(model: ir.Model, old: str, new: str) -> None:
    for node in model.graph:
        if (node.op_type, node.domain) == ("GridSample", old):
            node.domain, node.version = new, None


def _from(opset: int) -> str:
    return f"set-opset: opset {opset} -> {OPSET}, the first with GridSample"
