"""How a prediction looks: always under a line that says that it is one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from ascend.cost.chip import ASCEND_310P3
from ascend.cost.predict import LABEL, NOTE
from ascend.cost.prices import load_prices
from pipeline.cli.console import out

if TYPE_CHECKING:
    from ascend.cost.predict import Prediction
    from pipeline.cli.cost import Run

# Nodes a person reads; the rest is in --json.
MAX_NOTES = 8
# Where pixels are fetched: what the forms of GridSample differ in.
_FETCHING = ("GridSample", "GatherElements", "Gather", "GatherND")


def document(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON document of some runs, with every constant that went into it."""
    prices = load_prices()
    return {
        "kind": LABEL,
        "note": NOTE,
        "runs": runs,
        "prices": {name: vars(price) for name, price in prices.table.items()},
        "greatest_left_out_error": prices.spread,
        "chip": list(ASCEND_310P3.constants()),
    }


def show_runs(runs: list[Run], top: int) -> None:
    """Print the time at each batch, and the kernels that take most of it at the last one."""
    predictions = [(run.batch, run.prediction) for run in runs if run.prediction is not None]
    batch, last = predictions[-1]
    _say_prediction(last)
    out.print(_times(predictions))
    _say_fit(last)
    if top:
        out.print()
        out.print(_kernels(last, batch, top))
    _say_nodes(last)


def show_comparison(runs: list[Run]) -> None:
    """Print the time of each form at each batch, where it fetches its pixels, and why not."""
    possible = [run for run in runs if run.prediction is not None]
    _say_prediction(next(run.prediction for run in possible if run.prediction is not None))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("batch", "predicted ms", "range", "images/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("GridSample", "against native", "fetches pixels by"):
        table.add_column(column)
    native = None
    for run in runs:
        native = run if run.form == "native" else native
        table.add_row(*_comparison(run, native), end_section=run.form == runs[-1].form)
    out.print(table)
    _say_range()
    for run in runs[-len({run.form for run in runs}) :]:
        if run.prediction is not None:
            _say_slow_or_refused(run.prediction, f"{run.form}: ")
            _say_not_counted(run.prediction, f"{run.form}: ")


def _comparison(run: Run, native: Run | None) -> tuple[str, ...]:
    each = run.prediction
    if each is None:
        return str(run.batch), "-", "", "", run.form, "", escape(f"not possible: {run.reason}")
    mark = "*" if each.not_counted else ""
    against = ""
    if native is not None and native is not run and native.prediction is not None:
        against = _against(each, native.prediction)
    return (
        str(run.batch),
        _ms(each.us) + mark,
        f"{_ms(each.low_us)} to {_ms(each.high_us)}",
        f"{run.batch * 1e6 / each.us:.0f}",
        run.form,
        against,
        escape(_where(each)),
    )


def _against(one: Prediction, native: Prediction) -> str:
    """Return which is faster, if their ranges tell and nothing is missing in either."""
    for prediction, word in ((one, "refused"), (native, "native refused")):
        if prediction.refused:
            return word
    if one.not_counted or native.not_counted:
        return "not comparable"
    if one.high_us < native.low_us:
        return "faster"
    return "slower" if one.low_us > native.high_us else "ranges overlap"


def _say_prediction(prediction: Prediction) -> None:
    out.print(
        f"[bold]PREDICTION[/] for {prediction.soc} with CANN {escape(prediction.cann)}, float16: "
        f"{NOTE} (docs/cost.md)",
        soft_wrap=True,
    )


def _times(predictions: list[tuple[int, Prediction]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    known = any(prediction.published_us for _, prediction in predictions)
    columns = ["batch", "predicted ms", "range", "images/s", "range"]
    for column in columns + (["published ms", "error"] if known else []):
        table.add_column(column, justify="right", no_wrap=True)
    for batch, each in predictions:
        speeds = [f"{batch * 1e6 / us:.0f}" for us in (each.us, each.high_us, each.low_us)]
        row = [str(batch), _ms(each.us), f"{_ms(each.low_us)} to {_ms(each.high_us)}"]
        row += [speeds[0], f"{speeds[1]} to {speeds[2]}"]
        if known and each.published_us:
            row += [_ms(each.published_us), f"{each.us / each.published_us - 1:+.1%}"]
        table.add_row(*row)
    return table


def _say_fit(prediction: Prediction) -> None:
    _say_range()
    if prediction.published_us:
        out.print(
            "published: the guide of StarNet MobileNetV3, CANN 6.0.RC1, to which the prices were "
            "fitted",
            style="dim",
            soft_wrap=True,
        )


def _say_range() -> None:
    spread = load_prices().spread
    out.print(
        f"range: {spread:.0%}, the greatest error on a published batch that was left out of the "
        "fit, and the ranges of the prices; transfers from and to the host are not in it",
        style="dim",
        soft_wrap=True,
    )


def _kernels(prediction: Prediction, batch: int, top: int) -> Table:
    largest = sorted(prediction.kernels, key=lambda kernel: -kernel.us)[:top]
    title = f"batch {batch}: {len(largest)} of {len(prediction.kernels)} kernels"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(title, overflow="fold")
    for column in ("engine", "limit"):
        table.add_column(column, no_wrap=True)
    for column in ("predicted us", "range", "share"):
        table.add_column(column, justify="right", no_wrap=True)
    for kernel in largest:
        more = f" (+ {len(kernel.fused)})" if kernel.fused else ""
        table.add_row(
            escape(kernel.label) + more,
            kernel.engine,
            kernel.limit,
            f"{kernel.us:.0f}",
            f"{kernel.low_us:.0f} to {kernel.high_us:.0f}",
            f"{kernel.us / prediction.us:.0%}",
        )
    return table


def _say_nodes(prediction: Prediction) -> None:
    joined = sum(len(kernel.fused) for kernel in prediction.kernels)
    out.print(
        f"kernels: {len(prediction.kernels)}; nodes that joined one (+): {joined}; "
        f"that start none: {prediction.free_nodes}; constant: {prediction.constant_nodes}",
        soft_wrap=True,
    )
    _say_engines(prediction)
    _say_not_counted(prediction)


def _say_engines(prediction: Prediction) -> None:
    """Say which engines are only assumed, and what falls to the AI CPU or is refused."""
    assumed = Counter(k.operator for k in prediction.kernels if not k.engine_known)
    if assumed:
        names = ", ".join(f"{operator} ({count})" for operator, count in sorted(assumed.items()))
        text = f"engine not known, AI Core assumed: {names}"
        out.print(text, markup=False, style="dim", soft_wrap=True)
    _say_slow_or_refused(prediction)


def _say_slow_or_refused(prediction: Prediction, prefix: str = "") -> None:
    slow = {kernel.operator: kernel for kernel in prediction.kernels if kernel.engine == "AI CPU"}
    for kernel in list(slow.values())[:MAX_NOTES]:
        text = f"{prefix}AI CPU: {kernel.label}: {kernel.engine_reason}"
        out.print(text, markup=False, style="yellow", soft_wrap=True)
    if prediction.refused:
        node, reason = prediction.refused[0]
        text = (
            f"{prefix}ATC refuses {len(prediction.refused)} of the nodes, first {node}: {reason}; "
            "the time is as if it did not"
        )
        out.print(text, markup=False, style="yellow", soft_wrap=True)


def _say_not_counted(prediction: Prediction, prefix: str = "") -> None:
    missing = prediction.not_counted
    if not missing:
        return
    out.print(
        f"{prefix}not counted, the time lacks them ({len(missing)}):",
        style="yellow",
        soft_wrap=True,
    )
    for node, reason in missing[:MAX_NOTES]:
        out.print(f"  {node}: {reason}", markup=False, style="yellow", soft_wrap=True)
    if len(missing) > MAX_NOTES:
        out.print(f"  and {len(missing) - MAX_NOTES} more (see --json)", style="yellow")


def _where(prediction: Prediction) -> str:
    """Return the operators that fetch pixels, and what runs on the AI CPU."""
    told = [k for k in prediction.kernels if k.operator in _FETCHING or k.engine == "AI CPU"]
    counts = Counter((k.operator, k.engine) for k in told)
    each = [f"{count} {operator}, {engine}" for (operator, engine), count in counts.items()]
    return "; ".join(each) or "no gather"


def _ms(time_us: float) -> str:
    return f"{time_us / 1e3:.2f}"
