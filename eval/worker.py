"""A process beside this one that prepares records, and the memory that both share.

Python's lock lets one thread at a time decide what is next, so two threads prepare hardly more than
one (``benchmarks/preprocess.py``); processes do not share it. The inputs come back through memory
that both have mapped, everything else through pipes. A fork would start faster, but copies locks
that other threads hold, and this process has threads of onnxruntime and of OpenCV: the process is
a fresh Python. It ends with this one, whatever ends it: its pipe is closed then.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.errors import WorkerError
from eval.images import CHANNELS, HEIGHT, WIDTH
from eval.manifest import Record

if TYPE_CHECKING:
    from eval.lmdb_data import RawSample
    from eval.samples import Prepared

SUPPORTED = hasattr(os, "memfd_create")  # Linux
_ITEM_BYTES = 4 * CHANNELS * HEIGHT * WIDTH
# The module search path comes along: the same code, whatever the working directory holds.
_BOOT = (
    "import json, sys; memory, records, sys.path[:] = json.loads(sys.argv[1]); "
    "from eval.worker_child import serve; serve(memory, records)"
)


class Worker:
    """A process that prepares up to ``records`` records at a time. Close it."""

    def __init__(self, records: int) -> None:
        """Start it; what it has to load takes a moment, see :attr:`ready`.

        Raises:
            WorkerError: If it cannot be started.
        """
        import json

        memory = os.memfd_create("onnx-passes-inputs")
        try:
            os.ftruncate(memory, records * _ITEM_BYTES)
            self._memory = mmap.mmap(memory, 0)
            job = json.dumps([memory, records, sys.path])
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, job],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(memory,),
                start_new_session=True,  # Ctrl-C is for this process; it closes its workers
            )
        except OSError as error:
            msg = f"cannot start a process that prepares records: {error.strerror}; --workers 1"
            raise WorkerError(msg) from error
        finally:
            os.close(memory)
        assert self._process.stdin is not None  # both are pipes
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        shape = (records, CHANNELS, HEIGHT, WIDTH)
        self._inputs = np.frombuffer(self._memory, np.float32).reshape(shape)
        self._ready = False

    @property
    def ready(self) -> bool:
        """Whether it has started; never waits.

        Raises:
            WorkerError: If it has ended.
        """
        if not self._ready and select.select([self._answers], [], [], 0)[0]:
            self._answer()
            self._ready = True
        return self._ready

    def prepare(self, samples: list[RawSample]) -> list[Prepared]:
        """Return what ``samples.prepare`` returns for each, in order.

        Raises:
            WorkerError: If the process has ended.
        """
        request = [(sample.image, sample.label, sample.refusal) for sample in samples]
        try:
            pickle.dump(request, self._requests, pickle.HIGHEST_PROTOCOL)
            self._requests.flush()
        except OSError as error:
            raise self._ended() from error
        answer, inputs = self._answer(), self._inputs[: len(samples)]
        return [
            (
                Record(sample.index, sample.dataset, sample.record, label, reason),
                image.copy() if reason is None else None,
            )
            for sample, (label, reason), image in zip(samples, answer, inputs, strict=True)
        ]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._requests, self._answers):
            with contextlib.suppress(OSError):  # what was not sent goes nowhere
                stream.close()

    def _answer(self) -> Any:  # noqa: ANN401  what the protocol says
        try:
            return pickle.load(self._answers)  # noqa: S301, RUF100  our own process wrote it
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._ended() from error

    def _ended(self) -> WorkerError:
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return WorkerError(f"a process that prepares records {how}; try again with --workers 1")
