"""From what the user asks of ``compile`` to the jobs that it makes of it, all checked first."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ascend.atc.command import KEEP_FILE
from ascend.atc.compiler import Job
from ascend.atc.files import checked_file
from ascend.atc.flags import Flags
from ascend.atc.keep import listed_nodes, marked_nodes
from ascend.atc.known import parse_raw
from ascend.atc.model import default_batch, input_format, input_shapes, refuse_out_nodes
from ascend.atc.shapes import DYNAMIC, is_dynamic, parse_gears
from ascend.errors import AscendError, MissingToolError, UnverifiedError
from ascend.soc import normalise
from ascend.toolkit import find_toolkit

if TYPE_CHECKING:
    import onnx_ir as ir

    from ascend.atc.shapes import Gears
    from ascend.toolkit import Toolkit


_ALL_KEEP = "must_keep_origin_dtype"


@dataclasses.dataclass(frozen=True)
class Request:
    """The options of the command, under their names there."""

    model: Path
    soc: str
    raw: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    gears: str | None = None
    shapes: tuple[str, ...] = ()
    output: Path | None = None
    precision_mode: str | None = None
    precision_mode_v2: str | None = None
    keep_dtype: str = "auto"
    mixlist: Path | None = None
    op_precision: Path | None = None
    fusion_switch: Path | None = None
    aipp: Path | None = None
    out_nodes: str | None = None
    input_format: str | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """A job, and what a table calls it.

    Attributes:
        label: The batch size, or the gears.
        job: What to compile.
    """

    label: str
    job: Job


def toolkit_if_any(explicit: Path | None) -> Toolkit | None:
    """Return the toolkit; None where there is none, unless one was named."""
    with contextlib.suppress(*([MissingToolError] if explicit is None else [])):
        return find_toolkit(explicit)
    return None


def refuse_unverified(model: ir.Model, path: Path, cann: str | None, *, force: bool) -> str:
    """Refuse a model whose numbers nobody vouches for; return the reason where it is forced.

    Raises:
        UnverifiedError: With what to run.
    """
    from onnx_passes.core.checked import UNCHECKED_KEY, why_unverified

    reason = why_unverified(model)
    if not reason or force:
        return reason
    preset = "@ascend310p-cann5" if cann and cann.startswith("5.") else "@ascend310p"
    command = f"onnx-passes run {shlex.quote(str(path))} -o OUT.onnx --passes {preset}"
    what = f"run: {command}, which checks every pass, then compile OUT.onnx"
    if UNCHECKED_KEY in model.metadata_props:
        what = "make it again from its original, with the check"
    msg = f"model {path} is not verified: {reason}; {what}, or compile it as it is with --force"
    raise UnverifiedError(msg)


def plans(request: Request, model: ir.Model, cann: str | None) -> list[Plan]:
    """Return one job a batch size, or one for all gears.

    Raises:
        AscendError: For whatever ATC would refuse, with the reason.
    """
    gears = parse_gears(request.gears) if request.gears else None
    common = _common_flags(request, model, cann)
    keep = _keep(request, model, dict(common.pairs()).get("precision_mode"))
    if keep:
        common = dataclasses.replace(common, keep_dtype=Path(KEEP_FILE))
    given = _given_shapes(request.shapes)
    batches = request.batches or (default_batch(model, given),)
    if gears is not None and gears.kind == "batch":
        if request.batches:
            msg = "--gears batch=... and --batch exclude each other; give one"
            raise AscendError(msg)
        batches = (DYNAMIC,)
    kind = gears.kind if gears else None
    folder, stem = _target(request)
    found = []
    for batch in batches:
        shapes = input_shapes(model, batch, given, kind)
        label, suffix = _names(batch, gears, dynamic=is_dynamic(shapes))
        flags = dataclasses.replace(
            common,
            output=f"{stem}_{suffix}",
            input_shape=shapes,
            input_format=request.input_format or input_format(shapes, kind),
            gears=gears,
        )
        found.append(Plan(label, Job(flags, folder, keep)))
    return found


def _names(batch: int, gears: Gears | None, *, dynamic: bool) -> tuple[str, str]:
    """Return what a table calls a job, and how its file ends."""
    if gears is not None:
        return f"{gears.kind} {gears.value}", f"dyn{gears.kind}"
    return ("dynamic", "dynshape") if dynamic else (str(batch), f"bs{batch}")


def _common_flags(request: Request, model: ir.Model, cann: str | None) -> Flags:
    """Return the flags that do not depend on the batch size."""
    out_nodes = tuple(filter(None, (request.out_nodes or "").split(";")))
    refuse_out_nodes(model, out_nodes)
    return Flags(
        model=request.model.absolute(),
        output="model",
        soc_version=normalise(request.soc),
        precision_mode=request.precision_mode,
        precision_mode_v2=request.precision_mode_v2,
        modify_mixlist=checked_file("modify_mixlist", request.mixlist),
        op_precision_mode=checked_file("op_precision_mode", request.op_precision),
        fusion_switch_file=checked_file("fusion_switch_file", request.fusion_switch),
        insert_op_conf=checked_file("insert_op_conf", request.aipp),
        out_nodes=out_nodes,
        extra=parse_raw(request.raw),
        cann=cann,
    )


def _given_shapes(texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Read ``x=N,3,32,100``; ONNX names may hold a ``=``, sizes do not."""
    given: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, sign, sizes = text.rpartition("=")
        if not sign or not name or name in given:
            why = "names that input again" if name in given else "is not NAME=SIZES"
            msg = f"--shape {text!r} {why}; give one as x=N,3,32,100 for each input"
            raise AscendError(msg)
        given[name] = tuple(sizes.split(",")) if sizes else ()
    return given


def _keep(request: Request, model: ir.Model, mode: str | None) -> tuple[str, ...]:
    """Return the nodes that stay float32."""
    if request.keep_dtype == "none":
        return ()
    if request.keep_dtype != "auto":
        return listed_nodes(Path(request.keep_dtype), model)
    return () if mode == _ALL_KEEP else marked_nodes(model)


def _target(request: Request) -> tuple[Path, str]:
    """Return the folder and the beginning of the names of what will be written."""
    stem = request.output or request.model.with_suffix("")
    is_folder = request.output is not None and stem.is_dir()
    if is_folder or not stem.parent.is_dir():
        found = "it is a folder" if is_folder else f"there is no folder {stem.parent}"
        msg = (
            f"cannot write {stem}_bs<N>.om: {found}; give -o a folder that exists and the "
            "beginning of a name, as out/model"
        )
        raise AscendError(msg)
    return stem.parent, stem.name.removesuffix(".om")
