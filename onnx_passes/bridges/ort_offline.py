"""ort-offline: keep what onnxruntime makes of a model before it runs it.

Before::

    x -> Conv -> Add(constant) -> Relu -> y

After (``level=extended``)::

    x -> com.microsoft::FusedConv -> y

Fires when:
    onnxruntime's optimiser finds anything to do at ``level``: ``basic`` folds constants and drops
    nodes, ``extended`` also fuses into its own operators for the CPU, ``all`` also changes the
    layout for the processor at hand.

Leaves alone:
    - standard operators, with ``level=basic``. The operators of ``extended`` and ``all`` run in
      onnxruntime only: ATC reads none of them.

Numerics:
    Close: fused kernels sum in another order. The manager compares before and after, with
    onnxruntime's optimiser off.

References:
    - https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from onnx_passes.bridges.tool import Bridge
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    import onnx_ir as ir

_INLINE_BYTES = 1 << 30  # Above this, onnxruntime is told to put weights beside the model.


@register
@dataclass(frozen=True)
class OrtOffline(Bridge):
    """Keep what onnxruntime's optimiser makes of a model."""

    name: ClassVar[str] = "ort-offline"
    module: ClassVar[str] = "onnxruntime"
    package: ClassVar[str] = "onnxruntime"
    level: Literal["basic", "extended", "all"] = "extended"

    def transform(self, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        import onnx_ir as ir
        import onnxruntime as ort

        from onnx_passes.core.model_io import clone, initializer_bytes, load, save

        with tempfile.TemporaryDirectory(prefix="onnx-passes-") as name:
            folder = Path(name)
            save(clone(model), folder / "in.onnx")
            options = ort.SessionOptions()
            options.log_severity_level = 3
            options.graph_optimization_level = getattr(
                ort.GraphOptimizationLevel, f"ORT_ENABLE_{self.level.upper()}"
            )
            options.optimized_model_filepath = str(folder / "out.onnx")
            if initializer_bytes(model) > _INLINE_BYTES:
                key = "session.optimized_model_external_initializers_file_name"
                options.add_session_config_entry(key, "out.data")
            ort.InferenceSession(
                str(folder / "in.onnx"), options, providers=["CPUExecutionProvider"]
            )
            return ir.external_data.load_to_model(load(folder / "out.onnx"))
