"""``lint``: what it prints, writes and returns, and that its passes exist and help."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx.parser
import pytest

from ascend.lint.finding import CODES
from ascend.lint.fix import ORDER
from ascend.presets import PRESETS
from onnx_passes.core.manager import Settings, run_passes
from onnx_passes.core.model_io import load, save
from onnx_passes.core.passlist import parse
from onnx_passes.core.registry import passes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pipeline.cli.conftest import Answer

ROOT = Path(__file__).resolve().parents[3]
PIN = "x=8,3,32,100"
OLD = ("--cann", "5.0.4.6")
NEW = ("--cann", "8.1.RC1")
TABLE_ROW = re.compile(r"\| ([A-Z]{2}\d{3}) \| (.*) \|")


def write(path: Path, body: str, inputs: str, outputs: str, opset: int = 16) -> Path:
    text = f'<ir_version: 8, opset_import: ["": {opset}]> g ({inputs}) => ({outputs}) {{ {body} }}'
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def rewritten(model: Path, text: str, target: Path) -> Path:
    """Return the model after a pass list; what the passes compute is checked elsewhere."""
    save(run_passes(load(model), parse(text), Settings(check=False)).model, target)
    return target


def codes(answer: Answer, *levels: str) -> set[str]:
    return {each["code"] for each in answer.document["findings"] if each["level"] in levels}


class TestStarNet:
    def test_before_the_passes_the_old_version_refuses_grid_sample(
        self, call: Callable[..., Answer], starnet_onnx: Path
    ) -> None:
        answer = call("lint", starnet_onnx, *OLD, "--json")
        assert answer.code == 1
        assert codes(answer, "error") == {"GS001", "ON001"}
        assert codes(answer, "warning") == {"SH001"}
        (found,) = [each for each in answer.document["findings"] if each["code"] == "GS001"]
        assert found["subject"] == "GridSample -> 'GridSample.1'"
        assert found["fix"].startswith("decompose-grid-sample")
        assert "(documented)" in found["source"]

    def test_before_the_passes_the_new_version_runs_it_on_the_ai_core(
        self, call: Callable[..., Answer], starnet_onnx: Path
    ) -> None:
        answer = call("lint", starnet_onnx, *NEW, "--shape", PIN, "--json")
        assert answer.code == 0
        assert codes(answer, "error", "warning") == set()
        assert "GS006" in codes(answer, "info")

    @pytest.mark.parametrize(
        ("preset", "cann"), [("ascend310p-cann5", "5.0.4.6"), ("ascend310p", "8.1.RC1")]
    )
    def test_after_its_preset_nothing_is_above_info(
        self,
        call: Callable[..., Answer],
        starnet_onnx: Path,
        tmp_path: Path,
        preset: str,
        cann: str,
    ) -> None:
        text = next(each.passes for each in PRESETS if each.name == preset)
        done = rewritten(starnet_onnx, f'pin-shape{{shapes="{PIN}"}},{text}', tmp_path / "m.onnx")
        answer = call("lint", done, "--cann", cann, "--json")
        assert answer.code == 0
        assert codes(answer, "error", "warning") == set()
        assert answer.document["nodes"] > 100

    def test_the_list_that_fix_prints_leaves_no_error(
        self, call: Callable[..., Answer], starnet_onnx: Path, tmp_path: Path
    ) -> None:
        answer = call("lint", starnet_onnx, *OLD, "--shape", PIN, "--fix")
        assert answer.code == 1
        assert answer.out.count("\n") == 1
        fixed = rewritten(starnet_onnx, answer.out, tmp_path / "m.onnx")
        again = call("lint", fixed, *OLD, "--json")
        assert codes(again, "error", "warning") == set()
        assert call("lint", fixed, *OLD, "--fix").out == "\n"


class TestPasses:
    def test_every_pass_that_is_named_exists(self) -> None:
        known = {cls.name for cls in passes()}
        assert set(ORDER) <= known
        sources = [path.read_text() for path in (ROOT / "ascend" / "lint").glob("*.py")]
        named = set(re.findall(r'"([a-z]+(?:-[a-z0-9]+)+)(?:\{[^"]*)?"', "".join(sources)))
        assert {"pin-shape", "decompose-grid-sample", "unroll-loop"} <= named
        assert named - {"sub-graph"} <= known

    def test_the_list_is_parsed_whatever_the_names(
        self, call: Callable[..., Answer], tmp_path: Path
    ) -> None:
        path = write(tmp_path / "m.onnx", "y = Relu(x)", "float[N] x", "float[N] y")
        model = onnx.load(path)
        model.graph.input[0].name = model.graph.node[0].input[0] = 'a"{=},b'
        onnx.save(model, path)
        answer = call("lint", path, "--shape", 'a"{=},b=7', "--fix")
        (pinned,) = parse(answer.out)
        assert getattr(pinned, "shapes", "") == 'a"{=},b=7'

    def test_a_dynamic_model_is_told_how_to_get_pin_shape(
        self, call: Callable[..., Answer], tmp_path: Path
    ) -> None:
        path = write(tmp_path / "m.onnx", "y = Relu(x)", "float[N] x", "float[N] y")
        answer = call("lint", path, "--fix")
        assert (answer.code, answer.out) == (0, "\n")
        assert "with --shape NAME=DIMS" in answer.err


class TestOutput:
    def test_a_table_with_equal_findings_in_one_row(
        self, call: Callable[..., Answer], tmp_path: Path
    ) -> None:
        body = "a = Sin(x) b = Sin(a) c = Cos(b) y = CastLike(c, x)"
        answer = call("lint", write(tmp_path / "m.onnx", body, "float[2] x", "float[2] y"))
        assert (answer.code, answer.err) == (1, "")
        rows = [line.split() for line in answer.out.splitlines() if re.match(r"error|info", line)]
        assert [row[:2] for row in rows[:2]] == [["error", "OP001"], ["info", "OP006"]]
        assert "Sin (2), Cos (1)" in answer.out
        assert "\nerror 1, warning 0, info 7\n" in answer.out
        assert "[1] public ONNX operator plugins" in answer.out

    def test_nothing_to_say(self, call: Callable[..., Answer], tmp_path: Path) -> None:
        path = write(tmp_path / "m.onnx", "y = Relu(x)", "float[2] x", "float[2] y")
        model = onnx.load(path)
        model.graph.node[0].name = "relu"
        onnx.save(model, path)
        answer = call("lint", path)
        assert answer.out.split("\n\n") == [
            "1 nodes, opset 16; CANN 8.1.RC1, Ascend310P3",
            "error 0, warning 0, info 0\n",
        ]

    def test_the_keys_of_the_json(self, call: Callable[..., Answer], tmp_path: Path) -> None:
        path = write(tmp_path / "m.onnx", "y = Sin(x)", "float[N] x", "float[N] y")
        document = call("lint", path, "--soc", "310P3", "--json").document
        assert list(document) == [
            *("model", "nodes", "opset", "cann", "soc", "counts", "fix", "findings"),
        ]
        assert document["soc"] == "Ascend310P3"
        assert document["counts"] == {"error": 0, "warning": 1, "info": 2}
        assert set(document["findings"][0]) == {
            *("code", "level", "subject", "kind", "node", "why", "source", "fix", "advice"),
        }

    def test_sarif(self, call: Callable[..., Answer], tmp_path: Path) -> None:
        path = write(tmp_path / "m.onnx", "y = CastLike(x, x)", "float[2] x", "float[2] y")
        log = tmp_path / "log.sarif"
        assert call("lint", path, "--sarif", log).code == 1
        results = json.loads(log.read_text())["runs"][0]["results"]
        assert [each["ruleId"] for each in results] == ["OP001", "NM003"]

    def test_a_terminal_is_not_told_what_to_do_by_a_model(
        self, call: Callable[..., Answer], tmp_path: Path
    ) -> None:
        path = write(tmp_path / "m.onnx", "y = Sin(x)", "float[2] x", "float[2] y")
        model = onnx.load(path)
        node = model.graph.node[0]
        node.name = node.op_type = "[red]\x1b]0;title\x07"
        node.domain = "x\x1b[2J"
        model.opset_import.append(onnx.helper.make_opsetid("x\x1b[2J", 1))
        onnx.save(model, path)
        answer = call("lint", path)
        assert answer.code == 1
        assert "\x1b" not in answer.out
        assert "\x07" not in answer.out
        assert "[red]" in answer.out

    def test_many_rows_are_cut(self, call: Callable[..., Answer], tmp_path: Path) -> None:
        path = write(tmp_path / "m.onnx", "y = Sin(x)", "float[2] x", "float[2] y")
        model = onnx.load(path)
        nodes = [
            onnx.helper.make_node("Relu", ["x"], [f"a{i}"], name=f"n{i // 2}") for i in range(99)
        ]
        model.graph.node.extend(nodes)
        onnx.save(model, path)
        answer = call("lint", path)
        assert "more rows are in --json" in answer.out
        assert len(answer.out.splitlines()) < 150


class TestShapes:
    BODY = "y = GatherElements<axis=0>(x, i)"

    def test_the_engine_follows_the_given_sizes(
        self, call: Callable[..., Answer], tmp_path: Path
    ) -> None:
        path = write(
            tmp_path / "m.onnx", self.BODY, "float[N, 64] x, int64[M, 64] i", "float[M, 64] y"
        )
        assert "OP007" in codes(call("lint", path, "--json"), "info")
        small = call("lint", path, "--shape", "x=100,64", "--shape", "i=100,64", "--json")
        assert codes(small, "error", "warning") == set()
        large = call("lint", path, "--shape", "x=99999,64", "--shape", "i=100,64", "--json")
        assert codes(large, "warning") == {"OP004"}
        assert large.document["fix"] == 'pin-shape{shapes="x=99999,64;i=100,64"}'

    def test_the_engine_is_that_of_the_largest_gear(
        self, call: Callable[..., Answer], tmp_path: Path
    ) -> None:
        path = write(
            tmp_path / "m.onnx", self.BODY, "float[N, 64] x, int64[100, 64] i", "float[100, 64] y"
        )
        few = call("lint", path, "--gears", "batch=1,4", "--json")
        assert codes(few, "warning") == set()
        assert "SH003" in codes(few, "info")
        assert codes(call("lint", path, "--gears", "batch=1,99999", "--json"), "warning") == {
            "OP004"
        }
        assert codes(call("lint", path, "--gears", "image=1,2;3,4", "--json"), "error") == {"SH002"}

    def test_precision_mode(self, call: Callable[..., Answer], tmp_path: Path) -> None:
        path = write(
            tmp_path / "m.onnx",
            "y = MaxPool<kernel_shape=[2]>(x)",
            "float[1, 3, 8] x",
            "float[1, 3, 7] y",
        )
        assert codes(call("lint", path, "--json"), "warning") == set()
        kept = call("lint", path, "--precision-mode", "must_keep_origin_dtype", "--json")
        assert codes(kept, "warning") == {"OP004"}


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("--cann", "eight"), "CANN version 'eight' is not one"),
            (("--soc", "310P4"), "unknown chip '310P4'; did you mean"),
            (("--gears", "4"), "gears '4' are none of"),
            (("--gears", "batch=1,4", "--shape", "x=1,3"), "give either --gears or --shape"),
            (("--shape", "z=1"), "the model has no input 'z'"),
            (("--shape", "x=1"), "it has 2 dimensions"),
            (("--shape", "x=0,3"), "x=0,3"),
            (("--sarif", "nowhere/log"), "cannot write nowhere/log"),
        ],
    )
    def test_options(
        self, refused: Callable[..., str], model: Path, options: tuple[str, ...], message: str
    ) -> None:
        assert message in refused("lint", model, *options)

    def test_files(self, refused: Callable[..., str], tmp_path: Path) -> None:
        assert "expected an ONNX file" in refused("lint", tmp_path / "none.onnx")
        (tmp_path / "text.onnx").write_text("no model")
        refused("lint", tmp_path / "text.onnx")

    def test_a_tensor_with_less_data_than_its_shape_asks_for(
        self, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        body = "y = Slice(x, v, v, v, v)"
        path = write(tmp_path / "m.onnx", body, "float[2] x", "float[2] y")
        model = onnx.load(path)
        short = onnx.TensorProto(name="v", data_type=onnx.TensorProto.INT64, dims=[2])
        short.raw_data = b"abc"
        model.graph.initializer.append(short)
        onnx.save(model, path)
        assert "tensor 'v' has not the data that [2] asks for" in refused("lint", path)

    def test_a_name_that_is_no_text(self, refused: Callable[..., str], tmp_path: Path) -> None:
        path = write(tmp_path / "m.onnx", "name_of_y = Relu(x)", "float[2] x", "float[2] name_of_y")
        path.write_bytes(path.read_bytes().replace(b"name_of_y", b"name\xffof_y"))
        refused("lint", path)

    def test_a_model_that_cannot_be_inferred_is_linted_as_it_is(
        self, call: Callable[..., Answer], tmp_path: Path
    ) -> None:
        path = write(tmp_path / "m.onnx", "y = Concat<axis=9>(x, x)", "float[2] x", "float[9] y")
        assert call("lint", path).code == 0


def test_every_code_is_explained_in_the_docs() -> None:
    rows = dict(TABLE_ROW.findall((ROOT / "docs/lint.md").read_text()))
    assert rows == CODES
