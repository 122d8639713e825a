"""``onnx-passes cost``: a prediction of the time on an Ascend 310P3, before ATC sees the model."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import Shapes, shape_option

if TYPE_CHECKING:
    import onnx_ir as ir

    from ascend.cost.predict import Prediction

DEFAULT_BATCHES = (1, 4, 8, 16, 32, 64)  # those of the published timings
FORMS = ("native", "elements", "rows", "packed", "tent")


@dataclasses.dataclass(frozen=True)
class Run:
    """One prediction: a batch, and for a comparison the form that GridSample has.

    Attributes:
        batch: The first size of the inputs.
        form: ``as it is``, ``native`` or a form of decompose-grid-sample.
        prediction: None if the form cannot be made.
        reason: Why it cannot.
    """

    batch: int
    form: str
    prediction: Prediction | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain data."""
        document: dict[str, Any] = {"batch": self.batch, "form": self.form}
        if self.prediction is None:
            return {**document, "not_possible": self.reason}
        speed = self.batch * 1e6 / self.prediction.us
        return {**document, "images_per_s": speed, **self.prediction.to_json()}


def _parse_batches(
    ctx: click.Context, param: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", text):
        msg = f"{text!r} is no list of batches (as in 1,4,8)"
        raise click.BadParameter(msg, ctx, param)
    return tuple(sorted({int(part) for part in text.split(",")}))


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--batch",
    "batches",
    metavar="LIST",
    callback=_parse_batches,
    help="Batches to predict, as 1,4,8. Default: 1,4,8,16,32,64, or the model's own if fixed.",
)
@shape_option
@click.option("--soc", default="Ascend310P3", show_default=True, help="The chip.")
@click.option("--cann", default="8.1.RC1", show_default=True, help="Whose engines are assumed.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=15,
    show_default=True,
    help="Kernels to list, of the largest batch.",
)
@click.option(
    "--compare-forms", is_flag=True, help="GridSample native and in each decomposed form."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, with all kernels.")
def cost(
    model: str,
    batches: tuple[int, ...] | None,
    shapes: Shapes,
    soc: str,
    cann: str,
    *,
    top: int,
    compare_forms: bool,
    as_json: bool,
) -> None:
    """Predict the time of a model on an Ascend 310P3. Nothing is run on a device.

    Floats are float16, except in nodes marked to stay float32. The range says how far the
    prediction may be off; how it is made is in docs/cost.md. --shape is for inputs with other
    dynamic sizes than the batch.

    \b
    Example:
      onnx-passes cost model.onnx --batch 1,8,64 --compare-forms

    Exit codes: 0 predicted, perhaps without some nodes, which are listed; 2 bad usage or input.
    """
    from onnx_passes.core.model_io import load
    from pipeline.cli.console import progress

    loaded = load(model)
    _refuse_unknown_inputs(loaded, shapes)
    chosen = _batches(loaded, batches)
    forms = FORMS if compare_forms else ("as it is",)
    if compare_forms:
        _refuse_no_grid_sample(loaded)
    runs = []
    with progress("predict", len(chosen) * len(forms)) as meter:
        for batch in chosen:
            pinned = at_batch(loaded, batch, dict(shapes))
            for form in forms:
                runs.append(_run(pinned, batch, form, (soc, cann)))
                meter.update(len(runs))
    _show(runs, top, as_json=as_json)


def at_batch(model: ir.Model, batch: int, shapes: dict[str, tuple[int, ...]]) -> ir.Model:
    """Return a copy whose inputs have fixed sizes, and with them every value that follows.

    Args:
        model: Never changed.
        batch: The first size of each input where that is dynamic.
        shapes: Sizes of inputs, by name; needed where another size is dynamic.

    Raises:
        UsageError: If a size is missing or does not fit.
    """
    from onnx_passes.core.contract import UsageError
    from onnx_passes.core.model_io import clone
    from onnx_passes.passes.infer_shapes import InferShapes
    from onnx_passes.passes.pin_shape import PinShape

    copy = clone(model)
    entries = []
    for value in _inputs(copy):
        sizes = _sizes(value, batch, shapes.get(value.name or ""))
        if sizes:
            entries.append(f"{value.name}={','.join(map(str, sizes))}")
    try:
        PinShape(shapes=";".join(entries)).run(copy)
    except ValueError as error:  # a name or a size that its text form has no room for
        raise UsageError(str(error)) from error
    InferShapes().run(copy)
    return copy


def _sizes(value: ir.Value, batch: int, given: tuple[int, ...] | None) -> list[int]:
    """Return the sizes of one input; the first one is the batch if it is dynamic."""
    from onnx_passes.core.contract import UsageError

    known = list(value.shape) if value.shape is not None else list(given or ())
    if given is not None and len(given) != len(known):
        msg = f"--shape {value.name}: {len(given)} sizes, expected {len(known)} ({value.shape})"
        raise UsageError(msg)
    sizes: list[int] = []
    for axis, size in enumerate(known):
        if axis == 0 and not isinstance(size, int):
            sizes.append(batch)
        elif given is not None:
            sizes.append(given[axis])
        elif isinstance(size, int):
            sizes.append(size)
        else:
            msg = (
                f"input {value.name!r} is {value.shape}: size {axis} is dynamic; give all sizes "
                f"with --shape {value.name}=D0,D1,..."
            )
            raise UsageError(msg)
    return sizes


def _batches(model: ir.Model, asked: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the batches to predict: any if the model leaves it open, else only its own."""
    from onnx_passes.core.contract import UsageError

    firsts = [value.shape[0] for value in _inputs(model) if value.shape]
    if not firsts or any(not isinstance(first, int) for first in firsts):
        return asked or DEFAULT_BATCHES
    own = int(firsts[0]) if isinstance(firsts[0], int) else 1
    if asked not in {None, (own,)}:
        msg = f"the batch of the model is fixed at {own}; leave --batch out, or export it dynamic"
        raise UsageError(msg)
    return (own,)


def _inputs(model: ir.Model) -> list[ir.Value]:
    return [value for value in model.graph.inputs if value.const_value is None]


def _refuse_unknown_inputs(model: ir.Model, shapes: Shapes) -> None:
    from onnx_passes.core.contract import UsageError
    from onnx_passes.core.registry import did_you_mean

    names = [value.name or "" for value in _inputs(model)]
    for name, _ in shapes:
        if name not in names:
            msg = f"--shape {name}: the model has no such input{did_you_mean(name, names)}"
            raise UsageError(msg)


def _refuse_no_grid_sample(model: ir.Model) -> None:
    from onnx_passes.core.contract import UsageError

    if not any(node.op_type == "GridSample" for node in model.graph):
        msg = "--compare-forms: the model has no GridSample; give the model before it is replaced"
        raise UsageError(msg)


def _run(pinned: ir.Model, batch: int, form: str, target: tuple[str, str]) -> Run:
    """Predict one form at one batch."""
    from ascend.cost.predict import predict
    from onnx_passes.core.model_io import clone
    from onnx_passes.passes.decompose_grid_sample import DecomposeGridSample
    from onnx_passes.passes.infer_shapes import InferShapes

    model = pinned
    if form not in {"as it is", "native"}:
        model = clone(pinned)
        result = DecomposeGridSample(form=form).run(model)
        if result.skipped:
            return Run(batch, form, None, result.skipped[0].text)
        InferShapes().run(model)
    return Run(batch, form, predict(model, soc=target[0], cann=target[1]))


def _show(runs: list[Run], top: int, *, as_json: bool) -> None:
    if as_json:
        from pipeline.cli.console import emit_json
        from pipeline.cli.cost_show import document

        emit_json(document([run.to_json() for run in runs]))
        return
    from pipeline.cli.cost_show import show_comparison, show_runs

    if runs[0].form == "as it is":
        show_runs(runs, top)
    else:
        show_comparison(runs)
