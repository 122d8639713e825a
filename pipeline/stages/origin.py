"""Where the model of a flow comes from: a network, an inference model, a checkout, an ONNX file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import FlowError
from pipeline.sources import Source
from pipeline.stages.networks import NETWORKS

if TYPE_CHECKING:
    import onnx_ir as ir

    from pipeline.stages.job import Job, Settings
    from pipeline.stages.recipe import Recipe

_STAND_INS = ("model", "inference", "paddleocr")  # options in place of a recipe's network
_CODE = ("tools", "ppocr")  # folders of a checkout that decide what it exports


def refuse_confusion(recipe: Recipe, settings: Settings) -> None:
    """Refuse settings that name no model, or more than one.

    Raises:
        FlowError: If they do.
        PipelineError: If weights are needed, or a part of a checkout is missing.
    """
    given = [f"--{name}" for name in _STAND_INS if getattr(settings, name)]
    if len(given) > 1:
        msg = f"a flow starts from one model, got {' and '.join(given)}; give one of them"
        raise FlowError(msg)
    if not recipe.network and not given:
        msg = (
            f"recipe {recipe.text} exports no network: give a model with --model FILE.onnx, "
            "--inference DIR or --paddleocr DIR"
        )
        raise FlowError(msg)
    if settings.weights and given and not settings.paddleocr:
        msg = f"give --checkpoint for an export, or {given[0]} in place of it, not both"
        raise FlowError(msg)
    if not settings.model:
        exported(recipe, settings)  # which refuses the rest


def refuse_to_overwrite(job: Job) -> None:
    """Refuse a given model that is where this run writes one.

    Raises:
        FlowError: If it is.
        ModelError: If it may be, and cannot be read.
    """
    model, stem = job.settings.model, job.recipe.name
    if model is None:
        return
    written = [job.work / f"{stem}{part}.onnx" for part in ("_simplified", "_ascend")]
    target = job.work / f"{stem}.onnx"
    if model.resolve() == target.resolve() and model.is_file() and job.source:
        written.append(target)  # a model that needs no repair may stay there
    if model.resolve() in {path.resolve() for path in written}:
        msg = f"--model {model} is what this run writes; give another --work"
        raise FlowError(msg)


def exported(recipe: Recipe, settings: Settings) -> Source:
    """Return what is exported where no ONNX file is given."""
    if settings.inference:
        return Source(inference=settings.inference)
    if settings.paddleocr or settings.config or settings.paddle_python:
        return Source(
            paddleocr=settings.paddleocr,
            config=settings.config,
            checkpoint=settings.weights,
            python=settings.paddle_python,
        )
    weights = NETWORKS[recipe.network].weights_or(settings.weights)
    return Source(network=recipe.network, checkpoint=weights)


def repaired(path: Path, model: ir.Model) -> Source | None:
    """Return what makes a good model of a given one; None if it is one."""
    from pipeline.onnx_source import left_by_a_guide

    return Source(onnx=path) if left_by_a_guide(model) else None


def files(source: Source) -> dict[str, Path]:
    """Return the files and folders that decide what a source gives, by what they are.

    Raises:
        PipelineError: If an inference model or a checkout is none.
    """
    if source.onnx:
        return {"model": source.onnx}
    if source.inference:
        from pipeline.inference_files import find

        stem = find(source.inference)
        return {"inference": Path(f"{stem}.json"), "parameters": Path(f"{stem}.pdiparams")}
    if source.paddleocr and source.config and source.checkpoint:
        from pipeline.paddleocr import Checkout

        checkout = Checkout(source.paddleocr, source.config, source.checkpoint, source.python)
        folders = {f"checkout/{name}": source.paddleocr / name for name in _CODE}
        code = {name: folder for name, folder in folders.items() if folder.is_dir()}
        return {"weights": checkout.weights(), "config": checkout.configuration(), **code}
    return {"weights": source.checkpoint} if source.checkpoint else {}


def words(source: Source) -> list[Any]:
    """Return the words of ``onnx-passes export`` that give a source."""
    told = {field.name: getattr(source, field.name) for field in dataclasses.fields(source)}
    defaults = {field.name: field.default for field in dataclasses.fields(source)}
    return [
        word
        for name, value in told.items()
        if value != defaults[name]
        for word in (f"--{name}", value)
    ]


def refuse_other_head(recipe: Recipe, model: ir.Model, what: object) -> None:
    """Refuse a model whose output has another number of classes than the recipe's network.

    Raises:
        FlowError: If it does.
    """
    network = NETWORKS.get(recipe.network)
    shape = model.graph.outputs[0].shape if len(model.graph.outputs) == 1 else None
    found = shape[-1] if shape is not None and len(shape) else None
    if network is None or not isinstance(found, int) or found == network.classes:
        return
    msg = (
        f"{what} gives {found} classes; recipe {recipe.text} is of a network with "
        f"{network.classes} ({network.head}): take the recipe of the model, or custom"
    )
    raise FlowError(msg)
