"""What an evaluation says: scores over all records and per data set, and every text read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from eval.dtrb_sets import benchmark_of, completeness
from eval.errors import EvalError
from eval.metric import RecMetric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eval.ctc import Reading
    from eval.manifest import Manifest, Record

    Progress: TypeAlias = Callable[[int, int], None]

BadPolicy = Literal["count", "exclude"]


@dataclass(frozen=True)
class Outcome:
    """One record and what was read from it; ``text`` is None if the record is bad."""

    record: Record
    text: str | None
    confidence: float | None


@dataclass(frozen=True)
class Score:
    """Figures over some records.

    Attributes:
        records: All records, bad ones included.
        bad: Records without a usable image or label.
        counted: The denominator: ``records``, less ``bad`` if those are excluded.
        correct: Records read without any error.
        acc: See :mod:`eval.metric`.
        norm_edit_dis: See :mod:`eval.metric`.
    """

    records: int
    bad: int
    counted: int
    correct: int
    acc: float
    norm_edit_dis: float


@dataclass(frozen=True)
class Throughput:
    """How fast the model ran: ``seconds`` inside it, without decoding or image work.

    ``provider`` is what onnxruntime calls the place where it ran.
    """

    images: int
    seconds: float
    batch_size: int
    provider: str = "CPUExecutionProvider"

    @property
    def images_per_s(self) -> float:
        """Images in a second; 0 if there were none."""
        return self.images / self.seconds if self.images else 0.0


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        overall: The score over all records.
        datasets: The score of each data set, in the order of the manifest.
        outcomes: Every record with the text read from it.
        bad_policy: Whether bad records were counted as wrong or excluded.
        throughput: How fast the model ran; None if results were read from files.
    """

    overall: Score
    datasets: dict[str, Score]
    outcomes: tuple[Outcome, ...]
    bad_policy: BadPolicy
    throughput: Throughput | None = None

    @property
    def acc(self) -> float:
        """The main figure: the share of records read without any error."""
        return self.overall.acc

    @property
    def norm_edit_dis(self) -> float:
        """One minus the mean normalised edit distance."""
        return self.overall.norm_edit_dis

    @property
    def completeness(self) -> str:
        """How the data compares with the published 12,067 records, in words; may be empty."""
        return completeness({name: score.records for name, score in self.datasets.items()})

    @property
    def benchmarks(self) -> dict[str, Score]:
        """The score of each published benchmark, its subsets taken together; see dtrb_sets."""
        groups: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            if name := benchmark_of(outcome.record.dataset):
                groups.setdefault(name, []).append(outcome)
        return {name: _score(group, self.bad_policy) for name, group in groups.items()}

    @property
    def texts(self) -> tuple[str | None, ...]:
        """The text of each record by index; None where the record is bad."""
        return tuple(outcome.text for outcome in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        speed = self.throughput
        return {
            **asdict(self.overall),
            "bad_policy": self.bad_policy,
            "datasets": {name: asdict(score) for name, score in self.datasets.items()},
            "benchmarks": {name: asdict(score) for name, score in self.benchmarks.items()},
            "completeness": self.completeness,
            "throughput": speed and {**asdict(speed), "images_per_s": speed.images_per_s},
            "texts": [
                {**asdict(one.record), "text": one.text, "confidence": one.confidence}
                for one in self.outcomes
            ],
        }


def check_policy(bad: str) -> None:
    """Refuse a policy that does not exist, before any work is done.

    Raises:
        EvalError: If ``bad`` is not one of :data:`BadPolicy`.
    """
    if bad not in get_args(BadPolicy):
        msg = f"bad records cannot be treated as {bad!r}; expected one of {get_args(BadPolicy)}"
        raise EvalError(msg)


def conclude(
    manifest: Manifest,
    readings: Iterable[Reading],
    bad: BadPolicy,
    throughput: Throughput | None = None,
) -> Evaluation:
    """Score ``readings``, one for each good record of ``manifest`` in its order.

    Raises:
        EvalError: If no record counts.
    """
    remaining = iter(readings)
    outcomes = []
    for record in manifest.records:
        text, confidence = next(remaining) if record.reason is None else (None, None)
        outcomes.append(Outcome(record, text, confidence))
    overall = _score(outcomes, bad)
    if not overall.counted:
        msg = f"nothing to score: {overall.records} records, of which {overall.bad} are bad"
        raise EvalError(msg)
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.record.dataset, []).append(outcome)
    datasets = {name: _score(group, bad) for name, group in groups.items()}
    return Evaluation(overall, datasets, tuple(outcomes), bad, throughput)


def _score(outcomes: list[Outcome], bad: BadPolicy) -> Score:
    metric = RecMetric()
    for outcome in outcomes:
        if outcome.text is not None and outcome.record.label is not None:
            metric.add([outcome.text], [outcome.record.label])
        elif bad == "count":
            metric.add_wrong()
    return Score(
        records=len(outcomes),
        bad=sum(outcome.text is None for outcome in outcomes),
        counted=metric.count,
        correct=metric.correct,
        acc=metric.acc,
        norm_edit_dis=metric.norm_edit_dis,
    )
