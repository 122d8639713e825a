"""The oracle: onnxruntime's CPU provider, one thread, graph optimisation off.

One thread and no optimisation make two runs of one model bit-equal, so that a difference is the
model's and not the runtime's.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from onnx_passes.core.contract import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx
    import onnx_ir as ir

    AnyModel: TypeAlias = ir.Model | onnx.ModelProto | Path
    AnyRunner: TypeAlias = "Runner | ReferenceRunner"

Arrays = dict[str, np.ndarray[Any, Any]]

# How onnxruntime words it when a kernel finds out late that it lacks a case (cubic 5-D GridSample).
LACKS_KERNEL = re.compile("only support|not (yet )?(implemented|supported)", re.IGNORECASE)


class Runner:
    """An onnxruntime session of one model.

    Args:
        model: A path, an ``onnx.ModelProto`` or an ``onnx_ir.Model`` (left untouched).
        threads: Threads within an operator. 1 keeps sums in one order.
        constants: Weights for a serialised model that declares them as external data.

    Raises:
        ModelError: If onnxruntime cannot load the model; the message is its own first line.
    """

    kind = "onnxruntime, CPU, one thread, graph optimisation off"

    def __init__(
        self, model: AnyModel | bytes, *, threads: int = 1, constants: Arrays | None = None
    ) -> None:
        """Create the session."""
        import onnxruntime as ort

        self._threads = threads
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # A session runs a few times at most: pools and plans of memory would not pay.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            source, weights = _loadable(model)
            weights = constants or weights
            # The session reads these arrays in place: they live as long as it does.
            self._weights = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
            options.add_external_initializers(list(weights), self._weights)
            providers = ["CPUExecutionProvider"]
            self._session = ort.InferenceSession(source, options, providers=providers)
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
        if not names:
            return {}  # onnxruntime takes an empty list for "all"
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

        try:
            self._evaluator = ReferenceEvaluator(_proto(model))
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


def _loadable(model: AnyModel | bytes) -> tuple[str | bytes, Arrays]:
    """Return what onnxruntime can load, and the weights it gets as arrays."""
    if isinstance(model, bytes):
        return model, {}
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model), {}
    import onnx
    import onnx_ir as ir

    from onnx_passes.numerics.weights_apart import split_weights

    proto, weights = split_weights(
        ir.from_proto(model) if isinstance(model, onnx.ModelProto) else model
    )
    return proto.SerializeToString(), weights


def _proto(model: AnyModel) -> onnx.ModelProto:
    """Return a model that holds its tensors itself."""
    import onnx
    import onnx_ir as ir
    from onnx_ir import external_data

    if isinstance(model, onnx.ModelProto):
        return model
    if isinstance(model, ir.Model):
        return ir.serde.serialize_model(external_data.load_to_model(model.clone()))
    return onnx.load(os.fspath(model))
