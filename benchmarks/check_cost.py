"""What does checking cost, next to the passes it checks?

For StarNet and a BERT-like model: time of the passes, time of their checks, and the work behind it,
counted: sessions created and runs made. Promise: one session and one run per set of feeds for each
changed pass; nothing for an unchanged one; the original's own answers once.

    python benchmarks/check_cost.py [STARNET.onnx]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from typing import TYPE_CHECKING

from benchmarks.measure import machine, save
from benchmarks.models import bert
from onnx_passes.core.manager import optimize
from onnx_passes.numerics.runner import Runner

if TYPE_CHECKING:
    from onnx_passes.core.outcome import Outcome

CASES = {
    "StarNet": "drop-identity,fuse-batch-norm,decompose-grid-sample,fold-constants,drop-unused",
    "BERT-like": "drop-identity,fold-constants,merge-duplicates,drop-unused",
}


class Counter:
    """Counts sessions and runs while it is installed."""

    def __init__(self) -> None:
        """Install the counting in place of the plain methods."""
        self.sessions = self.runs = 0
        create, run = Runner.__init__, Runner.run

        def counted_create(runner: Runner, *args: object, **options: object) -> None:
            self.sessions += 1
            create(runner, *args, **options)  # type: ignore[arg-type]

        def counted_run(runner: Runner, *args: object) -> object:
            self.runs += 1
            return run(runner, *args)  # type: ignore[arg-type]

        Runner.__init__ = counted_create  # type: ignore[assignment, method-assign]
        Runner.run = counted_run  # type: ignore[assignment, method-assign]


def main() -> None:
    """Measure and print the table."""
    counter = Counter()
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        for case, path in _models(Path(name)).items():
            counter.sessions = counter.runs = 0
            outcome = optimize(path, CASES[case])
            rows[case] = _row(outcome, counter)
    print(f"{'model':10} {'nodes':>6} {'changed':>8} {'passes s':>9} {'checks s':>9} sessions runs")
    for case, row in rows.items():
        print(
            f"{case:10} {row['nodes']:6.0f} {row['changed']:8.0f} {row['pass_s']:9.2f} "
            f"{row['check_s']:9.2f} {row['sessions']:8.0f} {row['runs']:4.0f}"
        )
    save("check_cost", {"rows": rows, "machine": machine("onnxruntime", "onnx-ir")})


def _models(folder: Path) -> dict[str, Path]:
    starnet = Path(sys.argv[1]) if len(sys.argv) > 1 else folder / "starnet.onnx"
    if not starnet.exists():
        from pipeline.export import export_starnet

        export_starnet(starnet)
    onnx.save(bert(), folder / "bert.onnx")
    return {"StarNet": starnet, "BERT-like": folder / "bert.onnx"}


def _row(outcome: Outcome, counter: Counter) -> dict[str, float]:
    """Return the figures of one run; its verdict must be sound, or they mean nothing."""
    if not outcome.ok:
        message = f"the run is {outcome.verdict}: {[step.reason for step in outcome.steps]}"
        raise SystemExit(message)
    return {
        "nodes": outcome.before.nodes,
        "changed": sum(step.verdict == "passed" for step in outcome.steps),
        "pass_s": sum(step.seconds for step in outcome.steps),
        "check_s": sum(step.check_seconds for step in outcome.steps),
        "sessions": counter.sessions,
        "runs": counter.runs,
    }


if __name__ == "__main__":
    main()
