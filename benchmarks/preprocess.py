"""How many images a second are prepared, by one process and by several lanes?

12,067 JPEGs, 60 to 300 pixels wide and 20 to 100 high, in an LMDB; each way in a fresh process, in
turns. On a shared machine only the runs count during which all others used little of the cores (or
all runs, if there are none); how many those are is printed.

"Loop" is the plain single process that the goal was measured beside: PaddleOCR's loader with 4
workers 1,966 images/s, a loop 7,720. So five times the loader is 1.27 times the loop, on any
machine and any pictures.

Memory is the greatest sum of the proportional set sizes of a process and its children, sampled.

    python benchmarks/preprocess.py [--rounds 7] [--wait 12]

``--wait`` seconds at most for a quiet moment before each run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import lmdb
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import ROOT, machine, save
from eval.render import STYLES, random_word, render_word

RECORDS = 12067
LOADER, LOOP = 1966.0, 7720.0  # images/s, as the goal states them
GOAL = 5 * LOADER / LOOP
GOAL_MB = 500.0
BASES = 300  # rendered words; each record is one of them in a size and with noise of its own
WAYS = ("loop", "2 threads", "1 lane", "2 lanes", "3 lanes")
QUIET = 0.2  # cores that all others may use in a run that counts
_SAMPLE_S = 0.02
CHILD = """
import hashlib, json, os, sys, time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
import cv2
from eval.ahead import prepare_all
from eval.lmdb_data import LmdbTree
from eval.samples import prepare
path, way, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def threads(samples, count=2, size=32):
    waiting, samples = deque(), iter(samples)
    with ThreadPoolExecutor(count) as pool:
        while chunk := list(islice(samples, size)):
            waiting.append(pool.submit(lambda chunk: [prepare(one) for one in chunk], chunk))
            if len(waiting) > 2 * count:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()

def prepared(tree):
    if way == "loop":
        return map(prepare, tree)
    return threads(tree) if way == "2 threads" else prepare_all(tree, int(way[0]))

with LmdbTree(path) as tree:
    if what == "digest":
        found = hashlib.sha256()
        for record, image in prepared(tree):
            found.update(repr(record).encode() + image.tobytes())
        print(json.dumps(found.hexdigest()))
    else:
        before, started = os.times(), time.perf_counter()
        count = sum(1 for _ in prepared(tree))
        seconds, after = time.perf_counter() - started, os.times()
        print(json.dumps([count / seconds, sum(after[:4]) - sum(before[:4])]))
"""


class Run(NamedTuple):
    """One run: what it printed, its memory, and how many cores all others used meanwhile."""

    printed: Any
    peak_mb: float
    others: float


def main() -> None:
    """Measure and print the table."""
    rounds, wait_s = _option("--rounds", 7), _option("--wait", 0)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "jpegs"
        size = write_jpegs(data)
        digests = {way: _run(data, way, "digest").printed for way in WAYS}
        found: dict[str, list[Run]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way in WAYS:
                _wait(wait_s)
                found[way].append(_run(data, way, "time"))
    same = len(set(digests.values())) == 1
    rows = {way: _row(runs) for way, runs in found.items()}
    for row in rows.values():
        row["of_loop"] = row["rate"] / rows["loop"]["rate"]
    print(f"{RECORDS} JPEGs of {size:.0f} bytes; pixels, records and order alike: {same}")
    print(f"goal {GOAL:.2f} times the loop, {GOAL_MB:g} MB\n")
    print("way        images/s  of the loop   best/s   CPU s   peak MB   quiet runs")
    for way, row in rows.items():
        print(
            f"{way:10} {row['rate']:8.0f} {row['of_loop']:12.2f} {row['best']:8.0f}"
            f" {row['cpu_s']:7.2f} {row['peak_mb']:9.0f} {row['quiet']:6.0f} of {rounds}"
        )
    where = machine("opencv-python-headless", "lmdb", "numpy")
    save("preprocess", {"records": RECORDS, "alike": same, "rows": rows, "machine": where})


def _option(name: str, default: int) -> int:
    return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default


def _wait(seconds: int) -> None:
    """Wait until others leave the cores alone, or that long."""
    for _ in range(seconds):
        before = _busy_s()
        time.sleep(1)
        if _busy_s() - before < QUIET:
            return


def write_jpegs(folder: Path) -> float:
    """Write the data set; return the mean size of a picture in bytes."""
    rng = np.random.default_rng(8)
    words = [random_word(rng) for _ in range(BASES)]
    bases = [render_word(word, rng, STYLES["mixed"], ()) for word in words]
    values = {b"num-samples": b"%d" % RECORDS}
    for number in range(1, RECORDS + 1):
        size = (int(rng.integers(60, 301)), int(rng.integers(20, 101)))
        image = cv2.resize(bases[number % BASES], size).astype(np.int16)
        image += rng.integers(-12, 13, (size[1], size[0], 1), dtype=np.int16)
        jpeg = cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8))[1].tobytes()
        values[b"image-%09d" % number] = jpeg
        values[b"label-%09d" % number] = words[number % BASES].encode()
    folder.mkdir()
    with (
        lmdb.open(str(folder), map_size=1 << 30, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key in sorted(values):
            transaction.put(key, values[key])
    return sum(len(value) for key, value in values.items() if key.startswith(b"i")) / RECORDS


def _row(runs: list[Run]) -> dict[str, float]:
    """Return the figures of a way, from its quiet runs where there are any."""
    quiet = [run for run in runs if run.others < QUIET]
    rates = [run.printed[0] for run in quiet or runs]
    return {
        "rate": median(rates),
        "best": max(run.printed[0] for run in runs),
        "cpu_s": min(run.printed[1] for run in runs),
        "peak_mb": max(run.peak_mb for run in runs),
        "quiet": len(quiet),
    }


def _run(data: Path, way: str, what: str) -> Run:
    """Run one way in a child; sample its memory meanwhile."""
    command = [sys.executable, "-c", CHILD, str(data), way, what]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    peak, busy, started = 0.0, _busy_s(), time.perf_counter()
    before = sum(os.times()[:4])
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        while child.poll() is None:
            peak = max(peak, _tree_mb(child.pid))
            time.sleep(_SAMPLE_S)
        printed = child.stdout.read() if child.stdout else b""
    if child.returncode:
        sys.exit(f"{way}: exit code {child.returncode}")
    ours = sum(os.times()[:4]) - before
    others = (_busy_s() - busy - ours) / (time.perf_counter() - started)
    return Run(json.loads(printed), peak, others)


def _busy_s() -> float:
    """Return the seconds that all cores together have worked since the machine started."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _tree_mb(pid: int) -> float:
    """Return the proportional set size of a process and of all below it, in 10^6 bytes."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += 1024 * int(line.split()[1]) / 1e6
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += _tree_mb(int(child))
    except OSError:  # it has ended meanwhile
        pass
    return total


if __name__ == "__main__":
    main()
