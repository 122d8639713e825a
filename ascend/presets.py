"""Presets: pass lists as text, for a device and its software.

The texts name passes of ``onnx_passes``, and nothing else is known of them here; ``onnx-passes run
--passes @NAME`` puts the text in place of the name.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preset:
    """A pass list with a name.

    Attributes:
        name: Without the ``@``.
        passes: The pass list as text.
        summary: One sentence on what it is for.
        source: Where the needs that it meets are written down.
    """

    name: str
    passes: str
    summary: str
    source: str


# Each pass finds more to do after the others, so they run until none changes the model.
_COMPUTED = "fold-shapes,fold-constants,drop-identity,drop-noop"
_FUSED = "lstm-state,fuse-batch-norm,fuse-bias,fuse-gemm"
_MERGED = (
    "merge-casts,merge-concats,merge-slices,merge-transposes,merge-reshapes,merge-duplicates,"
    "drop-unused"
)
# The parser has no Loop, the chip no Einsum; AffineGrid, IsNaN and Pad in reflect mode run on the
# AI CPU, or not at all.
_FOR_THE_PARSER = (
    f"tie-batch,infer-shapes,unroll-loop,({_COMPUTED},{_FUSED})*,merge-matmuls,"
    "decompose-affine-grid,decompose-einsum,decompose-is-nan,decompose-reflect-pad,"
    "gather-to-split,drop-empty-slice,split-average-pool"
)
_CLEAN_UP = f"({_COMPUTED},{_MERGED})*"

# For CANN 5 nobody published which engine runs GatherElements; Gather on axis 0 is on AI Core.
PRESETS = (
    Preset(
        "clean",
        f"infer-shapes,({_COMPUTED},{_FUSED},fuse-layer-norm,{_MERGED})*",
        "Make the graph smaller, for any device.",
        "https://onnx.ai/onnx/operators/index.html",
    ),
    Preset(
        "ascend310p",
        f"{_FOR_THE_PARSER},set-opset{{version=17}},fuse-layer-norm,narrow-int64,{_CLEAN_UP}",
        "For CANN 8 and later, with its kernels for GridSample (opset 16 to 18) and "
        "LayerNormalization (17, 18).",
        "CANN 8.1 operator list for ONNX: https://www.hiascend.com/document",
    ),
    Preset(
        "ascend310p-cann5",
        f"{_FOR_THE_PARSER},decompose-grid-sample{{form=rows,target=ascend310p}},"
        f"set-opset{{version=11}},narrow-int64,{_CLEAN_UP}",
        "For CANN 5: opset 11 and no GridSample; put pin-shape before it, and no Shape is left.",
        "CANN 5.0.4 operator list for ONNX (opset 9 to 13): https://www.hiascend.com/document",
    ),
)
