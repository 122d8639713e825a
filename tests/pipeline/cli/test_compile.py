"""``onnx-passes compile`` as a user meets it, with a stand-in for ATC."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import onnx
import pytest

import ascend.toolkit
from tests.ascend.standins.toolkit import make_toolkit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.pipeline.cli.conftest import Answer

GRID = """
<ir_version: 8, opset_import: ["": 13]>
g (float[N, 3, 4, 4] x, float[N, 2, 2, 2] grid) => (float[N, 3, 2, 2] y)
{ r = Relu(x) y = GridSample<mode = "bilinear", padding_mode = "zeros">(r, grid) }
"""


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toolkit(tmp_path_factory.mktemp("cann"))


@pytest.fixture(autouse=True)
def no_toolkit_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(ascend.toolkit, "ROOT", tmp_path / "usual")
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in ascend.toolkit.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def checked(call: Callable[..., Answer], model: Path, tmp_path: Path) -> Path:
    """Return a model that ``run`` has checked: MatMul, Add; x float32 [N, 3]."""
    proto = onnx.load(model)
    for node in proto.graph.node:
        node.name = f"{node.op_type}_0"
    onnx.save(proto, model)
    path = tmp_path / "net.onnx"
    assert call("run", model, "-o", path, "--passes", "drop-identity").code == 0
    model.unlink()
    return path


@pytest.fixture
def compiled(call: Callable[..., Answer], checked: Path, root: Path) -> Callable[..., Answer]:
    """Return ``compiled(...)``: the command on the checked model, with the toolkit."""

    def run(*arguments: object) -> Answer:
        options, raw = list(arguments), []
        if "--" in options:
            cut = options.index("--")
            options, raw = options[:cut], options[cut:]
        return call("compile", checked, "--soc", "310P3", "--toolkit", root, *options, *raw)

    return run


def header(file: Path) -> Any:  # noqa: ANN401  any JSON
    return json.loads(file.read_bytes().split(b"\n", 2)[1])


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in {".om", ".failed"})


def rows(answer: Answer) -> list[list[str]]:
    return [line.split() for line in answer.out.splitlines()]


# --- what it makes -------------------------------------------------------------------------------


def test_one_file_a_batch_size_and_a_table(
    compiled: Callable[..., Answer], checked: Path, tmp_path: Path
) -> None:
    answer = compiled("--batch", "1,4")
    assert (answer.code, answer.err) == (0, "")
    assert files(tmp_path) == ["net_bs1.om", "net_bs4.om"]
    assert rows(answer)[0] == ["batch", "file", "MB", "seconds", "verdict"]
    assert [(row[0], row[1], row[-1]) for row in rows(answer)[1:]] == [
        ("1", str(checked.with_name("net_bs1.om")), "compiled"),
        ("4", str(checked.with_name("net_bs4.om")), "compiled"),
    ]
    document = header(tmp_path / "net_bs4.om")
    assert document["inputs"] == {"x": [4, 3]}
    assert document["soc_version"] == "Ascend310P3"
    assert document["flags"]["input_format"] == "ND"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []


def test_what_fails_is_told_and_the_others_are_kept(
    compiled: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_ATC_ONLY", "_bs4")
    monkeypatch.setenv("STANDIN_ATC_CRASH", "11")
    answer = compiled("--batch", "1,4,8", "--jobs", "2")
    assert answer.code == 3
    assert files(tmp_path) == ["net_bs1.om", "net_bs4.failed", "net_bs8.om"]
    assert [row[-1] for row in rows(answer)[1:4]] == ["compiled", "crashed", "compiled"]
    assert "net_bs4: atc was ended by SIGSEGV" in answer.out
    assert f"log, command and environment: {tmp_path / 'net_bs4.failed'}" in answer.out


def test_json_is_all_of_stdout(
    compiled: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_ATC_ONLY", "_bs4")
    monkeypatch.setenv("STANDIN_ATC_DISK_FULL", "1")
    monkeypatch.setenv("STANDIN_ATC_WARN", "1")
    answer = compiled("--batch", "1,4", "--json")
    assert answer.code == 3
    good, bad = answer.document["results"]
    assert (good["batch"], good["verdict"], good["reason"]) == ("1", "compiled", "")
    assert good["bytes"] > 0
    assert good["failed"] is None
    assert "--input_shape=x:4,3" in bad["arguments"]
    assert (bad["file"], bad["bytes"]) == (None, None)
    assert bad["errors"][0]["code"] == "E19004"
    assert bad["errors"][0]["remedy"]
    assert bad["warnings"][0]["code"] == "W11001"


def test_gears_make_one_file(compiled: Callable[..., Answer], tmp_path: Path) -> None:
    answer = compiled("--gears", "batch=1,4,8")
    assert answer.code == 0
    assert files(tmp_path) == ["net_dynbatch.om"]
    assert header(tmp_path / "net_dynbatch.om")["gears"] == {"dynamic_batch_size": [[1], [4], [8]]}
    assert header(tmp_path / "net_dynbatch.om")["flags"]["input_shape"] == "x:-1,3"


def test_the_name_is_chosen_and_sizes_are_open_if_asked(
    compiled: Callable[..., Answer], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    assert compiled("-o", tmp_path / "out" / "star", "--shape", "x=1~8,3").code == 0
    assert files(tmp_path / "out") == ["star_dynshape.om"]
    assert header(tmp_path / "out" / "star_dynshape.om")["flags"]["input_shape"] == "x:1~8,3"


def test_flags_reach_atc(
    compiled: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = {
        "mix.json": '{"black-list": {"to-add": ["Add"]}}',
        "op.ini": "[ByOpType]\nAdd=high_precision\n",
        "fusion.cfg": "AFusionPass:off\n",
        "aipp.cfg": "aipp_op { }\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    answer = compiled(
        *("--precision-mode", "allow_mix_precision", "--mixlist", "mix.json"),
        *("--op-precision", "op.ini", "--fusion-switch", "fusion.cfg", "--aipp", "aipp.cfg"),
        *("--out-nodes", "Add_0:0", "--", "--log=info", "--op_debug_level", "1"),
    )
    assert answer.code == 0
    flags = header(tmp_path / "net_bs1.om")["flags"]
    assert {
        "precision_mode": "allow_mix_precision",
        "modify_mixlist": str(tmp_path / "mix.json"),
        "op_precision_mode": str(tmp_path / "op.ini"),
        "fusion_switch_file": str(tmp_path / "fusion.cfg"),
        "insert_op_conf": str(tmp_path / "aipp.cfg"),
        "out_nodes": "Add_0:0",
        "log": "info",
        "op_debug_level": "1",
    }.items() <= flags.items()


class TestKeepDtype:
    @pytest.fixture
    def marked(self, call: Callable[..., Answer], checked: Path) -> Path:
        """Mark a node; a mark changes no number, so the model stays verified."""
        proto = onnx.load(checked)
        proto.graph.node[1].metadata_props.add(key="onnx_passes.precision", value="float32")
        onnx.save(proto, checked)
        return checked

    def kept(self, folder: Path) -> list[str]:
        names: list[str] = header(folder / "net_bs1.om")["keep_dtype"]
        return names

    def test_marked_nodes_stay_float32(
        self, marked: Path, compiled: Callable[..., Answer], tmp_path: Path
    ) -> None:
        assert marked.exists()
        assert compiled().code == 0
        assert self.kept(tmp_path) == ["Add_0"]
        assert compiled("--keep-dtype", "none").code == 0
        assert self.kept(tmp_path) == []
        assert compiled("--", "--precision_mode=must_keep_origin_dtype").code == 0
        assert self.kept(tmp_path) == []

    def test_the_list_of_the_precision_command_is_taken(
        self, call: Callable[..., Answer], checked: Path, compiled: Callable[..., Answer]
    ) -> None:
        target = checked.with_name("keep.txt")
        keep = ("--keep", "MatMul_0", "--budget", "0.01", "-o", target)
        assert call("precision", checked, *keep).code == 0
        assert compiled("--keep-dtype", target).code == 0
        assert "MatMul_0" in self.kept(checked.parent)

    def test_a_list_that_would_be_ignored_is_refused(
        self, compiled: Callable[..., Answer], tmp_path: Path
    ) -> None:
        (tmp_path / "keep.txt").write_text("Add_0\n")
        answer = compiled(
            "--keep-dtype", tmp_path / "keep.txt", "--precision-mode", "must_keep_origin_dtype"
        )
        assert answer.code == 2
        assert "ATC ignores --keep_dtype" in answer.err


# --- what it says --------------------------------------------------------------------------------


def test_a_missing_parser_names_the_node_the_cause_and_the_pass(
    call: Callable[..., Answer], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grid.onnx"
    proto = onnx.parser.parse_model(GRID)
    proto.graph.node[1].name = "[red]grid"
    onnx.save(proto, path)
    monkeypatch.setenv("STANDIN_ATC_CANN", "5.0.4.6")
    command = ("compile", path, "--soc", "310P3", "--toolkit", root, "--force", "--batch", "1,2")
    answer = call(*command)
    assert answer.code == 3
    assert "not verified: no numeric check" in answer.err
    assert answer.out.count("what to do") == 1
    assert "grid_bs1, grid_bs2: E19010: No parser is registered for Op [[red]grid, " in answer.out
    assert "because: parse of node [[red]grid] failed." in answer.out
    expected = f"what to do: run: onnx-passes run {path} -o OUT.onnx --passes decompose-grid-sample"
    assert expected in answer.out


def test_another_name_is_told_and_so_is_an_older_file(
    compiled: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_ATC_NAME", "linux_x86_64")
    monkeypatch.setenv("STANDIN_ATC_WARN", "1")
    (tmp_path / "net_bs1.om").write_bytes(b"older")
    answer = compiled()
    assert answer.code == 0
    assert files(tmp_path) == ["net_bs1.om", "net_bs1_linux_x86_64.om"]
    assert "net_bs1_linux_x86_64.om: ATC made it for linux_x86_64 only" in answer.out
    assert "net_bs1.om: this one is from an earlier run; remove it" in answer.out
    assert "net_bs1: W11001 (1): Op [conv_1]" in answer.out


def test_verbose_passes_on_what_atc_prints(
    checked: Path, compiled: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="pipeline.cli.compile_show"):
        assert compiled().code == 0
    assert (
        f"{checked.stem}_bs1: ATC start working now, please wait for a moment." in caplog.messages
    )


def test_an_interrupt_ends_atc_and_leaves_no_folder(
    checked: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_ATC_HANG", "1")
    words = ["-v", "compile", str(checked), "--soc", "310P3", "--toolkit", str(root)]
    # What a shell starts in the background ignores the signal, and so do its children.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{listen}; from pipeline.cli import main; main()", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "net_bs1: " in line)
        assert "ATC start working now" in line
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().strip() == "onnx-passes: interrupted"
    assert process.returncode == 130
    assert files(tmp_path) == []
    assert not list(tmp_path.glob(".net_bs1*"))


def test_a_hang_ends_after_the_timeout(
    compiled: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_ATC_HANG", "1")
    answer = compiled("--timeout", "2")
    assert answer.code == 3
    assert "atc did not end within 2 s and was stopped (--timeout)" in answer.out


# --- without a device or a toolkit ---------------------------------------------------------------


def test_without_a_toolkit_it_says_where_it_looked_and_what_to_do(
    call: Callable[..., Answer], checked: Path, tmp_path: Path
) -> None:
    answer = call("compile", checked, "--soc", "310P3")
    assert (answer.code, answer.out) == (4, "")
    assert answer.err.startswith("onnx-passes: no CANN toolkit: no set_env.sh in ")
    assert str(tmp_path / "usual") in answer.err
    assert "--toolkit" in answer.err


def test_a_dry_run_prints_commands_and_writes_nothing(
    call: Callable[..., Answer], checked: Path, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    answer = call("compile", checked, "--soc", "310P3", "--batch", "1,8", "--dry-run")
    assert answer.code == 0
    assert answer.err.startswith("no toolkit here; ")
    assert answer.out.count("source /usr/local/Ascend/ascend-toolkit/set_env.sh &&\n") == 2
    assert (
        f"    --model={checked} \\\n    --framework=5 \\\n    --output=net_bs1 \\\n" in answer.out
    )
    assert "    --input_shape=x:8,3 &&\n" in answer.out
    assert sorted(tmp_path.iterdir()) == before


def test_the_commands_of_a_dry_run_compile(
    compiled: Callable[..., Answer], checked: Path, root: Path, tmp_path: Path
) -> None:
    answer = compiled("--batch", "2", "--dry-run", "--json")
    ((script,),) = [[one["script"]] for one in answer.document]
    assert str(root / "set_env.sh") in script
    assert "devlib" in script
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert files(tmp_path) == ["net_bs2.om"]


# --- unverified models ---------------------------------------------------------------------------


def test_an_unverified_model_is_refused_with_what_to_run(
    call: Callable[..., Answer], model: Path, root: Path
) -> None:
    command = ("compile", model, "--soc", "310P3", "--toolkit", root)
    answer = call(*command)
    assert (answer.code, answer.out) == (1, "")
    assert "is not verified: no numeric check has left its mark in it; run: " in answer.err
    assert f"onnx-passes run {model} -o OUT.onnx --passes @ascend310p, which" in answer.err
    assert files(model.parent) == []
    forced = call(*command, "--force")
    assert forced.code == 0
    assert forced.err == "not verified: no numeric check has left its mark in it\n"
    dry = call(*command, "--dry-run")
    assert dry.code == 0
    assert "not verified" in dry.err


def test_an_edit_after_the_check_is_found_out(
    compiled: Callable[..., Answer], checked: Path
) -> None:
    proto = onnx.load(checked)
    proto.graph.node[1].op_type = "Sub"
    onnx.save(proto, checked)
    answer = compiled()
    assert answer.code == 1
    assert "it was changed after its numeric check" in answer.err


def test_an_unchecked_change_needs_the_original(
    call: Callable[..., Answer], compiled: Callable[..., Answer], checked: Path, plugin: Path
) -> None:
    bad = ("--passes", "scale-weight", "--plugin", plugin, "--no-check")
    assert call("run", checked, "-o", checked, *bad).code == 0
    answer = compiled()
    assert answer.code == 1
    assert "scale-weight: not checked" in answer.err
    assert "make it again from its original, with the check" in answer.err


# --- refusals, before ATC runs -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--batch", "1,a"], "'1,a' is not a list of different sizes", id="a letter"),
        pytest.param(["--batch", "4,4"], "different sizes above 0", id="a size twice"),
        pytest.param(["--batch", "0"], "sizes above 0", id="size 0"),
        pytest.param(["--shape", "xx=N,3"], "model has x; did you mean 'x'?", id="an input name"),
        pytest.param(["--shape", "x"], "is not NAME=SIZES", id="no sizes"),
        pytest.param(["--shape", "x=N,3", "--shape", "x=1,3"], "that input again", id="twice"),
        pytest.param(["--shape", "x=N,4"], "contradicts the model", id="a fixed size"),
        pytest.param(["--gears", "batch=1"], "E10035", id="one gear"),
        pytest.param(["--gears", "batch=1,4", "--batch", "1"], "exclude each other", id="both"),
        pytest.param(["--out-nodes", "Add_1:0"], "did you mean 'Add_0'?", id="a node"),
        pytest.param(["--keep-dtype", "none.txt"], "cannot be read", id="no list"),
        pytest.param(["--aipp", "none.cfg"], "--insert_op_conf none.cfg cannot be", id="no AIPP"),
        pytest.param(["-o", "none/net"], "there is no folder none", id="no folder"),
        pytest.param(["-o", "."], "it is a folder; give -o", id="a folder"),
        pytest.param(["--soc", "310P33"], "did you mean 'Ascend310P3'?", id="a chip"),
        pytest.param(["--input-format", "NHWC"], "NCHW, ND, NCDHW", id="a format"),
        pytest.param(["--precision-mode", "fp16"], "--precision_mode is 'fp16'", id="a mode"),
        pytest.param(["--", "--lgo=info"], "did you mean 'log'?", id="a raw flag"),
        pytest.param(["--", "--model=x"], "the command sets it", id="a raw flag of ours"),
        pytest.param(["more"], "'more' is no flag", id="a word too many"),
    ],
)
def test_refuses(compiled: Callable[..., Answer], arguments: list[str], message: str) -> None:
    answer = compiled(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_the_precision_flag_of_newer_versions_is_refused_by_the_version_found(
    call: Callable[..., Answer], checked: Path, tmp_path: Path
) -> None:
    old = make_toolkit(tmp_path / "old", version="5.0.4.6")
    command = ("compile", checked, "--soc", "310P3", "--toolkit", old)
    answer = call(*command, "--precision-mode-v2", "fp16")
    assert answer.code == 2
    assert "CANN 5.0.4.6 has no --precision_mode_v2" in answer.err


def test_help_has_an_example_and_the_exit_codes(call: Callable[..., Answer]) -> None:
    answer = call("compile", "--help")
    assert answer.code == 0
    assert "onnx-passes compile model.onnx --soc 310P3" in answer.out.split("Example:")[1]
    assert "Exit codes: 0 all compiled" in " ".join(answer.out.split())
