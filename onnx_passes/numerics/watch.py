"""Look inside a model: make tensors graph outputs of a copy, so that they can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.contract import UsageError
from onnx_passes.core.registry import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir


def expose(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Return a copy of ``model`` with the named tensors of the main graph as further outputs.

    Raises:
        UsageError: If no node of the main graph makes such a tensor; with the nearest name.
    """
    copy = model.clone()
    made = {value.name: value for node in copy.graph for value in node.outputs if value.name}
    for name in names:
        if name not in made:
            msg = f"the model makes no tensor {name!r}{did_you_mean(name, made)}"
            raise UsageError(msg)
        if made[name] not in copy.graph.outputs:
            copy.graph.outputs.append(made[name])
    return copy
