"""Run a recogniser with ONNX Runtime, and evaluate it on a data folder."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.ahead import lanes_for, prepare_all
from eval.data import open_data
from eval.errors import EvalError, NonFiniteError
from eval.evaluation import BadPolicy, Evaluation, Throughput, check_policy, conclude
from eval.heads import CLASSES, EXPECTED, STEPS, decode
from eval.images import CHANNELS, HEIGHT, WIDTH
from eval.manifest import Manifest, Record
from eval.providers import CPU, Provider

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from eval.ctc import Reading
    from eval.data import Data
    from eval.evaluation import Progress
    from eval.images import Float32

DEFAULT_BATCH = 32  # a choice: it decides the speed and the memory, never a text
_WARM_UP_RUNS = 2  # the first also shows the true output shape
_INPUT = [CHANNELS, HEIGHT, WIDTH]
_OUTPUTS = [[STEPS, classes] for classes in CLASSES]
_LONGEST_REASON = 300  # characters: the runtime appends whole stacks of messages


class OrtBackend:
    """A model [*, 3, 32, 100] -> [*, 25, 37 or 38] in ONNX Runtime.

    Attributes:
        provider: Where it runs.
        batch_size: Images in a run: what the model fixes, or else what was asked for.
    """

    def __init__(
        self,
        model_path: Path,
        batch_size: int | None = None,
        provider: Provider = Provider(),  # noqa: B008  it cannot change
        threads: int | None = None,
    ) -> None:
        """Load the model, check its shapes and warm it up.

        Args:
            model_path: An ONNX file with one float32 input and one float32 output.
            batch_size: Images in a run. A model with a fixed batch runs at its own.
            provider: Where it runs.
            threads: Threads within an operator; None for onnxruntime's choice, one a core.

        Raises:
            EvalError: If the model cannot be loaded or run, or has other shapes.
            MissingProviderError: If the provider does not start.
        """
        if batch_size is not None and batch_size < 1:
            msg = f"batch size is {batch_size}; expected at least 1"
            raise EvalError(msg)
        self._path = model_path
        self.provider = provider
        self._session = _load(model_path, provider, threads)
        fixed = _fixed_batch(self._session, model_path)
        self._padded = fixed is not None
        self.batch_size = fixed or batch_size or DEFAULT_BATCH
        self._input = self._session.get_inputs()[0].name
        self._images = 0
        self._seconds = 0.0
        for _ in range(_WARM_UP_RUNS):
            self._run(np.zeros((self.batch_size, *_INPUT), np.float32))

    @property
    def throughput(self) -> Throughput:
        """The speed so far: time inside the session only, without the warm-up."""
        where = self.provider.full_name
        return Throughput(self._images, self._seconds, self.batch_size, where)

    def run(self, images: Iterable[Float32]) -> Iterator[Float32]:
        """Yield the probabilities of each batch, in the order of ``images``.

        A last batch that is not full runs as it is, or padded if the model fixes the batch; the
        padding's results are dropped and it does not count as images.

        Args:
            images: Inputs, each float32 [3, 32, 100].

        Yields:
            float32 [n, 25, 37 or 38], n at most the batch size.

        Raises:
            EvalError: If the model cannot be run.
        """
        for group in _groups(images, self.batch_size):
            batch = np.stack(group)
            if self._padded and len(group) < self.batch_size:
                missing = self.batch_size - len(group)
                batch = np.concatenate([batch, np.zeros((missing, *_INPUT), np.float32)])
            start = time.perf_counter()
            probabilities = self._run(batch)
            self._seconds += time.perf_counter() - start
            self._images += len(group)
            yield probabilities[: len(group)]

    def _run(self, batch: Float32) -> Float32:
        try:
            (probabilities,) = self._session.run(None, {self._input: batch})
        except Exception as error:  # the runtime's errors share no base class
            msg = f"model {self._path} does not run at batch {len(batch)}: {_short(error)}"
            raise EvalError(msg) from error
        shape = list(probabilities.shape)
        if shape[:1] != [len(batch)] or shape[1:] not in _OUTPUTS:
            expected = EXPECTED.replace("*", str(len(batch)))
            msg = f"model {self._path} gives {shape}; expected {expected}"
            raise EvalError(msg)
        return np.asarray(probabilities)


def evaluate(
    model_path: Path,
    data_dir: Path,
    batch_size: int | None = None,
    bad: BadPolicy = "count",
    on_progress: Progress | None = None,
    *,
    workers: int | None = None,
    provider: Provider = Provider(),  # noqa: B008  it cannot change
) -> Evaluation:
    """Read every record below ``data_dir`` with a model and compare with the labels.

    Args:
        model_path: An ONNX file, see :class:`OrtBackend`.
        data_dir: A folder of LMDB data sets, a zip or a label file, see :mod:`eval.data`.
        batch_size: Images in a run; see :class:`OrtBackend`.
        bad: Whether a bad record counts as wrong or is excluded.
        on_progress: Called with the records read and their total.
        workers: Lanes in which records are prepared while the model runs, see
            :mod:`eval.ahead`; None for one a core, or one where the model runs on the CPU.
        provider: Where the model runs.

    Raises:
        EvalError: If the data or the model cannot be used, or no record counts.
        NonFiniteError: If the model's output holds NaN or infinity.
    """
    check_policy(bad)
    records: list[Record] = []
    readings: list[Reading] = []
    with open_data(data_dir) as tree:
        backend = OrtBackend(model_path, batch_size, provider)
        # On the CPU the model needs the cores itself, and takes far longer than its images.
        lanes = workers or (1 if provider.name == CPU else lanes_for(len(tree)))
        with contextlib.closing(_images(tree, lanes, records, on_progress)) as images:
            for probabilities in backend.run(images):
                _refuse_non_finite(probabilities, records, len(readings))
                readings += decode(probabilities)
    return conclude(Manifest(tuple(records)), readings, bad, backend.throughput)


def _images(
    tree: Data, lanes: int, records: list[Record], on_progress: Progress | None
) -> Generator[Float32, None, None]:
    """Yield the input of each good record and append every record to ``records``."""
    with contextlib.closing(prepare_all(tree, lanes)) as prepared:
        for record, image in prepared:
            records.append(record)
            if on_progress:
                on_progress(len(records), len(tree))
            if image is not None:
                yield image


def _refuse_non_finite(probabilities: Float32, records: list[Record], done: int) -> None:
    """Refuse NaN and infinity, naming the record; ``done`` good records came before."""
    finite = np.isfinite(probabilities).all(axis=(1, 2))
    if not finite.all():
        record = Manifest(tuple(records)).good[done + int(finite.argmin())]
        msg = (
            f"the model gives NaN or infinity for record {record.record} of {record.dataset}; "
            "check its precision"
        )
        raise NonFiniteError(msg)


def _load(path: Path, provider: Provider, threads: int | None) -> Any:  # noqa: ANN401  onnxruntime has no types
    import onnxruntime as ort

    if not path.is_file():
        msg = f"model {path} is not a file; give an ONNX file"
        raise EvalError(msg)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        session = ort.InferenceSession(str(path), options, providers=provider.entries)
    except Exception as error:  # the runtime's errors share no base class
        msg = f"ONNX Runtime cannot load {path}: {_short(error)}"
        raise EvalError(msg) from error
    provider.refuse_fallback(session)
    return session


def _fixed_batch(session: Any, path: Path) -> int | None:  # noqa: ANN401  see above
    """Return the batch that the model fixes, or None; refuse any other interface."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    expected = f"expected one float32 {['*', *_INPUT]} -> one float32 {EXPECTED}"
    if len(inputs) != 1 or len(outputs) != 1:
        msg = f"model {path} has {len(inputs)} inputs and {len(outputs)} outputs; {expected}"
        raise EvalError(msg)
    for value, allowed in ((inputs[0], [_INPUT]), (outputs[0], _OUTPUTS)):
        fits = any(_fits(value.shape, dims) for dims in allowed)
        if value.type != "tensor(float)" or not fits:
            msg = f"model {path}: {value.name!r} is {value.type} {value.shape}; {expected}"
            raise EvalError(msg)
    batch = inputs[0].shape[0]
    return batch if isinstance(batch, int) else None


def _fits(shape: list[int | str | None], dims: list[int]) -> bool:
    """Tell whether ``shape`` may be [*, *dims]: a dimension without a number may be any."""
    if len(shape) != 1 + len(dims):
        return False
    return all(
        not isinstance(found, int) or found == wanted
        for found, wanted in zip(shape[1:], dims, strict=True)
    )


def _groups(images: Iterable[Float32], size: int) -> Iterator[list[Float32]]:
    group: list[Float32] = []
    for image in images:
        group.append(image)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _short(error: Exception) -> str:
    """Return the beginning of the runtime's message on one line."""
    return " ".join(str(error).split())[:_LONGEST_REASON]
