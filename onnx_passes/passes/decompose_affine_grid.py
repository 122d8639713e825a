"""decompose-affine-grid: replace AffineGrid by one product with a constant matrix.

Before::

    theta [N, 2, 3], size [N, C, H, W] -> AffineGrid -> grid [N, H, W, 2]

After::

    theta -> Transpose -> t [N, 3, 2];  base [H W, 3] x t -> MatMul -> Reshape -> grid

base is constant: a row (x, y, 1) for each pixel. In three dimensions theta is [N, 3, 4], the rows
are (x, y, z, 1) and grid is [N, D, H, W, 3].

Why:
    310P runs AffineGrid on the AI CPU only, and only opset 20 has it.

Fires when:
    the node is ``ai.onnx::AffineGrid`` with theta of float32 or float64, in the main graph, in a
    sub-graph or in a function, and the spatial extents are known: ``size`` is constant, or the
    shape of the output is recorded.

Leaves alone:
    - extents that are known only when the model runs.
    - extents that are not positive.
    - theta of another or of an unknown type: onnxruntime computes no other.
    - an extent of 1 with align_corners=1: onnxruntime takes coordinate 1, the reference evaluator
      -1, and the specification does not say.
    - an attribute that the caller of a function sets.

Numerics:
    Close. base is computed in float64 and rounded once, onnxruntime computes it in the type of
    theta. With r = 2 or 3 spatial axes, eps of that type and ``S = |theta| 1`` (a coordinate is at
    most 1): a coordinate errs by 3 eps there (a product and a sum), by eps / 2 here, and a sum of
    r + 1 products by (r + 1) eps / 2 on either side. Hence ``|y - y_before| <= (r + 5) eps S``.

References:
    - https://onnx.ai/onnx/operators/onnx__AffineGrid.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import Exactness, Note, Pass, PassResult, label
from onnx_passes.core.emit import Emitter
from onnx_passes.core.known_inputs import complete_inputs, forget
from onnx_passes.core.names import Names
from onnx_passes.core.registry import register
from onnx_passes.core.spelling import constant_integers, drop_unread_constant, nodes_of

if TYPE_CHECKING:
    import numpy.typing as npt

_DTYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_RANKS = (4, 5)  # of size: [N, C, H, W] or [N, C, D, H, W]


@register
@dataclass(frozen=True)
class DecomposeAffineGrid(Pass):
    """Replace AffineGrid by one product with a constant matrix."""

    name: ClassVar[str] = "decompose-affine-grid"
    exactness: ClassVar[Exactness] = "close"
    purpose: ClassVar[str] = "target"
    needs: ClassVar[frozenset[str]] = frozenset({"AffineGrid"})

    def run(self, model: ir.Model) -> PassResult:
        """See the module docstring."""
        result = PassResult()
        nodes = list(nodes_of(model, "AffineGrid"))
        before = complete_inputs(model, [node for node, _ in nodes])
        names = Names(model) if nodes else None
        for node, opset in nodes:
            extents = _extents(node)
            if refusal := _why_not(node, extents):
                result.skipped.append(Note(label(node), refusal))
            elif names is not None and extents is not None:
                base = _base(node, extents)
                note = Note(label(node), f"a constant of {base.nbytes} bytes")
                _replace(Emitter(node, names, opset), node, extents, base)
                result.rewritten.append(note)
        if not result.rewritten:
            forget(before)
        return result


def _extents(node: ir.Node) -> list[int] | None:
    """Return (D,) H, W as ``size`` or the recorded shape of the output says, or None."""
    size = constant_integers(node.inputs[1])
    if size is not None:
        return size[2:] if len(size) in _RANKS else None
    shape = node.outputs[0].shape
    if shape is None or len(shape) not in _RANKS:
        return None
    extents = [dim for dim in shape[1:-1] if isinstance(dim, int)]
    return extents if len(extents) == len(shape) - 2 else None


def _why_not(node: ir.Node, extents: list[int] | None) -> str | None:
    """Return the reason to leave ``node`` alone, or None to rewrite it."""
    theta = node.inputs[0]
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        return "the caller of the function sets an attribute of it"
    if theta is None or theta.dtype not in _DTYPES:
        kind = "unknown" if theta is None or theta.dtype is None else theta.dtype.name.lower()
        return f"theta has type {kind}, expected float or double"
    if extents is None:
        return "its size is known only when the model runs; fold-constants or pin-shape may help"
    if min(extents) < 1:
        return f"an extent of {min(extents)}"
    if node.attributes.get_int("align_corners", 0) and min(extents) == 1:
        return "align_corners=1 with an extent of 1: implementations differ"
    return None


def _base(node: ir.Node, extents: list[int]) -> npt.NDArray[Any]:
    """Return the points (x, y, (z,) 1) of all pixels, [D H W, r + 1], last axis of grid first."""
    aligned = node.attributes.get_int("align_corners", 0)
    axes = [_centres(extent, aligned=bool(aligned)) for extent in extents]
    planes = np.meshgrid(*axes, indexing="ij")
    rows = [plane.reshape(-1) for plane in reversed(planes)]
    points = np.stack([*rows, np.ones(math.prod(extents))], axis=1)
    theta = node.inputs[0]
    return points.astype(
        np.float32 if theta is None or theta.dtype is None else theta.dtype.numpy()
    )


def _centres(extent: int, *, aligned: bool) -> npt.NDArray[np.float64]:
    """Return the pixel centres of an axis; -1 and 1 are the first and last, or the edges."""
    if aligned:
        return np.linspace(-1, 1, extent)
    return (2 * np.arange(extent) + 1 - extent) / extent


def _replace(emit: Emitter, node: ir.Node, extents: list[int], base: npt.NDArray[Any]) -> None:
    theta, size, rank = node.inputs[0], node.inputs[1], len(extents)
    if theta is None:
        return
    batch = None if theta.shape is None else theta.shape[0]
    count = batch if isinstance(batch, int) or batch is None else batch.value
    columns = emit.op(
        "Transpose", theta, hint="columns", dims=[count, rank + 1, rank], perm=[0, 2, 1]
    )
    points = emit.op("MatMul", base, columns, hint="points", dims=[count, len(base), rank])
    shape = np.array([0, *extents, rank], np.int64)  # 0 copies N
    grid = emit.op(
        "Reshape", points, shape, hint="grid", dtype=theta.dtype, dims=[count, *extents, rank]
    )
    for new in emit.nodes:
        new.metadata_props.update(node.metadata_props)
    emit.replace(node, grid)
    drop_unread_constant(size)
