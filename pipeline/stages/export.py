"""export: the model as ONNX, from Paddle with its numbers compared, or from a guide's file."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.errors import FlowError
from pipeline.stages.fetch_check import started_from
from pipeline.stages.origin import refuse_other_head, words
from pipeline.stages.stage import OURS, Made, Stage, Watcher, command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from pipeline.stages.content import Records
    from pipeline.stages.job import Job


class Export(Stage):
    """See the module docstring."""

    name: ClassVar[str] = "export"
    about: ClassVar[str] = "from Paddle, or from a guide's file, to an ONNX model of opset 16"
    after: ClassVar[tuple[str, ...]] = ("fetch-check",)
    packages: ClassVar[tuple[str, ...]] = (OURS, "paddlepaddle", "paddle2onnx", "onnx", "onnx-ir")
    code: ClassVar[tuple[str, ...]] = (
        "pipeline/models",
        "pipeline/agreement.py",
        "pipeline/drawn_words.py",
        "pipeline/export.py",
        "pipeline/inference_child.py",
        "pipeline/inference_files.py",
        "pipeline/inference_model.py",
        "pipeline/onnx_source.py",
        "pipeline/paddle2onnx_child.py",
        "pipeline/paddleocr.py",
        "pipeline/sources.py",
        "pipeline/stages/export.py",
        "pipeline/stages/networks.py",
        "pipeline/stages/origin.py",
    )

    def why_not(self, job: Job) -> str:
        """Left out where a given model is good as it is."""
        return "" if job.source else "a model is given (--model)"

    def inputs(self, job: Job) -> Mapping[str, Path | Records]:
        """Return what it starts from."""
        return {**started_from(job)}

    def outputs(self, job: Job) -> Sequence[Path]:
        """Return the model."""
        return [job.original]

    def options(self, job: Job) -> dict[str, str]:
        """Return the network, and what runs a checkout."""
        source = job.source
        asked = {"network": source and source.network, "python": source and source.python}
        return {name: value for name, value in asked.items() if value}

    def commands(self, job: Job) -> Sequence[str]:
        """Return the command ``export``."""
        return [command("export", job.original, *words(job.source))] if job.source else []

    def run(self, job: Job, watcher: Watcher) -> Made:
        """Export, compare with Paddle, and see that the model is one for this flow."""
        from onnx_passes.core.model_io import load
        from pipeline.sources import fetch

        assert job.source is not None  # left out otherwise
        fetched = fetch(job.source, job.original, say=watcher.line)
        if not job.source.onnx:
            model = load(job.original)
            if job.data:
                _refuse_other_input(model)
            refuse_other_head(job.recipe, model, "what was exported")
        found: dict[str, Any] = {
            "bytes": job.original.stat().st_size,
            "nodes": fetched.nodes,
            "folded": [dataclasses.asdict(one) for one in fetched.folded],
            "repairs": list(fetched.repairs),
            "numbers": fetched.agreement.told if fetched.agreement else "",
        }
        return Made(found, (job.original,))


def _refuse_other_input(model: ir.Model) -> None:
    """Refuse what the stages before did not foresee: their images are for an open batch of x."""
    from pipeline.export import INPUT_NAME
    from pipeline.stages.data_sample import ITEM

    (value,) = model.graph.inputs
    shape = list(value.shape or ())
    if value.name == INPUT_NAME and not isinstance(shape[0], int) and tuple(shape[1:]) == ITEM:
        return
    found, sizes = (", ".join(map(str, dims)) for dims in (shape, ITEM))
    msg = (
        f"the exported model takes {value.name} [{found}], expected {INPUT_NAME} [N, {sizes}]; "
        "write it with 'onnx-passes export', and give it with --model"
    )
    raise FlowError(msg)
