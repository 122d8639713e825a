"""A few images of the data, on which every pass is checked: spread over all of it."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import FlowError
from pipeline.export import INPUT_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eval.images import Float32
    from pipeline.stages.job import Job
    from pipeline.stages.stage import Watcher

# Enough to differ, few enough to take a second.
CHECKED_IMAGES = 8
ITEM = (3, 32, 100)


def feeds_of(job: Job, watcher: Watcher) -> dict[str, Any]:
    """Write the images; return the records by data set, how many are usable, and why others not.

    Raises:
        FlowError: If there are too few, or the model takes no such images.
        EvalError: If the data cannot be read.
    """
    from eval.ahead import manifest_of
    from eval.data import open_data

    name = _input_name(job)
    assert job.data is not None  # asked for only where there are data
    with open_data(job.data) as data:
        manifest = manifest_of(data, watcher.progress)
        good = [record.index for record in manifest.good]
        if len(good) < CHECKED_IMAGES:
            msg = f"{job.data} holds {len(good)} usable images; the checks need {CHECKED_IMAGES}"
            raise FlowError(msg)
        # Spread over the data: the first records of one set resemble each other.
        chosen = good[:: len(good) // CHECKED_IMAGES][:CHECKED_IMAGES]
        counts = dict(data.counts)
    images = _images(job, chosen)
    batch = job.fixed_batch or CHECKED_IMAGES
    _save(job, name, np.stack([images[i % len(images)] for i in range(batch)]))
    bad = [record for record in manifest.records if record.reason is not None]
    return {
        "records": counts,
        "usable": len(good),
        "bad": Counter(record.reason for record in bad),
        "first_bad": f"{bad[0].dataset}, record {bad[0].record}" if bad else "",
    }


def _images(job: Job, chosen: Sequence[int]) -> list[Float32]:
    from eval.data import open_data
    from eval.samples import prepare

    wanted, found = set(chosen), []
    assert job.data is not None  # see above
    with open_data(job.data) as data:
        for sample in data:
            if sample.index in wanted:
                _, image = prepare(sample)
                assert image is not None  # it is one of the good ones
                found.append(image)
    return found


def _save(job: Job, name: str, images: Float32) -> None:
    from onnx_passes.numerics.feed_files import save

    part = job.feeds.with_name(f".onnx-passes-feeds.{os.getpid()}.npz")
    try:
        save(part, {name: images})
        part.replace(job.feeds)
    finally:
        part.unlink(missing_ok=True)


def _input_name(job: Job) -> str:
    """Return the name of the model's input; refuse a model that takes no images of words."""
    from onnx_passes.numerics.feeds import graph_inputs

    if job.given is None:
        return INPUT_NAME
    values = graph_inputs(job.given)
    shape = values[0].shape if len(values) == 1 else None
    if shape is None or len(shape) != 1 + len(ITEM) or tuple(shape[1:]) != ITEM:
        found = ", ".join(f"{value.name} {value.shape}" for value in values)
        msg = (
            f"model {job.original} takes {found}; data need one input [N, 3, 32, 100]: leave "
            "--data out, or take a recipe that renders no words"
        )
        raise FlowError(msg)
    return values[0].name or ""
