"""Does the checker catch every planted fault, name its place, and leave correct rewrites alone?

Each fault of planted.py is planted into StarNet behind two correct passes, once claiming to be
exact and once claiming to round only. Correct rewrites run over several sets of feeds. Printed:
misses (a fault passed), misplaced blame (wrong pass or tensor), false alarms (a correct pass
blamed).

    python benchmarks/planted_faults.py [MODEL.onnx]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import machine, save
from benchmarks.planted import FAULTS, culprit_tensor
from onnx_passes.core.bisect import bisect
from onnx_passes.core.manager import Settings, optimize, run_passes
from onnx_passes.core.model_io import load
from onnx_passes.core.passlist import parse

PREFIX = "drop-identity,fuse-batch-norm"
CORRECT = (
    "onnxsim",
    "fuse-batch-norm,drop-unused",
    "decompose-grid-sample",
    "fold-constants,merge-duplicates,drop-identity",
    "onnxsim,decompose-grid-sample,fuse-batch-norm",
)
HANG_TIMEOUT_S = 5.0
SEEDS = 5


def main() -> None:
    """Count and print."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else _export(Path(name) / "starnet.onnx")
        caught = {**_faults(path), **_ends(path)}
        alarms, runs = _false_alarms(path)
    missed = sum(not found for found, _ in caught.values())
    misplaced = sum(found and not placed for found, placed in caught.values())
    for fault, (found, placed) in caught.items():
        blame = "pass and tensor named" if placed else "misplaced"
        print(f"{fault:40} {'caught, ' + blame if found else 'MISSED'}")
    print(f"{len(caught)} planted faults: {missed} missed, {misplaced} blamed on the wrong place")
    print(f"{runs} correct passes: {alarms} false alarms")
    figures = {"faults": caught, "missed": missed, "misplaced": misplaced}
    where = machine("onnxruntime", "onnx-ir", "onnxsim")
    save("planted_faults", {**figures, "correct": runs, "false_alarms": alarms, "machine": where})


def _export(path: Path) -> Path:
    from pipeline.export import export_starnet

    return export_starnet(path)


def _faults(path: Path) -> dict[str, tuple[bool, bool]]:
    """Return for each fault and claim whether it was caught, and put in the right place."""
    found = {}
    before = optimize(path, PREFIX, check=False).model
    for claim in ("plant-fault", "plant-fault-closely"):
        for fault in FAULTS:
            text = f"{claim}{{fault={fault}}}"
            culprit = bisect(
                load(path), parse(f"{PREFIX},{text},decompose-grid-sample"), Settings()
            )
            caught = culprit is not None and culprit.step.name == claim
            tensor = culprit.tensor.name if culprit and culprit.tensor else ""
            # A fault may add tensors of its own before the one that it spoils.
            right = tensor == culprit_tensor(before, fault)
            found[text] = (caught, caught and right)
        text = f"{claim}{{fault=rename-output}}"
        outcome = optimize(path, f"{PREFIX},{text}")
        found[text] = (
            bool(outcome.blamed),
            bool(outcome.blamed) and outcome.blamed[0].text == text,
        )
    return found


def _ends(path: Path) -> dict[str, tuple[bool, bool]]:
    found = {}
    for how in ("crash", "hang"):
        text = f"plant-end{{how={how}}}"
        settings = Settings(timeout_s=HANG_TIMEOUT_S)
        outcome = run_passes(load(path), parse(f"{PREFIX},{text}"), settings)
        blamed = outcome.blamed
        found[text] = (bool(blamed), bool(blamed) and blamed[0].name == "plant-end")
    return found


def _false_alarms(path: Path) -> tuple[int, int]:
    """Return how many correct passes were blamed, over feeds of several seeds and sizes."""
    from onnx_passes.numerics.feeds import generate

    alarms = runs = 0
    for seed in range(SEEDS):
        feeds = generate(load(path), seed=100 + seed, shapes={"x": (1 + seed, 3, 32, 100)})
        for text in CORRECT:
            outcome = optimize(path, text, feeds=feeds, on_fail="keep")
            runs += len(outcome.steps)
            alarms += len(outcome.blamed)
    return alarms, runs


if __name__ == "__main__":
    main()
