"""A process that prepares records for another, until that closes the pipe or ends.

Started by :mod:`eval.worker`. Each request is a list of (image file, label, refusal), see
:class:`eval.lmdb_data.RawSample`; the answer is a list of (label, reason), and the inputs of the
good ones lie in the shared memory. Before the first it says that it has loaded what it needs.
"""

from __future__ import annotations

import mmap
import os
import pickle
import sys

import numpy as np

from eval.errors import import_extra
from eval.images import CHANNELS, HEIGHT, WIDTH, to_input
from eval.labels import normalise
from eval.samples import examine

READY = "ready"


def serve(memory: int, records: int) -> None:
    """Answer requests on stdin, on what was stdout.

    Args:
        memory: File descriptor of the shared memory.
        records: How many inputs float32 [3, 32, 100] it holds.
    """
    import_extra("cv2")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    shape = (records, CHANNELS, HEIGHT, WIDTH)
    inputs = np.frombuffer(mmap.mmap(memory, 0), np.float32).reshape(shape)
    _send(READY, answers)
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)  # noqa: S301, RUF100  our own process wrote it
        except EOFError:  # the other end is done, or gone
            return
        answer = []
        for place, stored in enumerate(request):
            label, image, reason = examine(*stored)
            if reason is None and image is not None and label is not None:
                to_input(image, inputs[place])
                label = normalise(label)
            answer.append((label, reason))
        _send(answer, answers)


def _send(answer: object, stream: object) -> None:
    pickle.dump(answer, stream, pickle.HIGHEST_PROTOCOL)  # type: ignore[arg-type]
    stream.flush()  # type: ignore[attr-defined]
