"""gs-script: run an onnx-graphsurgeon script as a pass, unchanged.

Before::

    x -> Conv -> Identity -> Relu -> y        and surgery.py, which takes the Identity out

After::

    x -> Conv -> Relu -> y

Fires when:
    the script changes the graph. It defines ``edit(graph)``, which changes ``graph`` or returns
    another one; or it is a whole script that loads with ``onnx.load`` and saves with
    ``onnx.save``: its first load gives the model of the pass, its last save is the result, no
    file is read or written. ``sys.argv`` is the script, model.onnx and out.onnx.

    The script is your own code. It runs only when you name it, with your rights, in a child
    process that ends after ``timeout_s`` seconds; what it prints last is shown if it fails.
    Weights of 64 KiB and more are read when the script asks for their values, not before.

Leaves alone:
    - the model, when the script raises, saves nothing or does not end in time: the pass fails and
      names the reason.
    - metadata of nodes that keep name and operator, which onnx-graphsurgeon itself drops.

Numerics:
    Close is what is checked: a script that means to change the numbers needs ``--on-fail keep``,
    and one that means to rename inputs or outputs too.

References:
    - https://docs.nvidia.com/deeplearning/tensorrt/onnx-graphsurgeon/docs/index.html
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
class GsScript(Script):
    """Run your own onnx-graphsurgeon script, unchanged."""

    name: ClassVar[str] = "gs-script"
    module: ClassVar[str] = "onnx_graphsurgeon"
    package: ClassVar[str] = "onnx-graphsurgeon"

    @classmethod
    def apply(cls, script: Path, model: ir.Model) -> ir.Model:
        """See the module docstring."""
        import onnx_graphsurgeon as gs
        import onnx_ir as ir

        from onnx_passes.bridges.scripts import child as tools

        sent = ir.to_proto(model)
        tools.read_references(sent)
        if tools.defines(script, "edit"):
            graph = gs.import_onnx(ir.to_proto(model))
            made = gs.export_onnx(tools.names_of(script)["edit"](graph) or graph)
        else:
            made = tools.run_whole(script, ir.to_proto(model))
        after: ir.Model = ir.from_proto(tools.settled(made, sent))
        return after
