"""Make one node of the default domain.

``ir.node`` finds out by many instance checks what its attributes are; a pass that writes tens of
thousands of nodes spends most of its time there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def new_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, int | list[int] | str],
    outputs: Sequence[ir.Value],
    name: str,
) -> ir.Node:
    """Return a node that is in no graph yet."""
    written = [_attribute(key, value) for key, value in attributes.items()]
    return ir.Node("", op_type, inputs, written, outputs=outputs, name=name)


def _attribute(name: str, value: int | list[int] | str) -> ir.Attr:
    if isinstance(value, str):
        return ir.AttrString(name, value)
    return ir.AttrInt64(name, value) if isinstance(value, int) else ir.AttrInt64s(name, value)
