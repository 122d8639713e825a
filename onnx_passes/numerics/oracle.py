"""What the original model answers, and what its answers are worth.

Everything here is computed once per run, when the first changed pass asks for it.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.numerics import feeds as feeding
from onnx_passes.numerics.compare import greatest_difference, is_float, same_bits
from onnx_passes.numerics.nudge import nudged_feeds, nudged_model
from onnx_passes.numerics.runner import LACKS_KERNEL, ReferenceRunner, open_runner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx_passes.numerics.compare import Array
    from onnx_passes.numerics.feeds import Shapes
    from onnx_passes.numerics.runner import AnyRunner, Arrays

_logger = logging.getLogger(__name__)

SEEDS = (0, 1)
# A second size for symbolic dimensions: (first axis, other axes).
OTHER_SIZES = (3, 48)


class Oracle:
    """The original model with its feeds, answers, sensitivity and rounding noise.

    Args:
        model: The original; kept, never changed.
        feeds: One set of arrays by input name, or None to generate several.
        shapes: Sizes by input name for generated feeds.
    """

    def __init__(
        self,
        model: ir.Model,
        feeds: Mapping[str, Any] | None = None,
        shapes: Shapes | None = None,
    ) -> None:
        """Remember the model; nothing is run yet."""
        self._model = model
        self._given = feeding.validate(model, feeds) if feeds is not None else None
        self._shapes: Shapes = dict(shapes or {})
        self._sizes: Shapes = self._shapes
        if self._given is None and self._shapes:
            feeding.resolve_shapes(feeding.graph_inputs(model), self._shapes)

    def narrowed(self, model: ir.Model) -> Oracle:
        """Return this oracle, or one on feeds that ``model`` takes if it fixes sizes of inputs.

        Raises:
            UsageError: If given feeds or shapes have other sizes than the inputs of ``model``.
        """
        if not feeding.narrows(self._model, model):
            return self
        if self._given is not None:
            feeding.validate(model, self._given)
            return self
        narrowed = Oracle(self._model, shapes=self._shapes)
        narrowed._sizes = feeding.resolve_shapes(feeding.graph_inputs(model), self._shapes)
        return narrowed

    def answers(self, model: ir.Model) -> list[Arrays]:
        """Return the outputs of another version of the model, one set per set of feeds."""
        runner = self.runner.again(model)
        return [runner.run(feeds) for feeds in self.feeds]

    @functools.cached_property
    def runner(self) -> AnyRunner:
        """A session of the original.

        Raises:
            ModelError: If neither onnxruntime nor the ONNX reference evaluator takes the model.
        """
        return open_runner(self._model)

    @functools.cached_property
    def feeds(self) -> list[Arrays]:
        """The sets of feeds every version of the model is run on."""
        return [feeds for feeds, _ in self._answered]

    @functools.cached_property
    def first_feeds(self) -> Arrays:
        """The first set of feeds; the model is not run to know it."""
        if self._given is not None:
            return self._given
        return feeding.generate(self._model, shapes=self._sizes, seed=SEEDS[0])

    @functools.cached_property
    def expected(self) -> list[Arrays]:
        """The original's outputs, one set per set of feeds."""
        return [outputs for _, outputs in self._answered]

    @functools.cached_property
    def sensitivity(self) -> dict[str, float]:
        """What other feeds of the same shapes do to each output (greatest absolute change)."""
        return self._change(self._probe, self.expected[0])

    @functools.cached_property
    def deaf_inputs(self) -> list[str]:
        """Inputs that change no output when they alone change."""
        base = self.feeds[0]
        if len(base) == 1:
            return [] if any(self.sensitivity.values()) else list(base)
        return [name for name in base if not self._hears(name)]

    @functools.cached_property
    def computes_in_half(self) -> bool:
        """Whether float16 or bfloat16 occurs in the model.

        onnxruntime's CPU has few such kernels: it inserts casts and may keep float32 between two
        operators, so that even removing an Identity changes bits.
        """
        dtypes = {
            value.dtype.name
            for graph in self._model.graphs()
            for value in (*graph.inputs, *graph.initializers.values())
            if value.dtype is not None
        }
        casts = (node for node in self._model.graph.all_nodes() if node.op_type == "Cast")
        targets = {ir.DataType(node.attributes.get_int("to", 0)).name for node in casts}
        return bool({"FLOAT16", "BFLOAT16"} & (dtypes | targets))

    @functools.cached_property
    def noise(self) -> dict[str, float]:
        """What one-ulp nudges of float constants and feeds do to each output."""
        try:
            return self._noise(self.runner.again(nudged_model(self._model, seed=0)))
        except ModelError as error:
            _logger.info("only the feeds are nudged: %s", error)
            return self._noise(self.runner)

    def _noise(self, runner: AnyRunner) -> dict[str, float]:
        noise = dict.fromkeys(self.runner.output_names, 0.0)
        for seed, (feeds, expected) in enumerate(self._answered):
            change = self._change(runner.run(nudged_feeds(feeds, seed)), expected)
            noise = {name: max(noise[name], change[name]) for name in noise}
        return noise

    def describe_first(self) -> str:
        """Return how to repeat the first set of feeds."""
        how = f"generated, seed {SEEDS[0]}" if self._given is None else "given"
        return f"{how}: {feeding.describe(self.first_feeds)}"

    def describe(self) -> str:
        """Return how to repeat the feeds."""
        if self._given is not None:
            return self.describe_first()
        sets = [feeding.describe(feeds) for feeds in self.feeds]
        return f"generated, seeds {', '.join(map(str, SEEDS))}: {' | '.join(dict.fromkeys(sets))}"

    @functools.cached_property
    def _answered(self) -> list[tuple[Arrays, Arrays]]:
        if self._given is not None:
            return [(self._given, self._run(self._given))]
        generate = functools.partial(feeding.generate, self._model, shapes=self._sizes)
        sets = (self.first_feeds, *(generate(seed=seed) for seed in SEEDS[1:]))
        answered = [(feeds, self._run(feeds)) for feeds in sets]
        if feeding.has_symbols(self._model) and not self._sizes:
            other = generate(seed=len(SEEDS), sizes=OTHER_SIZES)
            try:
                answered.append((other, self.runner.run(other)))
            except ModelError as error:
                _logger.info("not checked at other sizes: %s", error)
        return answered

    def _run(self, feeds: Arrays) -> Arrays:
        runner = self.runner
        try:
            return runner.run(feeds)
        except ModelError as error:
            if LACKS_KERNEL.search(str(error)):
                self.runner = ReferenceRunner(self._model)
                return self.runner.run(feeds)
            msg = (
                f"the model does not run on {feeding.describe(feeds)}: {error}; "
                "give --shape NAME=DIMS or --feeds FILE"
            )
            raise UsageError(msg) from error

    @functools.cached_property
    def _probe(self) -> Arrays:
        """The outputs for feeds of the first set's shapes with other values."""
        if self._given is None:
            return self.expected[1]
        try:
            return self.runner.run({name: _other(array) for name, array in self._given.items()})
        except ModelError:
            # Integers may be sizes or indices that allow no other order.
            floats = {name: _other(a) for name, a in self._given.items() if is_float(a)}
            return self.runner.run({**self._given, **floats})

    def _hears(self, name: str) -> bool:
        """Return whether any output changes when this input alone changes."""
        base = self.feeds[0]
        other = base[name] if self._given is not None else self.feeds[1][name]
        if same_bits(base[name], other):
            other = _other(other)
        try:
            outputs = self.runner.run({**base, name: other})
        except ModelError:
            return True  # it steers what can be computed at all
        return any(self._change(outputs, self.expected[0]).values())

    @staticmethod
    def _change(outputs: Arrays, expected: Arrays) -> dict[str, float]:
        """Return the greatest absolute change per output; infinite if shapes differ."""
        return {name: greatest_difference(expected[name], outputs[name]) for name in expected}


def _other(array: Array) -> Array:
    """Return other values from the same range: in another order, or moved where all are equal."""
    rolled = np.roll(array.ravel(), max(1, array.size // 2 + 1)).reshape(array.shape)
    if not np.array_equal(rolled, array) or array.dtype.kind in "OUS":
        return rolled
    if is_float(array):
        steps = np.linspace(0.5, 1.0, array.size).reshape(array.shape)
        return np.asarray(array + steps.astype(array.dtype))
    # Every other element: 0 where it was not, else 1. Both are indices and flags nearly everywhere.
    every_other = np.arange(array.size).reshape(array.shape) % 2 == 0
    return np.where(every_other, array == 0, array).astype(array.dtype)
