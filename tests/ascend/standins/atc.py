"""A stand-in for ATC, run as a program: what is documented of it, and nothing else.

It reads its arguments, refuses what the real one refuses, with its codes on stdout and status 255,
and writes a file of three parts: the line STANDIN-OM, a line of JSON, and the model as one ONNX
file. Which operators it parses comes from ``ascend/data``, by the version of the toolkit.

What it does beyond that is chosen by the environment::

    STANDIN_ATC_ONLY=TEXT        the following counts for outputs with TEXT in their name only
    STANDIN_ATC_CRASH=11         end by that signal, after the first line
    STANDIN_ATC_HANG=1           never end
    STANDIN_ATC_DISK_FULL=1      write half a model, then fail
    STANDIN_ATC_PARTIAL_LOG=1    print half a report, then be killed
    STANDIN_ATC_NO_FILE=1        succeed, but leave no model
    STANDIN_ATC_SILENT=1         succeed, but print no line of success
    STANDIN_ATC_EXIT=1           succeed, but end with that status
    STANDIN_ATC_WARN=1           warn W11001
    STANDIN_ATC_FLOOD=20000      print so many lines first
    STANDIN_ATC_REPORT=FILE      fail with the text of that file as the report
    STANDIN_ATC_NAME=linux_x86_64  write X_linux_x86_64.om
    STANDIN_ATC_FORM=plain|pid|bare  the shape of reports: by age, oldest first
    STANDIN_ATC_CANN=5.0.4.6     be that version
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import onnx

ENVIRON = "STANDIN_ATC_"
DATA = Path(__file__).resolve().parents[3] / "ascend" / "data"
FAILED = 255
START = "ATC start working now, please wait for a moment."
SUCCESS = "ATC run success, welcome to the next use."
FAILURE = "ATC run failed, the report says why:"
MODES = {"force_fp16", "force_fp32", "cube_fp16in_fp32out", "allow_mix_precision"} | {
    "allow_fp32_to_fp16",
    "must_keep_origin_dtype",
}
CHOICES = {
    "mode": {"0", "1", "3", "5", "6"},
    "framework": {"5"},
    "input_format": {"NCHW", "ND", "NCDHW"},
    "precision_mode": MODES,
    "precision_mode_v2": {"fp16", "origin", "cube_fp16in_fp32out", "mixed_float16"},
    "log": {"debug", "info", "warning", "error", "null"},
    "buffer_optimize": {"l2_optimize", "l1_optimize", "off_optimize"},
    "display_model_info": {"0", "1", "true", "false"},
}
FILES = {"keep_dtype", "customize_dtypes", "modify_mixlist", "op_precision_mode"} | {
    "fusion_switch_file",
    "insert_op_conf",
    "compression_optimize_conf",
}
TEXTS = (
    "model output soc_version input_shape input_shape_range dynamic_batch_size dynamic_image_size "
    "dynamic_dims op_select_implmode optypelist_for_implmode out_nodes output_type "
    "input_fp16_nodes enable_small_channel op_compiler_cache_mode op_debug_level check_report json "
    "om save_original_model host_env_os host_env_cpu disable_reuse_memory aicore_num core_type "
    "deterministic external_weight"
)
FLAGS = {*CHOICES, *FILES, *TEXTS.split()}
GEARS = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")
# Not in the lists of operators, and in every model all the same.
BUILT_IN = {"Constant", "Identity"}

Dims = list[Any]


def setting(name: str) -> str:
    """Return a setting of the environment; empty where it is not for this output."""
    only = os.environ.get(f"{ENVIRON}ONLY", "")
    if name not in {"CANN", "FORM"} and only and not any(only in word for word in sys.argv):
        return ""
    return os.environ.get(ENVIRON + name, "")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def fail(code: str, text: str, *chain: str) -> NoReturn:
    """Print a report in the shape of the chosen age and end."""
    form = setting("FORM") or "plain"
    head = "" if form == "plain" else "[PID: 4711] 2025-09-28-03:43:47.761.546 "
    if form == "bare":
        text = re.sub(r"[\[\]]", "", text)
    say(FAILURE)
    say(f"{code}: {head}{text}")
    say("        Solution: see the manual.")
    if chain:
        say("        TraceBack (most recent call last):")
    for line in chain:
        say(f"        {line}[FUNC:Parse][FILE:parser.cc][LINE:42]")
    sys.exit(FAILED)


def invalid(parameter: str, value: object, reason: str) -> NoReturn:
    fail("E10001", f"Value [{value}] for parameter [{parameter}] is invalid. Reason: {reason}")


def main() -> int:
    """Do as ATC does; return the exit status."""
    say(START)
    misbehave_first()
    flags = read_arguments(sys.argv[1:])
    refuse_flags(flags)
    model = load(flags)
    names = {node.name for node in model.graph.node}
    refuse_files(flags, names)
    shapes = resolve(flags, model)
    refuse_nodes(model, flags)
    if setting("WARN"):
        say("W11001: Op [conv_1], optype [Conv2D] runs on a slow kernel.")
    if report := setting("REPORT"):
        say(FAILURE)
        say(Path(report).read_text())
        return FAILED
    write(flags, model, shapes)
    if not setting("SILENT"):
        say(SUCCESS)
    return int(setting("EXIT") or 0)


def misbehave_first() -> None:
    for index in range(int(setting("FLOOD") or 0)):
        say(f"[INFO] line {index} of many")
    if number := setting("CRASH"):
        os.kill(os.getpid(), int(number))
    if setting("HANG"):
        while True:
            time.sleep(60)
    if setting("PARTIAL_LOG"):
        sys.stdout.write("E19999: Something went wrong.\n        TraceBack (most rec")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


# --- flags ---------------------------------------------------------------------------------------


def read_arguments(words: list[str]) -> dict[str, str]:
    """Read ``--a=b`` and ``--a b``."""
    flags: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, sign, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in FLAGS:
            say(FAILURE)
            say(f"unknown command line flag '{name}'")
            sys.exit(FAILED)
        if not sign:
            value = rest.pop(0) if rest else ""
        flags[name] = value
    return flags


def refuse_flags(flags: dict[str, str]) -> None:
    refuse_missing(flags)
    for name, value in flags.items():
        if name in CHOICES and value not in CHOICES[name]:
            invalid(name, value, f"it must be one of {sorted(CHOICES[name])}")
        if not value:
            fail("E10054", f"The value of parameter [{name}] is empty.")
    refuse_exclusive(flags)
    if flags["output"].endswith("/"):
        fail("E10022", f"Path [{flags['output']}] for parameter [output] holds no file name.")
    for name in ("model", "output"):
        if not re.fullmatch(r"[A-Za-z0-9_./-]+", flags[name]):
            invalid(name, flags[name], "a path holds letters, digits, '_', '-' and '.' only")
    if not re.fullmatch(r"Ascend\w+", flags["soc_version"]):
        invalid("soc_version", flags["soc_version"], "there is no such chip")


def refuse_missing(flags: dict[str, str]) -> None:
    if "ASCEND_OPP_PATH" not in os.environ:
        say(FAILURE)
        say("ASCEND_OPP_PATH is not set")
        sys.exit(FAILED)
    for name in ("model", "output", "soc_version"):
        if not flags.get(name):
            fail("E10054", f"The value of required parameter [{name}] is empty.")
    if "framework" not in flags:
        fail("E10007", "Parameter [framework] is required. The value must be [5].")


def refuse_exclusive(flags: dict[str, str]) -> None:
    given = [name for name in (*GEARS, "input_shape_range") if name in flags]
    if len(given) > 1:
        fail("E10009", f"Parameters [{given[0]}] and [{given[1]}] exclude each other.")
    if "precision_mode_v2" in flags:
        if "precision_mode" in flags:
            invalid("precision_mode_v2", flags["precision_mode_v2"], "precision_mode is set too")
        if cann().startswith("5."):
            say(FAILURE)
            say("unknown command line flag 'precision_mode_v2'")
            sys.exit(FAILED)
    gears = next((flags[name] for name in GEARS if name in flags), None)
    if gears is not None:
        count = len(split_gears(flags, gears))
        if count < 2:
            fail("E10035", f"The number of gears [{count}] is less than [2].")
        if count > 100:
            fail("E10036", f"The number of gears [{count}] is greater than [100].")


def split_gears(flags: dict[str, str], text: str) -> list[list[int]]:
    groups = text.split("," if "dynamic_batch_size" in flags else ";")
    try:
        return [[int(size) for size in group.split(",")] for group in groups]
    except ValueError:
        invalid(next(name for name in GEARS if name in flags), text, "it must hold numbers")


def refuse_files(flags: dict[str, str], names: set[str]) -> None:
    for name in FILES & set(flags):
        if not Path(flags[name]).is_file():
            fail("E19001", f"File [{flags[name]}] for parameter [{name}] cannot be opened.")
    for line in kept(flags):
        if line not in names and not line.startswith("OpType::"):
            fail("E10016", f"Node [{line}] of parameter [keep_dtype] is not in the model.")
    if "modify_mixlist" in flags:
        mode = flags.get("precision_mode", flags.get("precision_mode_v2", ""))
        if mode not in {"allow_mix_precision", "mixed_float16"}:
            invalid("modify_mixlist", flags["modify_mixlist"], "the mode is not a mixed precision")
        json.loads(Path(flags["modify_mixlist"]).read_text())


def kept(flags: dict[str, str]) -> list[str]:
    return Path(flags["keep_dtype"]).read_text().splitlines() if "keep_dtype" in flags else []


# --- model ---------------------------------------------------------------------------------------


def load(flags: dict[str, str]) -> onnx.ModelProto:
    """Load the model with its weights."""
    import onnx

    try:
        model = onnx.load(flags["model"])
    except Exception:  # whatever is wrong with it, the code is the same
        fail("E10041", f"Model [{flags['model']}] cannot be loaded.")
    return model


def resolve(flags: dict[str, str], model: onnx.ModelProto) -> dict[str, Dims]:
    """Return the sizes of all inputs: those of the flag, else of the model; -1 for gears."""
    weights = {tensor.name for tensor in model.graph.initializer}
    own = {value.name: model_dims(value) for value in model.graph.input}
    own = {name: dims for name, dims in own.items() if name not in weights}
    shapes = dict(own)
    for name, dims in read_shapes(flags).items():
        if name not in own:
            fail("E10016", f"Node [{name}] of parameter [input_shape] is not in the model.")
        if len(dims) != len(own[name]) or any(
            size not in (-1, wanted) for size, wanted in zip(own[name], dims, strict=True)
        ):
            invalid("input_shape", dims, f"input [{name}] of the model has shape {own[name]}")
        shapes[name] = dims
    refuse_open(flags, shapes)
    return shapes


def model_dims(value: onnx.ValueInfoProto) -> Dims:
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]


def read_shapes(flags: dict[str, str]) -> dict[str, Dims]:
    """Read ``a:1,3,32,100;b:``."""
    shapes: dict[str, Dims] = {}
    for part in filter(None, flags.get("input_shape", "").split(";")):
        name, sign, text = part.rpartition(":")
        dims = [size if "~" in size else int(size) for size in text.split(",") if size]
        if not sign or any(isinstance(size, int) and size != -1 and size < 1 for size in dims):
            invalid("input_shape", part, "it must be a name, ':' and sizes above 0, or -1")
        shapes[name] = dims
    return shapes


def refuse_open(flags: dict[str, str], shapes: dict[str, Dims]) -> None:
    places = {name: [i for i, size in enumerate(d) if size == -1] for name, d in shapes.items()}
    gear = next((name for name in GEARS if name in flags), None)
    count = sum(map(len, places.values()))
    if gear is None:
        asked = read_shapes(flags)
        if any(places[name] and name not in asked for name in places):
            invalid("Inputs", -1, "maybe you should set input_shape to specify its shape")
        return
    if not count:
        invalid(gear, flags[gear], "no size of input_shape is -1")
    allowed = {"dynamic_batch_size": {0}, "dynamic_image_size": {2, 3}}.get(gear)
    for name, found in places.items():
        if allowed is not None and set(found) - allowed:
            invalid("input_shape", shapes[name], f"-1 may be at {allowed} only for [{gear}]")
    if gear == "dynamic_dims":
        if flags.get("input_format", "NCHW") != "ND":
            invalid("input_format", flags.get("input_format"), "dynamic_dims needs ND")
        if any(len(one) != count for one in split_gears(flags, flags[gear])):
            invalid(gear, flags[gear], f"a gear must have {count} numbers")


def refuse_nodes(model: onnx.ModelProto, flags: dict[str, str]) -> None:
    nodes = list(model.graph.node)
    named = [node.name for node in nodes if node.name]
    if twice := next((name for name in named if named.count(name) > 1), None):
        fail("E19009", f"Node name [{twice}] is not unique in the model.")
    outputs = {value.name for value in model.graph.output}
    for text in filter(None, flags.get("out_nodes", "").split(";")):
        name, _, index = text.rpartition(":")
        counts = {node.name: len(node.output) for node in nodes}
        if text not in outputs and not (index.isdecimal() and int(index) < counts.get(name, 0)):
            fail("E10016", f"Node [{text}] of parameter [out_nodes] is not in the model.")
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    for node in nodes:
        if not is_parsed(node.domain, node.op_type, opset):
            kind = f"{node.domain or 'ai.onnx'}::{opset}::{node.op_type}"
            name = node.name or f"{node.op_type}_1"
            fail(
                "E19010",
                f"No parser is registered for Op [{name}, optype [{kind}]].",
                f"parse of node [{name}] failed.",
                "parse of the model failed.",
            )


# --- versions ------------------------------------------------------------------------------------


def cann() -> str:
    """Return the version: as told, or of the toolkit whose environment is set."""
    if told := setting("CANN"):
        return told
    for file in Path(os.environ.get("ASCEND_TOOLKIT_HOME", "")).glob("*-linux/*.info"):
        if found := re.search(r"^version=(\S+)", file.read_text(), re.MULTILINE):
            return found[1]
    return "8.1.RC1"


def is_parsed(domain: str, op_type: str, opset: int) -> bool:
    """Return whether the parser of this version knows an operator at an opset."""
    if op_type in BUILT_IN:
        return True
    if domain not in ("", "ai.onnx") or op_type in {"Loop", "Scan"}:
        return False
    data = release(cann())
    if "opsets" in data and not within(opset, data["opsets"]["range"]):
        return False
    groups = data.get("registered", {}).get("opsets", {}).items()
    if found := [text for text, names in groups if op_type in names]:
        return any(within(opset, text) for text in found)
    if groups:  # what has no plugin of its own is in the list of the version before
        data = release("8.0.0")
    return op_type in data["listed"]["operators"] if "listed" in data else True


def release(version: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((DATA / f"cann-{version}.json").read_text())
    return data


def within(opset: int, text: str) -> bool:
    """Return whether ``11,16-18`` holds an opset."""
    ranges = (part.partition("-") for part in text.split(","))
    return any(int(low) <= opset <= int(high or low) for low, _, high in ranges)


# --- result --------------------------------------------------------------------------------------


def write(flags: dict[str, str], model: onnx.ModelProto, shapes: dict[str, Dims]) -> None:
    gear = next((name for name in GEARS if name in flags), None)
    gears = split_gears(flags, flags[gear]) if gear else []
    header = {
        "soc_version": flags["soc_version"],
        "inputs": fill(shapes, max(gears, key=lambda one: one[0] * one[-1])) if gears else shapes,
        "gears": {gear: gears} if gear else None,
        "precision_mode": flags.get("precision_mode", flags.get("precision_mode_v2", "force_fp16")),
        "keep_dtype": kept(flags),
        "flags": flags,
    }
    content = b"\n".join(
        (b"STANDIN-OM", json.dumps(header).encode(), model.SerializeToString(deterministic=True))
    )
    suffix = f"_{setting('NAME')}" if setting("NAME") else ""
    file = Path(f"{flags['output']}{suffix}.om")
    if setting("DISK_FULL"):
        file.write_bytes(content[: len(content) // 2])
        fail("E19004", f"Write file [{file}] failed: No space left on device.")
    if not setting("NO_FILE"):
        file.write_bytes(content)
    (file.parent / "kernel_meta").mkdir(exist_ok=True)
    Path("fusion_result.json").write_text("[]")


def fill(shapes: dict[str, Dims], gear: list[int]) -> dict[str, Dims]:
    """Return the sizes at one gear; a single number stands for every -1."""
    sizes = list(gear)
    return {
        name: [
            (sizes.pop(0) if len(sizes) > 1 else sizes[0]) if size == -1 else size for size in dims
        ]
        for name, dims in shapes.items()
    }


if __name__ == "__main__":
    sys.exit(main())
