"""Measure weights on LMDB trees: word accuracy per set, also with the sampling grid held still.

    python -m benchmarks.train_starnet.evaluate WEIGHTS TREE [TREE ...]

WEIGHTS is ``model.pt`` of a run or a converted ``.npz``; a TREE holds one folder per set.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.train_starnet.network import StarNet, load_arrays
from benchmarks.train_starnet.train import read_texts
from eval.lmdb_data import LmdbTree
from eval.samples import prepare


def main() -> None:
    """Print one line per set and one per tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("trees", type=Path, nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = StarNet()
    if options.weights.suffix == ".npz":
        load_arrays(model, options.weights)
    else:
        model.load_state_dict(torch.load(options.weights))
    print("set | images | accuracy | identity grid")
    for tree in options.trees:
        report(tree, model)


def report(tree: Path, model: StarNet) -> None:
    """Print the accuracies of one tree."""
    sets = defaultdict(list)
    with LmdbTree(tree) as samples:
        for record, image in map(prepare, samples):
            if image is not None:
                sets[record.dataset].append((record.label, image))
    right: list[tuple[bool, bool]] = []
    for name, pairs in sets.items():
        labels = [label for label, _ in pairs]
        images = np.stack([image for _, image in pairs])
        found = read_texts(model, images)
        still = read_texts(model, images, identity=True)
        marks = [(a == c, b == c) for a, b, c in zip(found, still, labels, strict=True)]
        show(f"{tree.name}/{name}", marks)
        right += marks
    show(tree.name, right)


def show(name: str, marks: list[tuple[bool, bool]]) -> None:
    """Print one line."""
    with_tps, without = np.mean(marks, axis=0)
    print(f"{name} | {len(marks)} | {with_tps:.4f} | {without:.4f}", flush=True)


if __name__ == "__main__":
    main()
