"""The oracle: onnxruntime's CPU provider, one thread, graph optimisation off.

One thread and no optimisation make two runs of one model bit-equal, so that a difference is the
model's and not the runtime's.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from onnx_passes.core.contract import ModelError
from onnx_passes.core.model_io import initializer_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    import onnx_ir as ir

    AnyModel: TypeAlias = ir.Model | onnx.ModelProto | Path
    AnyRunner: TypeAlias = "Runner | ReferenceRunner"

Arrays = dict[str, np.ndarray[Any, Any]]

# protobuf refuses to serialise 2 GiB and more; below that a model travels as bytes.
MAX_BYTES_IN_MEMORY = 1 << 30
# How onnxruntime words it when a kernel finds out late that it lacks a case (cubic 5-D GridSample).
LACKS_KERNEL = re.compile("only support|not (yet )?(implemented|supported)", re.IGNORECASE)


class Runner:
    """An onnxruntime session of one model.

    Args:
        model: A path, an ``onnx.ModelProto`` or an ``onnx_ir.Model`` (left untouched).
        threads: Threads within an operator. 1 keeps sums in one order.

    Raises:
        ModelError: If onnxruntime cannot load the model; the message is its own first line.
    """

    kind = "onnxruntime, CPU, one thread, graph optimisation off"

    def __init__(self, model: AnyModel, *, threads: int = 1) -> None:
        """Create the session."""
        import onnxruntime as ort

        self._threads = threads
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        with _source(model) as source:
            try:
                self._session = ort.InferenceSession(
                    source, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:
                msg = f"onnxruntime cannot load the model: {first_line(error)}"
                raise ModelError(msg) from error
        self.input_names = [value.name for value in self._session.get_inputs()]
        self.output_names = [value.name for value in self._session.get_outputs()]

    def again(self, model: AnyModel) -> Runner:
        """Return a runner of the same kind for another version of the model."""
        return Runner(model, threads=self._threads)

    def run(self, feeds: Mapping[str, Any], fetch: Sequence[str] | None = None) -> Arrays:
        """Return the outputs named in ``fetch`` (all by default) for one set of feeds.

        Raises:
            ModelError: If onnxruntime fails on these feeds.
        """
        names = list(fetch) if fetch is not None else self.output_names
        wanted = {name: feeds[name] for name in self.input_names if name in feeds}
        try:
            return dict(zip(names, self._session.run(names, wanted), strict=True))
        except Exception as error:
            msg = f"onnxruntime cannot run the model: {first_line(error)}"
            raise ModelError(msg) from error


class ReferenceRunner:
    """The ONNX reference evaluator, for models onnxruntime has no kernel for. It is slow.

    Raises:
        ModelError: If the evaluator does not take the model.
    """

    kind = "ONNX reference evaluator (onnxruntime has no kernel for this model)"

    def __init__(self, model: AnyModel) -> None:
        """Prepare the evaluator."""
        from onnx.reference import ReferenceEvaluator

        with _source(model) as source:
            try:
                self._evaluator = ReferenceEvaluator(_proto(source))
            except Exception as error:
                msg = f"the ONNX reference evaluator cannot load the model: {first_line(error)}"
                raise ModelError(msg) from error
        self.input_names = list(self._evaluator.input_names)
        self.output_names = list(self._evaluator.output_names)

    def run(self, feeds: Mapping[str, Any], fetch: Sequence[str] | None = None) -> Arrays:
        """Return the outputs named in ``fetch`` (all by default) for one set of feeds.

        Raises:
            ModelError: If the evaluator fails on these feeds.
        """
        names = list(fetch) if fetch is not None else self.output_names
        wanted = {name: feeds[name] for name in self.input_names if name in feeds}
        try:
            values = self._evaluator.run(names, wanted)
        except Exception as error:
            msg = f"the ONNX reference evaluator cannot run the model: {first_line(error)}"
            raise ModelError(msg) from error
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    def again(self, model: AnyModel) -> ReferenceRunner:
        """Return a runner of the same kind for another version of the model."""
        return ReferenceRunner(model)


def open_runner(model: AnyModel) -> AnyRunner:
    """Return onnxruntime on ``model``, or the reference evaluator where it has no kernel.

    Raises:
        ModelError: If neither takes the model; the message is onnxruntime's.
    """
    try:
        return Runner(model)
    except ModelError as error:
        try:
            return ReferenceRunner(model)
        except ModelError:
            raise error from None


def run_model(model: AnyModel, feeds: Mapping[str, Any]) -> Arrays:
    """Return all outputs of ``model`` for ``feeds``, by name."""
    return Runner(model).run(feeds)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, without onnxruntime's prefix."""
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line.split(" : ", 3)[-1].strip() if line.startswith("[ONNXRuntimeError]") else line


@contextlib.contextmanager
def _source(model: AnyModel) -> Iterator[str | bytes]:
    """Yield what onnxruntime can load: a path, or the bytes of a small model."""
    if isinstance(model, (str, os.PathLike)):
        yield os.fspath(model)
        return
    import onnx
    import onnx_ir as ir

    if isinstance(model, onnx.ModelProto):
        if model.ByteSize() < MAX_BYTES_IN_MEMORY:
            yield model.SerializeToString()
            return
        model = ir.from_proto(model)
    if initializer_bytes(model) < MAX_BYTES_IN_MEMORY:
        yield ir.to_proto(_internal(model)).SerializeToString()
        return
    with tempfile.TemporaryDirectory(prefix="onnx-passes-") as folder:
        path = Path(folder) / "model.onnx"
        ir.save(model, path, external_data="model.data")
        yield str(path)


def _proto(source: str | bytes) -> onnx.ModelProto:
    import onnx

    return onnx.load(source) if isinstance(source, str) else onnx.load_from_string(source)


def _internal(model: ir.Model) -> ir.Model:
    """Return a model whose tensors travel inside it: bytes have no folder to look beside."""
    import onnx_ir as ir

    external = [
        value
        for graph in model.graphs()
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    ]
    if not external:
        return model
    copy = model.clone()
    for graph in copy.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
    return copy
