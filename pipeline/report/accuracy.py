"""What is read right: a row a data set, a group of columns a model, beside what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval.dtrb_sets import benchmark_of
from onnx_passes.report.markup import Html, element, join, number
from pipeline.report.table import badge, origin, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    Run = tuple[str, Mapping[str, Any]]

_METRICS = ("acc", "norm_edit_dis")


def accuracy(document: Mapping[str, Any]) -> list[Html]:
    """Return the accuracy by data set, of the original and of each batch size."""
    found, published = document["accuracy"], document["published"]
    if found is None:
        return []
    runs = _alike(found["runs"])
    first = runs[0][1]
    columns, groups = ["data", "records", "bad"], [("", 3)]
    rows = [[name, *_counts(score)] for name, score in _scores(first)]
    for what, figures in runs:
        columns += ["correct", *_METRICS]
        groups.append((what, 1 + len(_METRICS)))
        for row, (_, score) in zip(rows, _scores(figures), strict=True):
            row += [str(score["correct"]), *(f"{score[metric]:.6f}" for metric in _METRICS)]
    rows += _published(runs, published)
    told = first["completeness"] or _not_the_benchmark(published)
    return [
        element("h2", "Accuracy"),
        element("ul", *(_where(what, figures) for what, figures in runs)),
        table(columns, rows, range(1, len(columns)), groups),
        *([element("p", told)] if told else []),
        *_bad(document["data"]),
        *_agreement(found["agreement"]),
    ]


def _where(what: str, figures: Mapping[str, Any]) -> Html:
    where = origin(from_device=figures["from_device"])
    return element("li", f"{what}: ", where, f" {figures['hardware']}")


def _counts(score: Mapping[str, Any]) -> tuple[str, str]:
    return str(score["records"]), str(score["bad"])


def _scores(figures: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the scores by data set; subsets of one benchmark are followed by their total."""
    sets, together = figures["datasets"], figures["benchmarks"]
    found: list[tuple[str, Any]] = []
    for place, (name, score) in enumerate(sets.items()):
        found.append((name, score))
        benchmark = benchmark_of(name)
        mine = [place for place, one in enumerate(sets) if benchmark_of(one) == benchmark]
        if benchmark and len(mine) > 1 and place == mine[-1]:
            found.append((f"{benchmark}, together", together[benchmark]))
    return [*found, ("all", figures["overall"])]


def _published(runs: list[Run], published: Mapping[str, Any]) -> list[list[str]]:
    """Return what others published of the whole, and how far each model is from it."""
    if "acc" not in published:
        return []
    theirs = [f"{published[metric]:.6f}" for metric in _METRICS]
    records = published["records"]
    correct = str(round(published["acc"] * (records + 1e-5)))  # see eval.metric
    total = [join("all, official weights ", badge("published, device", "plain")), str(records), ""]
    gaps = ["difference from it", "", ""]
    for _, figures in runs:
        total += [correct, *theirs]
        gaps += ["", *(_gap(figures["overall"], published, metric) for metric in _METRICS)]
    return [total, gaps]


def _gap(score: Mapping[str, Any], published: Mapping[str, Any], metric: str) -> str:
    """Return how far a figure is from the published one, where the records are as many."""
    if published["records"] != score["records"]:
        return "-"
    return f"{score[metric] - published[metric]:+.6f}"


def _alike(runs: Mapping[str, Any]) -> list[Run]:
    """Return runs with a name for each; batch sizes that score the same everywhere are one."""
    groups: dict[str, tuple[list[str], Any]] = {}
    for run, figures in runs.items():
        told = [figures[key] for key in ("overall", "datasets", "from_device")]
        key = run if run == "original" else str(told)
        names, _ = groups.setdefault(key, ([], figures))
        names.append("original" if run == "original" else run.removeprefix("bs"))
    return [
        (names[0] if names[0] == "original" else f"optimised, batch {', '.join(names)}", figures)
        for names, figures in groups.values()
    ]


def _not_the_benchmark(published: Mapping[str, Any]) -> str:
    if "acc" not in published:
        return ""
    return (
        "These are not the records of the published evaluation, so nothing is subtracted. "
        f"Published: {published.get('source', '')}"
    )


def _bad(data: Mapping[str, Any] | None) -> list[Html]:
    """Return why records are bad; they count as wrong."""
    reasons = (data or {}).get("bad")
    if not reasons:
        return []
    told = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
    count = sum(reasons.values())
    text = f"{count} bad records count as wrong ({told}). bin/manifest.json has each."
    return [element("p", text)]


def _agreement(agreement: Mapping[str, Any]) -> list[Html]:
    """Return what is read otherwise than by the original, once for all that read the same."""
    groups: dict[str, tuple[list[str], Any]] = {}
    for run, one in agreement.items():
        told = {key: value for key, value in one.items() if key != "sheet"}
        groups.setdefault(str(told), ([], one))[0].append(run)
    lines = [_line(runs, one, agreement) for runs, one in groups.values()]
    return [element("ul", *lines)] if lines else []


def _line(runs: list[str], one: Mapping[str, Any], agreement: Mapping[str, Any]) -> Html:
    low, high = one["interval_95"]
    names = ", ".join(run.removeprefix("bs") for run in runs)
    told = f"optimised, batch {names}: {one['text_agreement']:.2%} of the records are read as by "
    told += f"the original; {one['changes']} differ, accuracy {one['difference']:+.6f} "
    told += f"(95 %: {low:+.4f} to {high:+.4f}, McNemar p {number(one['mcnemar_p'])})"
    sheets = [agreement[run]["sheet"] for run in runs if agreement[run]["sheet"]]
    links = (join(" ", element("a", "pictures", href=f"../{sheet}")) for sheet in sheets)
    return element("li", told, *links)
