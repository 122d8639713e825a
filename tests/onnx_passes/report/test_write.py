from __future__ import annotations

import datetime
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import pytest

from onnx_passes.core.contract import ModelError, UsageError
from onnx_passes.report import document, write
from onnx_passes.report.write import refuse_bad_folder, write_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx_passes.core.outcome import Outcome

# Keys of these dictionaries are data.
OPEN = {"operators", "operators_before", "operators_after", "packages"}
# The docstring describes these once: where it says "as ..." or "a difference".
SAME = {
    "after": "before",
    "steps[].skipped": "steps[].rewritten",
    "steps[].outputs[].original": "difference",
    "steps[].outputs[].previous": "difference",
    "comparison.tensors[].difference": "difference",
}


def documented() -> set[str]:
    """Return the paths that the docstring of document.py lists."""
    return set(re.findall(r"^    (\S+)", document.__doc__ or "", re.MULTILINE))


def paths(value: object, path: str = "") -> Iterator[str]:
    """Yield the path of every leaf, and of every part that the docstring describes elsewhere."""
    if path in SAME:
        yield path
        path = SAME[path]
    if isinstance(value, dict):
        for key, item in value.items():
            name = "*" if path.rpartition(".")[2] in OPEN else key
            yield from paths(item, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, f"{path}[]")
    else:
        yield path


def read(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / write.JSON_NAME).read_text("ascii"))
    return loaded


class TestJson:
    def test_holds_exactly_what_its_page_documents(
        self,
        passed: Outcome,
        hostile: Outcome,
        picture_model: ir.Model,
        hostile_model: ir.Model,
        skipping: Outcome,
        tmp_path: Path,
    ) -> None:
        write_report(tmp_path / "a", passed, picture_model)
        write_report(tmp_path / "b", hostile, hostile_model)
        write_report(tmp_path / "c", skipping, picture_model)
        found = {path for name in "abc" for path in paths(read(tmp_path / name))}
        assert found == documented()

    def test_says_where_it_comes_from(
        self, passed: Outcome, picture_model: ir.Model, tmp_path: Path
    ) -> None:
        before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        write_report(tmp_path, passed, picture_model, model_name="m.onnx", command="a 'b c'")
        report = read(tmp_path)
        assert report["schema_version"] == write.SCHEMA_VERSION == 1
        assert datetime.datetime.fromisoformat(report["created"]) >= before
        assert (report["model"], report["command"]) == ("m.onnx", "a 'b c'")
        assert {"onnx", "onnx-ir", "onnxruntime", "numpy"} <= set(report["packages"])
        assert report["machine"]["processors"] == os.cpu_count()

    def test_holds_the_run_and_the_comparison(
        self, stopped: Outcome, picture_model: ir.Model, tmp_path: Path
    ) -> None:
        write_report(tmp_path, stopped, picture_model)
        report = read(tmp_path)
        assert (report["verdict"], report["ok"], report["stopped_by"]) == ("failed", False, 2)
        assert [step["verdict"] for step in report["steps"]] == ["passed", "failed"]
        assert report["steps"][0]["operators_before"]["Identity"] == 1
        assert "Identity" not in report["steps"][0]["operators_after"]
        # The comparison shows what the stopped pass made.
        assert not any(t["difference"]["same_bits"] for t in report["comparison"]["tensors"])
        assert report["comparison"]["tensors"]

    def test_keeps_hostile_names_whole(
        self,
        hostile: Outcome,
        hostile_model: ir.Model,
        hostile_names: dict[str, str],
        tmp_path: Path,
    ) -> None:
        write_report(tmp_path, hostile, hostile_model, command="half a pair: \ud800")
        report = read(tmp_path)
        names = [tensor["name"] for tensor in report["comparison"]["tensors"]]
        assert names == [hostile_names[name] for name in "hsy"]
        assert report["command"] == "half a pair: \ud800"


class TestWhatIsCompared:
    def test_nothing_if_numbers_were_not_asked_for(
        self, unchecked: Outcome, picture_model: ir.Model, tmp_path: Path
    ) -> None:
        write_report(tmp_path, unchecked, picture_model, check=False)
        report = read(tmp_path)
        assert report["comparison"]["problem"] == "Numbers were not compared, as asked."
        assert report["verdict"] == "not checked"

    def test_nothing_if_no_change_was_kept(
        self, crashed: Outcome, picture_model: ir.Model, tmp_path: Path
    ) -> None:
        write_report(tmp_path, crashed, picture_model)
        assert "the model is the original" in read(tmp_path)["comparison"]["problem"]

    def test_the_model_may_be_given_as_a_path(
        self, passed: Outcome, picture_model: ir.Model, tmp_path: Path
    ) -> None:
        ir.save(picture_model.clone(), tmp_path / "pictures.onnx")
        write_report(tmp_path / "report", passed, tmp_path / "pictures.onnx")
        assert read(tmp_path / "report")["model"] == "pictures.onnx"
        with pytest.raises(ModelError, match="found nothing"):
            write_report(tmp_path / "other", passed, tmp_path / "gone.onnx")

    def test_the_model_is_left_alone(
        self, passed: Outcome, picture_model: ir.Model, tmp_path: Path
    ) -> None:
        before = ir.to_proto(picture_model).SerializeToString(deterministic=True)
        write_report(tmp_path, passed, picture_model)
        assert ir.to_proto(picture_model).SerializeToString(deterministic=True) == before


class TestFiles:
    def test_the_folder_is_made_and_holds_two_files(
        self, passed: Outcome, picture_model: ir.Model, tmp_path: Path
    ) -> None:
        folder = tmp_path / "a" / "b"
        write_report(folder, passed, picture_model)
        assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]

    def test_an_older_report_is_replaced_and_other_files_stay(
        self, passed: Outcome, picture_model: ir.Model, tmp_path: Path
    ) -> None:
        (tmp_path / "report.json").write_text("old")
        (tmp_path / "mine.txt").write_text("mine")
        write_report(tmp_path, passed, picture_model)
        assert read(tmp_path)["ok"]
        assert (tmp_path / "mine.txt").read_text() == "mine"

    def test_a_full_disk_leaves_the_older_report_as_it_was(
        self,
        passed: Outcome,
        picture_model: ir.Model,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        (tmp_path / "report.json").write_text("old")
        original = Path.write_text

        def write_text(path: Path, text: str, *, encoding: str) -> int:
            if path.suffix == ".html":
                original(path, text[:100], encoding=encoding)
                raise OSError(28, "No space left on device")
            return original(path, text, encoding=encoding)

        monkeypatch.setattr(Path, "write_text", write_text)
        with pytest.raises(UsageError, match="No space left on device"):
            write_report(tmp_path, passed, picture_model)
        assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
        assert (tmp_path / "report.json").read_text() == "old"

    def test_a_file_in_the_way_is_refused_before_any_work(
        self, passed: Outcome, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("mine")
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(UsageError, match="is a file; give a folder"):
                refuse_bad_folder(folder)
            with pytest.raises(UsageError, match="is a file; give a folder"):
                write_report(folder, passed, tmp_path / "never-read.onnx")
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_relative_folder_is_fine(self) -> None:
        refuse_bad_folder(Path("not-there-yet/report"))


def test_the_page_documents_no_path_twice() -> None:
    listed = re.findall(r"^    (\S+)", document.__doc__ or "", re.MULTILINE)
    assert len(listed) == len(set(listed)) > 50
