"""A prediction of the time a model takes on an Ascend 310P3. Nothing here was measured on one.

::

    prediction = predict(model, soc="Ascend310P3", cann="8.1.RC1")   # shapes must be static
    print(prediction.us, prediction.low_us, prediction.high_us)

Formulas, constants and their sources are in docs/cost.md. The parts: the chip (``chip``), what
a node asks of it (``operators``), kernels (``walk``), engines (``engine``), and the
prices that were fitted to published timings (``prices``).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from ascend.cost.chip import ASCEND_310P3
from ascend.cost.engine import places
from ascend.cost.prices import Work, load_prices
from ascend.cost.walk import kernels_of
from ascend.errors import AscendError
from ascend.soc import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from ascend.cost.kernels import Kernel
    from ascend.cost.prices import Prices

SOC = "Ascend310P3"
LABEL = "prediction"
NOTE = (
    "a prediction from a model of the chip fitted to published timings; "
    "nothing was measured on a device"
)
# How a limit of :meth:`ascend.cost.prices.Work` is called in print.
_LIMITS = {
    "launches": "launch",
    "copies": "small copies",
    "row_copies": "small copies",
    "fetches": "fetches",
    "cpu_launches": "AI CPU",
    "cpu_elements": "AI CPU",
}


@dataclasses.dataclass(frozen=True)
class KernelCost:
    """The predicted time of one kernel.

    Attributes:
        label: Its first node, or what a conversion is for.
        operator: The operator of that node; TransData or Cast for a conversion.
        engine: Where it is thought to run.
        engine_known: Whether the data of the CANN version say so; AI Core is assumed if not.
        engine_reason: Why; or why ATC refuses the operator.
        fused: The labels of the nodes that joined it.
        limit: What takes most of its time.
        us: The predicted time.
        low_us: The lower end of its range.
        high_us: The upper end.
    """

    label: str
    operator: str
    engine: str
    engine_known: bool
    engine_reason: str
    fused: tuple[str, ...]
    limit: str
    us: float
    low_us: float
    high_us: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The predicted time of a model at fixed shapes.

    Attributes:
        soc: The chip.
        cann: The version whose engines are assumed.
        us: The predicted time of one run, without transfers from and to the host.
        low_us: The lower end of its range.
        high_us: The upper end.
        work: The amounts that were priced.
        kernels: In the order they would start.
        not_counted: Node and reason, for each node whose cost is not known. The time lacks them.
        refused: Node and reason, for each node that ATC refuses; counted as if it did not.
        constant_nodes: How many nodes are computed at compile time.
        free_nodes: How many nodes start no kernel.
        published_us: The published time if this is the published network at a batch of it.
    """

    soc: str
    cann: str
    us: float
    low_us: float
    high_us: float
    work: Work
    kernels: tuple[KernelCost, ...]
    not_counted: tuple[tuple[str, str], ...]
    refused: tuple[tuple[str, str], ...]
    constant_nodes: int
    free_nodes: int
    published_us: float | None

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data, labelled as a prediction."""
        document = dataclasses.asdict(self)
        for key in ("not_counted", "refused"):
            pairs = getattr(self, key)
            document[key] = [{"node": node, "reason": reason} for node, reason in pairs]
        return {"kind": LABEL, **document}


def predict(
    model: ir.Model,
    *,
    soc: str = SOC,
    cann: str = "8.1.RC1",
    prices: Prices | None = None,
) -> Prediction:
    """Predict the time of one run of a model.

    Args:
        model: Its values carry types and static shapes (pin-shape writes them); never changed.
        soc: The chip, as Ascend310P3 or 310P3.
        cann: The version of CANN whose engines are assumed.
        prices: Other prices than those that ship.

    Raises:
        AscendError: For a chip whose constants are not known, or if nothing could be counted.
    """
    _refuse_other_chip(soc)
    prices = prices or load_prices()
    place_of = places(model, soc=SOC, cann=cann)
    kernels = kernels_of(model, ASCEND_310P3, place_of)
    if not kernels.started:
        missing = "; ".join(f"{node}: {why}" for node, why in kernels.not_counted[:3])
        why = f"no node could be counted ({missing})" if missing else "the model starts no kernel"
        msg = f"{why}, so there is nothing to predict"
        raise AscendError(msg)
    works = [kernel.work(ASCEND_310P3) for kernel in kernels.started]
    costs = [_cost(*pair, prices) for pair in zip(kernels.started, works, strict=True)]
    total = functools.reduce(Work.__add__, works)
    low_us, high_us = prices.range_us(total)
    return Prediction(
        soc=SOC,
        cann=cann,
        us=prices.time_us(total),
        low_us=low_us,
        high_us=high_us,
        work=total,
        kernels=tuple(costs),
        not_counted=tuple(kernels.not_counted),
        refused=tuple(kernels.refused),
        constant_nodes=kernels.constant,
        free_nodes=kernels.free,
        published_us=None if kernels.not_counted else _published_us(model, prices.fit),
    )


def _refuse_other_chip(soc: str) -> None:
    name = normalise(soc)
    if name != SOC:
        msg = (
            f"--soc {name}: sizes, rates and fitted prices are known for {SOC} only; "
            f"predict for {SOC}, or measure with ais_bench"
        )
        raise AscendError(msg)


def _cost(kernel: Kernel, work: Work, prices: Prices) -> KernelCost:
    low_us, high_us = prices.range_us(work)
    return KernelCost(
        label=kernel.label,
        operator=kernel.operator,
        engine=kernel.place.engine,
        engine_known=kernel.place.known,
        engine_reason=kernel.place.reason,
        fused=tuple(kernel.fused),
        limit=_limit(kernel, work, prices),
        us=prices.time_us(work),
        low_us=low_us,
        high_us=high_us,
    )


def _limit(kernel: Kernel, work: Work, prices: Prices) -> str:
    """Return what takes most of the time of a kernel, in a word or two."""
    parts = {name: amount * prices.table[name].value for name, amount in vars(work).items()}
    largest = max(parts, key=lambda name: parts[name])
    return _LIMITS.get(largest) or kernel.bound(ASCEND_310P3)


def _published_us(model: ir.Model, fit: Mapping[str, Any]) -> float | None:
    """Return the published time if the model looks like the published network at a known batch.

    It does if it has one GridSample, one input and one output of the published shapes.
    """
    graph = model.graph
    samples = sum(node.op_type == "GridSample" for node in graph)
    inputs = [value for value in graph.inputs if value.const_value is None]
    if samples != 1 or len(inputs) != 1 or len(graph.outputs) != 1:
        return None
    shapes = [list(value.shape or ()) for value in (inputs[0], graph.outputs[0])]
    batches = {shape[0] for shape in shapes if shape}
    if [shape[1:] for shape in shapes] != [fit["input_shape"], fit["output_shape"]]:
        return None
    for point in fit["points"]:
        if point["network"] == fit["network"] and batches == {point["batch"]}:
            return float(point["published_us"])
    return None
