"""Draw docs/grid_sample.svg from the sweep in results/grid_sample.json.

Usage::

    python benchmarks/grid_sample.py --sweep && python benchmarks/grid_sample_picture.py
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WIDTH_IN, HEIGHT_IN = 6.4, 3.6


def main() -> None:
    """Read the sweep and draw one line for each form."""
    mpl: Any = importlib.import_module("matplotlib")  # by name: only this script needs it
    mpl.use("svg")
    plt: Any = importlib.import_module("matplotlib.pyplot")
    mpl.rcParams["svg.hashsalt"] = "grid_sample"  # the same file every time
    text = (ROOT / "benchmarks" / "results" / "grid_sample.json").read_text(encoding="utf-8")
    figure, axes = plt.subplots(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
    for form, points in json.loads(text)["sweep"].items():
        channels, ratios = zip(*points, strict=True)
        axes.plot(channels, ratios, marker="o", label=form)
    axes.axhline(1, color="grey", linewidth=0.8, linestyle="--", label="native kernel")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("channels")
    axes.set_ylabel("processor time / native")
    axes.legend()
    figure.savefig(ROOT / "docs" / "grid_sample.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
