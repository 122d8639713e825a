"""The reports of ATC: every shape seen, any text at all, and what to do about an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend.atc.remedies import plain_remedy, remedy_for
from ascend.atc.report import FAILURE, MAX_ENTRIES, SUCCESS, Entry, parse_report

# From published logs, as the facts of this project quote them.
BRACKETS = (
    "E19010: No parser is registered for "
    "Op [grid_sampler_3140, optype [ai.onnx::11::grid_sampler]]."
)
KERNEL = "EZ3003: No supported Ops kernel and engine are found for [AddDsl], optype [AddDsl]."
STAMPED = (
    "EZ3002: [PID: 141730] 2025-05-14-07:42:33.234.136 Optype [TransData] of Ops kernel "
    "[AIcoreEngine] is unsupported. Reason: [tbe-custom]: missing"
)
OPEN_SIZE = (
    "E10001: Value [-1] for parameter [Inputs] is invalid. "
    "Reason: maybe you should set input_shape to specify its shape"
)
COMPILE = (
    "E90003: [PID: 9038] 2025-09-28-03:43:47.761.546 Compile operator failed, "
    "cause: Template constraint, detailed information: none"
)
FULL = f"""ATC start working now, please wait for a moment.
...
{FAILURE}, the report follows:
E40021: Cannot build Op [conv_7, optype [Conv2D]] (path: [x], optype: [Conv2D]).
        It went on in a second line.
        Possible Cause: the kernel has
        a limit.
        Solution: See the host log.
        TraceBack (most recent call last):
        compile of graph failed[FUNC:Build][FILE:graph.cc][LINE:12]
        build of node [conv_7] failed. [FUNC:Run][FILE:node.cc][LINE:3456].

(see the manual)
        an indented line that belongs to nobody
"""


def only(text: str) -> Entry:
    (entry,) = parse_report(text).entries
    return entry


@pytest.mark.parametrize(
    ("text", "code", "node", "op_type", "opset"),
    [
        pytest.param(BRACKETS, "E19010", "grid_sampler_3140", "grid_sampler", 11, id="a parser"),
        pytest.param(
            BRACKETS.replace("[", "").replace("]", ""),
            *("E19010", "grid_sampler_3140", "grid_sampler", 11),
            id="the newest: no brackets",
        ),
        pytest.param(KERNEL, "EZ3003", "AddDsl", "AddDsl", None, id="an engine"),
        pytest.param(STAMPED, "EZ3002", "", "TransData", None, id="2025: PID and time"),
        pytest.param(OPEN_SIZE, "E10001", "", "", None, id="a flag"),
        pytest.param(COMPILE, "E90003", "", "", None, id="a compilation"),
        pytest.param(f"  {KERNEL}", "EZ3003", "AddDsl", "AddDsl", None, id="indented"),
        pytest.param("W11001: Op [a], optype [Conv2D]", "W11001", "a", "Conv2D", None, id="warns"),
    ],
)
def test_real_lines_are_taken_apart(
    text: str, code: str, node: str, op_type: str, opset: int | None
) -> None:
    entry = only(text)
    assert (entry.code, entry.node, entry.op_type, entry.opset) == (code, node, op_type, opset)
    assert entry.is_error is (code != "W11001")


def test_process_and_time_are_no_part_of_the_text() -> None:
    assert only(STAMPED).text.startswith("Optype [TransData] of Ops kernel")
    assert only(COMPILE).text.startswith("Compile operator failed")


def test_cause_solution_and_chain_are_kept_apart() -> None:
    report = parse_report(FULL)
    assert (report.success, report.failure) == (False, True)
    (entry,) = report.errors
    assert entry == Entry(
        code="E40021",
        text="Cannot build Op [conv_7, optype [Conv2D]] (path: [x], optype: [Conv2D]). "
        "It went on in a second line.",
        node="conv_7",
        op_type="Conv2D",
        cause="the kernel has a limit.",
        solution="See the host log.",
        chain=("compile of graph failed", "build of node [conv_7] failed."),
    )


def test_several_errors_are_several_entries_and_the_same_one_is_one() -> None:
    report = parse_report("\n".join((KERNEL, STAMPED, KERNEL, "W11001: slow")))
    assert [entry.code for entry in report.errors] == ["EZ3003", "EZ3002"]
    assert [entry.code for entry in report.warnings] == ["W11001"]


def test_a_flood_of_warnings_hides_no_error() -> None:
    flood = "".join(f"W11001: slow kernel {index}\n" for index in range(3 * MAX_ENTRIES))
    report = parse_report(flood + BRACKETS)
    assert [entry.code for entry in report.errors] == ["E19010"]
    assert len(report.warnings) == MAX_ENTRIES


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ERROR: nothing", id="a word"),
        pytest.param("E1234: short", id="a short code"),
        pytest.param("see E19010 in the manual", id="a code within a line"),
        pytest.param("", id="nothing"),
        pytest.param("        Solution: of nothing", id="a part without a head"),
    ],
)
def test_other_lines_are_no_entries(text: str) -> None:
    assert parse_report(text).entries == ()


def test_success_counts_at_the_beginning_of_a_line_only() -> None:
    assert parse_report(f"a\n{SUCCESS}, welcome").success
    assert not parse_report(f"echo {SUCCESS}").success


_PIECES = st.sampled_from(
    [
        *FULL.splitlines(keepends=True),
        BRACKETS,
        STAMPED,
        "E19010:",
        "TraceBack (most",
        "[",
        "\n",
        " ",
    ]
)


@given(st.text() | st.lists(_PIECES | st.text(max_size=9)).map("".join))
def test_any_text_gives_a_report_and_remedies(text: str) -> None:
    report = parse_report(text)
    for entry in report.entries:
        assert "\n" not in entry.text
        remedy_for(entry)
    plain_remedy(text)


def test_long_lines_take_linear_time() -> None:
    parse_report("E19010: Op [" + "a " * 2_000_000)
    parse_report("E19010: x\n" + " [FUNC:a" * 500_000)
    parse_report("E19010: x\n TraceBack (most recent call last):\n" + " a[FUNC:\n" * 300_000)


# --- what to do ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["E19010", "EZ9010", "E16002", "E10501", "EZ0501", "E13010"])
def test_grid_sample_without_a_parser_is_to_be_decomposed(code: str) -> None:
    entry = only(f"{code}: No parser for Op [g, optype [ai.onnx::16::GridSample]].")
    remedy = remedy_for(entry)
    assert remedy is not None
    assert "onnx-passes run MODEL -o OUT.onnx --passes decompose-grid-sample" in remedy.text
    assert "5.0.4.6" in remedy.source


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        pytest.param(BRACKETS, "export the model with opset 16", id="torch's grid_sampler"),
        pytest.param(BRACKETS.replace("grid_sampler]]", "Loop]]"), "unroll-loop", id="Loop"),
        pytest.param(BRACKETS.replace("grid_sampler]]", "Foo]]"), "@ascend310p", id="another"),
        pytest.param(KERNEL, "no engine of the chip", id="no engine"),
        pytest.param(STAMPED, "no engine of the chip", id="no kernel"),
        pytest.param(OPEN_SIZE, "--batch", id="an open size"),
        pytest.param("E10001: Value [x] for parameter [log]", "a flag is wrong", id="a flag"),
        pytest.param("E10007: framework", "--framework=5", id="framework"),
        pytest.param("E10009: x", "one kind of gears", id="exclusive gears"),
        pytest.param("E10022: x", "a file name", id="no file name"),
        pytest.param("E10041: x", "cannot load the file", id="not loadable"),
        pytest.param("E16001: x", "the model is broken", id="broken"),
        pytest.param("E19009: x", "two nodes have one name", id="names"),
        pytest.param("E19022: x", "TE_PARALLEL_COMPILER=1", id="memory"),
        pytest.param("E19999: x", "internal error", id="internal"),
        pytest.param("E29999: x", "internal error", id="internal, another part"),
        pytest.param(COMPILE, "could not be compiled", id="compilation"),
        pytest.param("E40020: x", "Python", id="Python"),
        pytest.param("W11001: x", "slow kernel", id="a slow kernel"),
    ],
)
def test_remedies_by_code(text: str, advice: str) -> None:
    remedy = remedy_for(only(text))
    assert remedy is not None
    assert advice in remedy.text
    assert remedy.source


def test_an_unknown_code_has_no_remedy() -> None:
    assert remedy_for(only("EK0001: something new")) is None


def test_what_the_loader_and_the_disk_say_has_a_remedy() -> None:
    missing = plain_remedy("atc: error while loading shared libraries: libascend_hal.so")
    assert missing is not None
    assert "devlib" in missing.text
    full = plain_remedy("OSError: [Errno 28] No space left on device")
    assert full is not None
    assert "disk is full" in full.text
    assert plain_remedy("all is well") is None


def test_every_pass_that_a_remedy_names_exists() -> None:
    import re

    from ascend.atc.remedies import _RULES
    from ascend.presets import PRESETS
    from onnx_passes.core.registry import get

    texts = [rule.remedy.text for rule in _RULES]
    named = {name for text in texts for name in re.findall(r"--passes ([\w@-]+)", text)}
    assert len(named) > 3
    for name in named:
        if name.startswith("@"):
            assert name[1:] in {preset.name for preset in PRESETS}
        else:
            get(name)
