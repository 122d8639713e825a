"""The part of reading an inference model that runs Paddle: a child process of ``inference_model``.

It runs the model as it is on some feeds, replaces what no feed and no parameter reaches by its
value (the matrices of a thin plate spline: Paddle writes how to compute them, with an inverse that
ONNX does not have), saves it and converts it. Answers go into files, as far as it came: the
converter ends its process when it meets an operator that it does not know.
"""

from __future__ import annotations

import json
import re
import resource
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    Array = np.ndarray[Any, Any]

Value = Any  # paddle ships no types that mypy could follow here
_FETCH = "pd_op.fetch"
_INVERSE = "pd_op.inverse"
# What feeds, parameters and chance bring, and constants that are none the simpler for folding.
_FEEDS = ("pd_op.data", "pd_op.feed")
_REACHED = ("builtin.parameter", *_FEEDS)
_CONSTANT = (
    *("pd_op.full", "pd_op.full_int_array", "pd_op.assign_value", "pd_op.assign_value_"),
    "builtin.constant",
)
_CHANCE = re.compile(
    "bernoulli|dropout|exponential|gaussian|multinomial|normal_|poisson|rand|truncated|uniform"
)


def main(job_path: str) -> None:
    """Do the job: ``reference.npz``, ``facts.json``, then the ONNX file, all beside it."""
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    resource.setrlimit(resource.RLIMIT_AS, (job["memory_bytes"], job["memory_bytes"]))
    folder = Path(job_path).parent
    stage = _Stage(folder / "stage.txt")
    stage("load")
    model = _Model(job["stem"])
    stage("run")
    feed = np.load(folder / "feeds.npy")
    reference = model.run_all(feed, job["batch"])
    np.savez(folder / "reference.npz", *reference)
    stage("fold")
    facts, stem = model.fold(job["fold"], feed[: job["batch"]]), job["stem"]
    if facts["folded"]:
        stem = str(folder / "folded")
        model.save(stem)
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    stage("convert")
    convert = runpy.run_path(job["converter"])["main"]
    convert(f"{stem}.json", f"{stem}.pdiparams", str(folder / job["target"]))


class _Stage:
    """Leave a word on how far the work came: a dying process cannot."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, name: str) -> None:
        self._path.write_text(name, encoding="utf-8")


class _Model:
    """A loaded inference model: one program with its parameters."""

    def __init__(self, stem: str) -> None:
        import paddle

        paddle.enable_static()
        self._paddle = paddle
        self._executor = paddle.static.Executor(paddle.CPUPlace())
        loaded = paddle.static.load_inference_model(stem, self._executor)
        self._program, (self._feed,), self._outputs = loaded

    def run(self, feed: Array, values: list[Value] | None = None) -> list[Array]:
        """Return ``values``, or else the outputs."""
        found: list[Array] = self._executor.run(
            self._program, feed={self._feed: feed}, fetch_list=values or self._outputs
        )
        return found

    def run_all(self, feed: Array, batch: int) -> list[Array]:
        """Return the outputs for all pictures, ``batch`` of them in a run."""
        runs = [self.run(feed[start : start + batch]) for start in range(0, len(feed), batch)]
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def fold(self, mode: str, feed: Array) -> dict[str, Any]:
        """Replace constant values, all of them or the inverses; return what was done."""
        block = self._program.global_block()
        before = len(block.ops)
        constant = _constant_operations(block)
        values = list(_frontier(constant, mode))
        folded = [_described(value) for value in values]  # now: afterwards they are gone
        if values:
            for operation in block.ops:  # running with values to fetch and a fetch inside fails
                if operation.name() == _FETCH:
                    block.remove_op(operation)
            # One run for all; the feed has no part in the values, but a run needs one.
            for value, array in zip(values, self.run(feed, values), strict=True):
                self._replace(value, array)
            _remove_unread(block, constant)
        return {"folded": folded, "operations": [before, len(block.ops)]}

    def _replace(self, value: Value, array: Array) -> None:
        paddle = self._paddle
        with paddle.static.program_guard(self._program):
            paddle.pir.set_insertion_point(value.get_defining_op())
            value.replace_all_uses_with(paddle.assign(array))
            paddle.pir.set_insertion_point_to_block_end(self._program.global_block())

    def save(self, stem: str) -> None:
        """Write ``<stem>.json`` and ``<stem>.pdiparams``."""
        block = self._program.global_block()
        feeds = [operation.result(0) for operation in block.ops if operation.name() in _FEEDS]
        self._paddle.static.save_inference_model(
            stem, feeds, self._outputs, self._executor, program=self._program
        )


def _constant_operations(block: Value) -> dict[int, Value]:
    """Return, by id, the operations whose results no feed, parameter or chance reaches."""
    constant: dict[int, Value] = {}
    for operation in block.ops:  # in the order of computation
        makers = [value.get_defining_op() for value in operation.operands_source()]
        known = all(maker is not None and maker.id() in constant for maker in makers)
        if known and not _starts_anew(operation):
            constant[operation.id()] = operation
    for operation in reversed(list(constant.values())):
        if any(_leaves(value, constant) and _is_list(value) for value in operation.results()):
            del constant[operation.id()]  # no tensor to fold, but what it lists may be
    return constant


def _starts_anew(operation: Value) -> bool:
    """Return whether what ``operation`` makes depends on more than its operands."""
    name = operation.name()
    chance = _CHANCE.search(name) is not None
    return name in (*_REACHED, _FETCH) or chance or bool(operation.num_regions())


def _frontier(constant: dict[int, Value], mode: str) -> Iterator[Value]:
    """Yield the tensors to fold: computed, and read by an operation that is not constant."""
    for operation in constant.values():
        if operation.name() in _CONSTANT or (mode == "inverse" and operation.name() != _INVERSE):
            continue
        for value in operation.results():
            read = bool(value.all_used_ops()) if mode == "inverse" else _leaves(value, constant)
            if read and not _is_list(value):
                yield value


def _leaves(value: Value, constant: dict[int, Value]) -> bool:
    """Return whether an operation reads ``value`` that is not constant."""
    return any(reader.id() not in constant for reader in value.all_used_ops())


def _is_list(value: Value) -> bool:
    return not value.is_dense_tensor_type()


def _remove_unread(block: Value, constant: dict[int, Value]) -> None:
    for operation in reversed(constant.values()):
        if all(value.use_empty() for value in operation.results()):
            block.remove_op(operation)


def _described(value: Value) -> dict[str, Any]:
    operator = value.get_defining_op().name().removeprefix("pd_op.")
    dtype = str(value.dtype).removeprefix("paddle.")
    return {"operator": operator, "dtype": dtype, "shape": list(value.shape)}
