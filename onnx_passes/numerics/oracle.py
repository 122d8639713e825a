"""What the original model answers, and what its answers are worth.

Everything here is computed once per run, when the first changed pass asks for it.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.numerics import feeds as feeding
from onnx_passes.numerics.compare import greatest_difference
from onnx_passes.numerics.nudge import nudged_feeds, nudged_model
from onnx_passes.numerics.runner import open_runner

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

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
        self._shapes = dict(shapes or {})
        if self._given is None and self._shapes:
            feeding.resolve_shapes(feeding.graph_inputs(model), self._shapes)

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
        base, other = self.feeds[0], self._probe_feeds
        if len(base) == 1:
            return [] if any(self.sensitivity.values()) else list(base)
        return [
            name
            for name in base
            if not any(
                self._change(
                    self.runner.run({**base, name: other[name]}), self.expected[0]
                ).values()
            )
        ]

    @functools.cached_property
    def noise(self) -> dict[str, float]:
        """What one-ulp nudges of float constants and feeds do to each output."""
        runner = self.runner.again(nudged_model(self._model, seed=0))
        noise = dict.fromkeys(self.runner.output_names, 0.0)
        for seed, (feeds, expected) in enumerate(self._answered):
            change = self._change(runner.run(nudged_feeds(feeds, seed)), expected)
            noise = {name: max(noise[name], change[name]) for name in noise}
        return noise

    def describe(self) -> str:
        """Return how to repeat the feeds."""
        if self._given is not None:
            return f"given: {feeding.describe(self._given)}"
        sets = [feeding.describe(feeds) for feeds in self.feeds]
        return f"generated, seeds {', '.join(map(str, SEEDS))}: {' | '.join(dict.fromkeys(sets))}"

    @functools.cached_property
    def _answered(self) -> list[tuple[Arrays, Arrays]]:
        if self._given is not None:
            return [(self._given, self._run(self._given))]
        generate = functools.partial(feeding.generate, self._model, shapes=self._shapes)
        answered = [(feeds, self._run(feeds)) for feeds in (generate(seed=s) for s in SEEDS)]
        if feeding.has_symbols(self._model) and not self._shapes:
            other = generate(seed=len(SEEDS), sizes=OTHER_SIZES)
            try:
                answered.append((other, self.runner.run(other)))
            except ModelError as error:
                _logger.info("not checked at other sizes: %s", error)
        return answered

    def _run(self, feeds: Arrays) -> Arrays:
        try:
            return self.runner.run(feeds)
        except ModelError as error:
            msg = (
                f"the model does not run on {feeding.describe(feeds)}: {error}; "
                "give --shape NAME=DIMS or --feeds FILE"
            )
            raise UsageError(msg) from error

    @functools.cached_property
    def _probe_feeds(self) -> Arrays:
        """Feeds of the first set's shapes with other values."""
        if self._given is None:
            return self.feeds[1]
        return {name: _rolled(array) for name, array in self._given.items()}

    @functools.cached_property
    def _probe(self) -> Arrays:
        return self.expected[1] if self._given is None else self.runner.run(self._probe_feeds)

    @staticmethod
    def _change(outputs: Arrays, expected: Arrays) -> dict[str, float]:
        """Return the greatest absolute change per output; infinite if shapes differ."""
        return {name: greatest_difference(expected[name], outputs[name]) for name in expected}


def _rolled(array: Any) -> Any:  # noqa: ANN401  an array of any dtype
    """Return other values from the same range: the elements in another order, or moved ones."""
    rolled = np.roll(array.ravel(), max(1, array.size // 2 + 1)).reshape(array.shape)
    if array.dtype.kind == "f" and np.array_equal(rolled, array):
        return array + np.linspace(0.5, 1.0, max(array.size, 1)).reshape(array.shape).astype(
            array.dtype
        )
    return rolled
