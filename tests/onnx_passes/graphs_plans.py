"""With which options each pass runs over the random graphs, and over which opsets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_passes.core.passlist import parse
from onnx_passes.core.registry import passes

# Every maker registers itself with the vocabularies.
from tests.onnx_passes import (
    graphs_apart,
    graphs_fusions,
    graphs_integers,
    graphs_makers,
    graphs_nets,
    graphs_opsets,
)
from tests.onnx_passes.graphs_case import OPSETS

if TYPE_CHECKING:
    import onnx

    from onnx_passes.core.contract import Pass

MODULES = (graphs_apart, graphs_fusions, graphs_makers, graphs_integers, graphs_nets, graphs_opsets)
# The passes of the catalogue; of the bridges the one that presets use.
NAMES = [
    cls.name
    for cls in passes()
    if cls.__module__.startswith("onnx_passes.passes.") or cls.name == "onnxsim"
]
OPTIONS: dict[str, tuple[str, ...]] = {
    "fold-constants": ("", "{max_bytes=64}"),
    "merge-concats": ("", "{max_inputs=3}"),
    "decompose-grid-sample": (
        *("", "{form=rows}", "{form=elements,zeros=value}", "{form=packed}", "{form=tent}"),
        *("{chunk=2}", "{target=ascend310p,max_bytes=200}"),
    ),
    "decompose-reflect-pad": ("", "{max_slices=0}", "{max_slices=1}"),
    "split-average-pool": ("{max_kernel=3}", "{max_kernel=2}", "{max_kernel=7}"),
    "split-large-conv": ("{max_kernel=2}", "{max_kernel=1}", "{max_kernel=3}"),
    "set-opset": tuple(f"{{version={version}}}" for version in range(11, 21)),
    "tie-batch": ("", "{symbol=D2}"),
    "unroll-loop": ("", "{max_nodes=6}"),
}
# The operators that a pass is about came late; without this few graphs would hold one.
LATE: dict[str, tuple[int, ...]] = {
    "decompose-grid-sample": (16, 20),
    "decompose-affine-grid": (20,),
    "decompose-einsum": (16, 12, 13, 20),
    "splice-grid-sample": (16, 20, 13),
    "fuse-layer-norm": (17, 17, 18, 20, 13),
}


def opsets(name: str) -> tuple[int, ...]:
    return LATE.get(name, OPSETS)


def plan(name: str, sketch_number: int, model: onnx.ModelProto) -> Pass:
    """Return a pass with one of its options, chosen by a number."""
    options = OPTIONS.get(name, ("",))
    text = name + options[sketch_number % len(options)]
    if name == "pin-shape" and (sizes := _sizes(model)):
        text = f'pin-shape{{shapes="{sizes}"}}'
    (item,) = parse(text)
    return item  # type: ignore[return-value]  # one pass, no group


def _sizes(model: onnx.ModelProto) -> str:
    """Return sizes for the inputs of a drawn model: those that their symbols stand for."""
    entries = []
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if any(not dim.HasField("dim_value") for dim in dims):
            sizes = [dim.dim_value or int(dim.dim_param[1:] or 0) for dim in dims]
            if all(sizes):
                entries.append(f"{value.name}={','.join(map(str, sizes))}")
    return ";".join(entries)
