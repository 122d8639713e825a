"""proto-script: run a function or script that edits ``onnx.ModelProto`` as a pass, unchanged.

Before::

    x -> Conv -> Identity -> Relu -> y        and surgery.py, which takes the Identity out

After::

    x -> Conv -> Relu -> y

Fires when:
    the script changes the model. It defines ``edit(model)``, which changes the proto or returns
    another one; or it is a whole script that loads with ``onnx.load`` and saves with
    ``onnx.save``: its first load gives the model of the pass, its last save is the result, no
    file is read or written.

    The script is your own code. It runs only when you name it, with your rights, in a child
    process that ends after ``timeout_s`` seconds. Weights of 64 KiB and more are external
    tensors to it; ``onnx.numpy_helper.to_array`` reads them.

Leaves alone:
    - the model, when the script raises, saves nothing or does not end in time: the pass fails and
      names the reason.

Numerics:
    Close is what is checked: a script that means to change the numbers needs ``--on-fail keep``,
    and one that means to rename inputs or outputs too.

References:
    - https://onnx.ai/onnx/api/classes.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from onnx_passes.bridges.script import Script
from onnx_passes.core.registry import register

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir


@register
@dataclass(frozen=True)
class ProtoScript(Script):
    """Run your own script on ``onnx.ModelProto``, unchanged."""

    name: ClassVar[str] = "proto-script"
    module: ClassVar[str] = "onnx"
    package: ClassVar[str] = "onnx"

    @classmethod
    def apply(cls, script: Path, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        import onnx_ir as ir

        from onnx_passes.bridges.scripts import child as tools

        sent, proto = ir.to_proto(model), ir.to_proto(model)
        tools.read_references(sent)
        if tools.defines(script, "edit"):
            made = tools.names_of(script)["edit"](proto) or proto
        else:
            made = tools.run_whole(script, proto)
        after: ir.Model = ir.from_proto(tools.settled(made, sent))
        return after
