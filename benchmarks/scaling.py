"""Does the cost of each pass and each preset grow with the model, or faster?

For each pass a chain on which it fires again and again, and one on which it finds nothing, of 5,000
and of 50,000 nodes; for each preset a chain of what exporters leave behind, through ``optimize``
without numbers. Processor time of the work alone (no import, no load) in a child process for each
size and round, sizes interleaved, the best round counts.

    python benchmarks/scaling.py [NAME...] [--rounds 2] [--small 5000] [--large 50000]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ascend.presets import PRESETS
from benchmarks.chains import passes
from benchmarks.measure import machine, run_code, save

EXPONENT, SECONDS = 1.15, 6.0

_PASS = """
import json, sys, time
import onnx_ir as ir
from benchmarks.chains import chain_for, option_text, quiet_chain
from onnx_passes.core.collection import rare_collections
from onnx_passes.core.passlist import parse
name, kind, nodes = sys.argv[1], sys.argv[2], int(sys.argv[3])
with rare_collections():  # as the manager runs passes
    model = ir.from_proto(quiet_chain(nodes) if kind == "quiet" else chain_for(name, nodes))
(item,) = parse(option_text(name))
with rare_collections():
    started = time.process_time()
    notes = item.run(model).rewritten
    print(json.dumps([time.process_time() - started, len(notes)]))
"""
_PRESET = """
import json, sys, time
import onnx_ir as ir
from benchmarks.chains import chain_for, quiet_chain
from onnx_passes.core.collection import rare_collections
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.passlist import parse
text, kind, nodes = sys.argv[1], sys.argv[2], int(sys.argv[3])
with rare_collections():
    proto = quiet_chain(nodes) if kind == "quiet" else chain_for("mixed", nodes)
    model = ir.from_proto(proto)
items = parse(text)
settings = Settings(check=False, again=lambda: ir.from_proto(proto))  # as the command line does
started = time.process_time()
outcome = run_passes(model, items, settings)
assert outcome.stopped_by is None, outcome.stopped_by
print(json.dumps([time.process_time() - started, sum(len(s.rewritten) for s in outcome.steps)]))
"""


def main() -> None:
    """Measure and print the table."""
    options = _options()
    texts = {f"@{preset.name}": preset.passes for preset in PRESETS}
    rows = []
    print(f"{'':26} {'chain':6} {'s small':>8} {'s large':>8} exponent rewrites  goal", flush=True)
    for name in options.names or [*passes(), *texts]:
        for kind in ("fires", "quiet"):
            rows.append(_row(name, kind, texts, options))
            print(_line(rows[-1]), flush=True)
    if not options.names:
        sizes = {"small": options.small, "large": options.large, "rounds": options.rounds}
        found = machine("onnxruntime", "onnx-ir", "onnxsim", "numpy")
        save("scaling", {"sizes": sizes, "rows": rows, "machine": found})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--small", type=int, default=5000)
    parser.add_argument("--large", type=int, default=50000)
    return parser.parse_args()


def _row(
    name: str, kind: str, texts: dict[str, str], options: argparse.Namespace
) -> dict[str, object]:
    code = _PRESET if name in texts else _PASS
    best = {options.small: math.inf, options.large: math.inf}
    count = 0
    for _ in range(options.rounds):
        for nodes in (options.small, options.large):
            done = run_code(code, texts.get(name, name), kind, str(nodes))
            if done.returncode:
                raise SystemExit(done.output)
            seconds, count = json.loads(done.output.splitlines()[-1])
            best[nodes] = min(best[nodes], seconds)
    small, large = best.values()
    exponent = math.log(large / small) / math.log(options.large / options.small)
    met = exponent <= EXPONENT and large <= SECONDS
    return {
        "name": name,
        "chain": kind,
        "small_s": round(small, 4),
        "large_s": round(large, 3),
        "exponent": round(exponent, 2),
        "rewrites": count,
        "met": met,
    }


def _line(row: dict[str, object]) -> str:
    goal = "met" if row["met"] else "MISSED"
    return (
        f"{row['name']:26} {row['chain']:6} {row['small_s']:8.3f} {row['large_s']:8.3f} "
        f"{row['exponent']:8.2f} {row['rewrites']:8d}  {goal}"
    )


if __name__ == "__main__":
    main()
