"""What to do about an error of ATC, in a sentence of ours, with where that is known from.

Codes come first: the texts behind them change from version to version. Where several rules fit,
the first one counts, so what is special stands above what is general.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ascend.atc.report import Entry

_MANUAL = "CANN documentation, ATC, error codes: https://www.hiascend.com/document"
_LIST_5 = "CANN 5.0.4.6 documentation, list of supported ONNX operators (no GridSample)"
_LIST_8 = "CANN 8.0.0 documentation, list of supported ONNX operators"
_PLUGINS = "public operator plugins of CANN: the opsets an operator is registered for"
_LOGS = "published logs of ATC"
_SETUP = "CANN documentation, environment of a host without a device"

NO_PARSER = ("E19010", "EZ9010", "E16002", "E10501", "EZ0501", "E13010")
_NO_KERNEL = ("EZ3002", "EZ3003")


@dataclass(frozen=True)
class Remedy:
    """What to do.

    Attributes:
        text: One sentence; MODEL stands for the path of the model.
        source: Where the reason is written down.
    """

    text: str
    source: str


@dataclass(frozen=True)
class _Rule:
    codes: tuple[str, ...]
    remedy: Remedy
    op_types: tuple[str, ...] = ()
    says: str = ""

    def fits(self, entry: Entry) -> bool:
        """Match the code, exactly or as a beginning that ends with ``*``; then the rest."""
        return (
            any(_matches(code, entry.code) for code in self.codes)
            and (not self.op_types or entry.op_type in self.op_types)
            and self.says.lower() in " ".join((entry.text, *entry.chain)).lower()
        )


def _run(passes: str) -> str:
    return f"run: onnx-passes run MODEL -o OUT.onnx --passes {passes}, then compile OUT.onnx"


def _rule(codes: str, text: str, source: str, *op_types: str, says: str = "") -> _Rule:
    return _Rule(tuple(codes.split()), Remedy(text, source), op_types, says)


_PARSER = " ".join(NO_PARSER)
_RULES = (
    _rule(_PARSER, _run("decompose-grid-sample"), _LIST_5, "GridSample"),
    _rule(
        _PARSER,
        "grid_sampler is no operator of ONNX: export the model with opset 16, where it is "
        "GridSample, then run: onnx-passes run MODEL -o OUT.onnx --passes decompose-grid-sample",
        _LOGS,
        "grid_sampler",
    ),
    _rule(_PARSER, _run("decompose-affine-grid"), _LIST_8, "AffineGrid"),
    _rule(_PARSER, _run("decompose-einsum"), _LIST_8, "Einsum"),
    _rule(_PARSER, _run("decompose-is-nan"), _LIST_5, "IsNaN"),
    _rule(_PARSER, _run("unroll-loop"), _LIST_8, "Loop"),
    _rule(
        _PARSER,
        "this operator is not registered for the model's opset, or for none; onnx-passes lint "
        "MODEL tells which, and onnx-passes run MODEL -o OUT.onnx --passes @ascend310p (for CANN "
        "8; for CANN 5 @ascend310p-cann5) rewrites what can be",
        _PLUGINS,
    ),
    _rule(
        " ".join(_NO_KERNEL),
        "no engine of the chip has a kernel for these dtypes and shapes; onnx-passes lint MODEL "
        "shows what to rewrite, onnx-passes run MODEL -o OUT.onnx --passes @ascend310p does it",
        _LOGS,
    ),
    _rule("E10007", "give --framework=5 (ONNX)", _MANUAL),
    _rule("E10009", "give one kind of gears only, and no --input_shape_range", _MANUAL),
    _rule("E10016", "spell the names of inputs and nodes as the model does", _MANUAL),
    _rule("E10022", "end --output with a file name, not with a folder", _MANUAL),
    _rule("E10035", "give at least 2 gears", _MANUAL),
    _rule("E10036", "give at most 100 gears", _MANUAL),
    _rule(
        "E10041",
        "ATC cannot load the file: check its path and rights, that its .data file is beside it, "
        "and that onnx-passes lint MODEL can read it",
        _MANUAL,
    ),
    _rule("E10054", "a required flag is empty; give it a value", _MANUAL),
    _rule(
        "E10001",
        "a size is open: fix it with --batch, or with --shape NAME=N,3,32,100",
        _LOGS,
        says="input_shape",
    ),
    _rule("E100*", "a flag is wrong: correct the one that the report names", _MANUAL),
    _rule(
        "E16001 E16004",
        "the model is broken: run onnx.checker on it and export it again",
        _MANUAL,
    ),
    _rule(
        "E19009",
        "two nodes have one name: give each its own (onnx-passes edit MODEL -o OUT.onnx --rename)",
        _MANUAL,
    ),
    _rule(
        "E19001 E19003 E19004", "a file cannot be read or written: check path and rights", _MANUAL
    ),
    _rule(
        "E19022",
        "memory ran out: compile one batch at a time (--jobs 1) with TE_PARALLEL_COMPILER=1, or "
        "on a larger host",
        _MANUAL,
    ),
    _rule(
        "E40002 E40020",
        "the Python that ATC calls is not set up: source set_env.sh, and install the packages "
        "that the toolkit's manual asks for, for that Python",
        _MANUAL,
    ),
    _rule(
        "E19999 E?9*",
        "an internal error of ATC: the lines of its trace back say more than the first; try with "
        "-- --log=debug and compile parts of the model (onnx-passes extract)",
        _MANUAL,
    ),
    _rule(
        "E2* E40021 E5* E9*",
        "an operator could not be compiled: the report names it; onnx-passes lint MODEL shows "
        "operators with known limits, --op-precision or --fusion-switch may avoid the kernel",
        _MANUAL,
    ),
    _rule(
        "W11001",
        "a slow kernel was chosen for the operator that the line names; onnx-passes lint MODEL "
        "shows operators that leave the AI Core",
        _MANUAL,
    ),
)
# Lines that are no report, from the loader, the shell or the operating system.
_PLAIN = (
    (
        "error while loading shared libraries",
        Remedy(
            "a library is missing: source set_env.sh; on a host without a device LD_LIBRARY_PATH "
            "must also hold <toolkit>/<arch>-linux/devlib",
            _SETUP,
        ),
    ),
    ("No space left on device", Remedy("the disk is full: free space and compile again", "errno")),
)


def remedy_for(entry: Entry) -> Remedy | None:
    """Return what to do about an entry, or None if we know nothing to do."""
    return next((rule.remedy for rule in _RULES if rule.fits(entry)), None)


def plain_remedy(output: str) -> Remedy | None:
    """Return what to do about lines that are no entry of a report, or None."""
    return next((remedy for text, remedy in _PLAIN if text in output), None)


def _matches(pattern: str, code: str) -> bool:
    """``?`` stands for one character, a ``*`` at the end for all that follow."""
    if not pattern.endswith("*"):
        return pattern == code
    start = pattern[:-1]
    return len(code) >= len(start) and all(
        sign in ("?", own) for sign, own in zip(start, code, strict=False)
    )
