"""The table of accuracies: every set with its counts, each model beside what was published."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from eval.ctc import Reading
from eval.dtrb_sets import SIZES
from eval.evaluation import conclude
from eval.manifest import Manifest, Record
from pipeline.report.accuracy import accuracy
from pipeline.stages.recipe import find_recipe
from pipeline.stages.score import _figures

PUBLISHED = {
    "records": 12067,
    "acc": 0.8002817595091724,
    "norm_edit_dis": 0.9157998223044959,
    "source": "a guide",
}


def run(sets: dict[str, int], right: int, *, device: bool = False) -> dict[str, Any]:
    """Return what the report knows of a model that reads the first ``right`` records right."""
    names = [(name, number) for name, count in sets.items() for number in range(1, count + 1)]
    manifest = Manifest(tuple(Record(i, *one, "ab", None) for i, one in enumerate(names)))
    readings = [Reading("ab" if i < right else "b", 0.9) for i in range(len(names))]
    place = {"from_device": device, "hardware": "310P3" if device else "a CPU"}
    return {**_figures(conclude(manifest, readings, "count")), **place}


def agreement(**more: Any) -> dict[str, Any]:  # noqa: ANN401  fields of it
    alike = {"text_agreement": 1.0, "changes": 0, "difference": 0.0, "interval_95": [-0.1, 0.1]}
    return {**alike, "mcnemar_p": 1.0, "sheet": "", **more}


def rows(document: dict[str, Any]) -> list[list[str]]:
    """Return the text of the cells, heads included."""
    page = "".join(accuracy(document))
    return [
        [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall(r"<tr>.*?</tr>", page)
    ]


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """All records: the original as published, one batch size a word better, two alike."""
    runs = {
        "original": run(SIZES, 9657),
        "bs1": run(SIZES, 9658, device=True),
        "bs8": run(SIZES, 9657, device=True),
        "bs64": run(SIZES, 9657, device=True),
    }
    alike = {"bs1": agreement(changes=1, sheet="results/changed_bs1.html")}
    alike |= {"bs8": agreement(), "bs64": agreement()}
    return {
        "accuracy": {"runs": runs, "agreement": alike},
        "published": PUBLISHED,
        "data": {"bad": {}},
    }


def test_every_set_has_a_row_and_subsets_their_total(whole: dict[str, Any]) -> None:
    found = {row[0]: row for row in rows(whole)[2:]}
    assert found["SVT"][1] == "647"
    assert found["IC03, together"][1] == str(860 + 867)
    assert found["IC13, together"][1] == str(857 + 1015)
    assert found["IC15, together"][1] == str(1811 + 2077)
    assert "SVT, together" not in found
    assert found["all"][:6] == ["all", "12067", "0", "9657", "0.800282", "0.900141"]


def test_the_models_stand_side_by_side_beside_the_published_figures(whole: dict[str, Any]) -> None:
    table = rows(whole)
    assert table[0] == ["", "original", "optimised, batch 1", "optimised, batch 8, 64"]
    official, gaps = table[-2:]
    assert official[0] == "all, official weights published, device"
    assert official[3:6] == ["9657", "0.800282", "0.915800"]
    assert (gaps[4], gaps[7], gaps[10]) == ("+0.000000", "+0.000083", "+0.000000")
    assert len({len(row) for row in table[1:]}) == 1


def test_each_model_says_whether_it_ran_on_a_device(whole: dict[str, Any]) -> None:
    page = re.sub("<[^>]*>", "", "".join(accuracy(whole)))
    assert "original: not a device a CPU" in page
    assert "optimised, batch 1: device 310P3" in page
    assert "optimised, batch 8, 64: device 310P3" in page


def test_what_changed_is_told_once_for_all_that_read_alike_with_its_pictures(
    whole: dict[str, Any],
) -> None:
    page = "".join(accuracy(whole))
    assert page.count("of the records are read as by the original") == 2
    assert "optimised, batch 8, 64: 100.00%" in page
    assert page.count('href="../results/changed_bs1.html"') == 1


def test_nothing_is_subtracted_from_other_records(whole: dict[str, Any]) -> None:
    other = copy.deepcopy(whole)
    other["accuracy"]["runs"] = {"original": run({"plain": 20}, 10)}
    other["accuracy"]["agreement"] = {}
    assert rows(other)[-1] == ["difference from it", "", "", "", "-", "-"]
    assert "These are not the records of the published evaluation" in "".join(accuracy(other))


def test_bad_records_are_counted_with_their_reasons(whole: dict[str, Any]) -> None:
    spoilt = {**whole, "data": {"bad": {"undecodable image": 2, "missing label": 1}}}
    told = "3 bad records count as wrong (undecodable image: 2, missing label: 1)"
    assert told in "".join(accuracy(spoilt))
    assert "count as wrong" not in "".join(accuracy(whole))


def test_the_published_figures_of_the_recipe_are_those_of_the_guide() -> None:
    published = find_recipe("starnet").published
    assert {key: published[key] for key in ("records", "acc", "norm_edit_dis")} == {
        key: PUBLISHED[key] for key in ("records", "acc", "norm_edit_dis")
    }
