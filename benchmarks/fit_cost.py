"""Which prices make the cost model agree with what was published for the 310P3?

Published: StarNet MobileNetV3 at six batches, with the GridSample of CANN 6.0.RC1. The time of each
is amounts times prices, and three prices are free: a launch, the slowdown against peak rates, and
one small copy of GridSample. The six points alone cannot tell GridSample from the network around
it (both grow with the batch), so two points of Rosetta MobileNetV3 stand beside them: the same
backbone without GridSample and LSTM, taken here as the piece of StarNet between those two.

Relative errors are minimised, prices cannot be negative. Left out in turns are the six points of
StarNet; the two anchors stay. The other prices are assumed: nothing published depends on them.

    python benchmarks/fit_cost.py [--check]
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ascend.cost.chip import ASCEND_310P3  # noqa: E402
from ascend.cost.engine import places  # noqa: E402
from ascend.cost.predict import SOC  # noqa: E402  the path comes first
from ascend.cost.prices import PRICES_FILE, Work  # noqa: E402
from ascend.cost.walk import kernels_of  # noqa: E402
from onnx_passes.core.model_io import load  # noqa: E402
from onnx_passes.passes.pin_shape import PinShape  # noqa: E402
from onnx_passes.surgery.extract import extract  # noqa: E402
from pipeline.export import export_starnet  # noqa: E402

if TYPE_CHECKING:
    import onnx_ir as ir

STARNET_FPS = {
    1: 356.369,
    4: 1252.858,
    8: 1930.678,
    16: 2518.828,
    32: 2608.216,
    64: 2617.897,
}
ROSETTA_FPS = {1: 2302.0, 64: 24219.0}
STARNET = "published guide, StarNet MobileNetV3 on 310P3, CANN 6.0.RC1, native GridSample, float16"
ROSETTA = "published guide, Rosetta MobileNetV3 on 310P3 (no GridSample, no LSTM)"
INPUT_SHAPE, OUTPUT_SHAPE = [3, 32, 100], [25, 37]
FREE = ("launches", "peak_us", "copies")
UNITS = {"launches": "us", "peak_us": "times the time at peak rates", "copies": "us"}
CYCLE_US = 1 / ASCEND_310P3.clock_mhz
# What StarNet does not exercise: value, low, high, unit, source.
ASSUMED = {
    "fetches": (
        10 * CYCLE_US,
        2 * CYCLE_US,
        40 * CYCLE_US,
        "us",
        "10 cycles (2 to 40) to compute an address, read and write one element",
    ),
    "cpu_launches": (100.0, 30.0, 500.0, "us", "a call to the AI CPU through its scheduler"),
    "cpu_elements": (
        0.01,
        0.002,
        0.031,
        "us",
        "upper end: the generator of FOMM, published at 7.75 fps, gathers about 4.2 M elements "
        "(256 channels of 64x64, 4 corners), which take no longer than all its 129 ms",
    ),
}
RESULTS = Path(__file__).parent / "results"

Floats = npt.NDArray[np.float64]


def main() -> None:
    """Fit, write the prices and the results, or compare them with what is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if it differs")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        points = published_points(export_starnet(Path(folder, "starnet.onnx")))
    document = fitted(points)
    print(table(document))
    if check:
        same = json.loads(PRICES_FILE.read_text(encoding="utf-8")) == document
        print("as written" if same else f"differs from {PRICES_FILE.name}")
        sys.exit(0 if same else 1)
    PRICES_FILE.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2) + "\n"
    PRICES_FILE.write_text(text, encoding="utf-8")
    (RESULTS / "cost.json").write_text(text, encoding="utf-8")
    (RESULTS / "cost.md").write_text(table(document), encoding="utf-8")


def published_points(path: Path) -> list[dict[str, Any]]:
    """Return network, batch, published time and amounts of each point."""
    points = [
        _point("StarNet", batch, fps, pinned(path, batch)) for batch, fps in STARNET_FPS.items()
    ]
    points += [
        _point("Rosetta", batch, fps, backbone(pinned(path, batch)))
        for batch, fps in ROSETTA_FPS.items()
    ]
    return points


def pinned(path: Path, batch: int) -> ir.Model:
    """Return StarNet at a batch, with every shape known."""
    model = load(path)
    sizes = ",".join(map(str, [batch, *INPUT_SHAPE]))
    PinShape(shapes=f"x={sizes}").run(model)
    return model


def backbone(model: ir.Model) -> ir.Model:
    """Return what lies between GridSample and the first LSTM."""
    start = next(node for node in model.graph if node.op_type == "GridSample").outputs[0]
    end = next(node for node in model.graph if node.op_type == "LSTM").inputs[0]
    assert end is not None
    return extract(model, [start.name or ""], [end.name or ""])


def _point(network: str, batch: int, fps: float, model: ir.Model) -> dict[str, Any]:
    found = kernels_of(model, ASCEND_310P3, places(model, soc=SOC, cann="8.1.RC1"))
    assert not found.not_counted, found.not_counted
    work = sum((kernel.work(ASCEND_310P3) for kernel in found.started), Work())
    return {
        "network": network,
        "batch": batch,
        "published_us": round(1e6 * batch / fps, 1),
        "work": {name: round(float(getattr(work, name)), 3) for name in FREE},
    }


def fitted(points: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document of prices, ranges and residuals."""
    amounts = np.array([[point["work"][name] for name in FREE] for point in points])
    times = np.array([point["published_us"] for point in points])
    starnet = [index for index, point in enumerate(points) if point["network"] == "StarNet"]
    best = solve(amounts, times)
    folds = []
    for index in starnet:
        prices = solve(np.delete(amounts, index, 0), np.delete(times, index))
        error = float(amounts[index] @ prices / times[index] - 1)
        folds.append(
            {"batch": points[index]["batch"], "prices": _named(prices), "error": round(error, 4)}
        )
    alone = solve(amounts[starnet], times[starnet])
    shared = shared_by_all_cores(points, amounts)
    for point, time, error, *others in zip(
        points,
        amounts @ best,
        amounts @ best / times - 1,
        amounts @ alone / times - 1,
        shared @ solve(shared, times) / times - 1,
        strict=True,
    ):
        point["predicted_us"] = round(float(time), 1)
        point["error"] = round(float(error), 4)
        names = ("error_of_six_alone", "error_if_cores_share_a_picture")
        point |= {name: round(float(other), 4) for name, other in zip(names, others, strict=True)}
    return {
        "prices": _prices(best, folds),
        "fit": {
            "sources": {"StarNet": STARNET, "Rosetta": ROSETTA},
            "network": "StarNet",
            "input_shape": INPUT_SHAPE,
            "output_shape": OUTPUT_SHAPE,
            "free_prices": len(FREE),
            "degrees_of_freedom": len(points) - len(FREE),
            "points": points,
            "leave_one_out": folds,
            "greatest_left_out_error": max(abs(fold["error"]) for fold in folds),
            "prices_of_six_alone": _named(alone),
        },
    }


def shared_by_all_cores(points: list[dict[str, Any]], amounts: Floats) -> Floats:
    """Return the amounts if a picture's copies were spread over the cores."""
    spread = amounts.copy()
    column = FREE.index("copies")
    one_picture = amounts[0, column]  # of batch 1: all of it on one core
    for row, point in zip(spread, points, strict=True):
        if row[column]:
            row[column] = point["batch"] * one_picture / ASCEND_310P3.cores
    return spread


def solve(amounts: Floats, times: Floats) -> Floats:
    """Return the prices >= 0 with the least squared relative error.

    With three prices every set that may be above 0 can be tried; the best that is valid wins.
    """
    relative = amounts / times[:, None]
    ones = np.ones(len(times))
    best, least = np.zeros(amounts.shape[1]), np.inf
    for size in range(1, amounts.shape[1] + 1):
        for columns in itertools.combinations(range(amounts.shape[1]), size):
            some = np.linalg.lstsq(relative[:, columns], ones, rcond=None)[0]
            error = float(np.sum((relative[:, columns] @ some - 1) ** 2))
            if (some >= 0).all() and error < least:
                best, least = np.zeros(amounts.shape[1]), error
                best[list(columns)] = some
    return best


def _named(prices: Floats) -> dict[str, float]:
    return {name: round(float(price), 5) for name, price in zip(FREE, prices, strict=True)}


def _prices(best: Floats, folds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the table of prices: fitted ones with the range over the folds, and assumed ones."""
    table_ = {}
    for name, value in _named(best).items():
        seen = [value, *(fold["prices"][name] for fold in folds)]
        table_[name] = _entry(value, min(seen), max(seen), UNITS[name], "fitted", "fit_cost.py")
    copy = table_["copies"]["value"]
    source = "the fitted copy of GridSample; a tenth to twice of it"
    table_["row_copies"] = _entry(copy, copy / 10, copy * 2, "us", "assumed", source)
    for name, (value, low, high, unit, source) in ASSUMED.items():
        table_[name] = _entry(value, low, high, unit, "assumed", source)
    return table_


def _entry(
    value: float, low: float, high: float, unit: str, kind: str, source: str
) -> dict[str, Any]:
    numbers = {"value": value, "low": low, "high": high}
    rounded = {name: round(number, 5) for name, number in numbers.items()}
    return {**rounded, "unit": unit, "kind": kind, "source": source}


def table(document: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    fit = document["fit"]
    left_out = {fold["batch"]: fold["error"] for fold in fit["leave_one_out"]}
    lines = [
        f"{fit['free_prices']} prices, {len(fit['points'])} points, "
        f"{fit['degrees_of_freedom']} degrees of freedom.",
        "",
        "| network | batch | published ms | predicted ms | error | left out | fitted to the six "
        "alone | if cores shared a picture |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for point in fit["points"]:
        starnet = point["network"] == "StarNet"
        out = f"{left_out[point['batch']]:+.1%}" if starnet else "-"
        lines.append(
            f"| {point['network']} | {point['batch']} | {point['published_us'] / 1e3:.3f} "
            f"| {point['predicted_us'] / 1e3:.3f} | {point['error']:+.1%} | {out} "
            f"| {point['error_of_six_alone']:+.1%} "
            f"| {point['error_if_cores_share_a_picture']:+.1%} |"
        )
    lines += ["", "| price | value | low | high | unit | kind |", "|---|---|---|---|---|---|"]
    for name, price in document["prices"].items():
        numbers = " | ".join(f"{price[key]:.4g}" for key in ("value", "low", "high"))
        lines.append(f"| {name} | {numbers} | {price['unit']} | {price['kind']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
