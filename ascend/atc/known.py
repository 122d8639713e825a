"""The flags that ATC knows, by name, and what their values may be.

Source: the ATC chapters of the CANN documentation, 5.0.4.6 to 2026. A list of values that is not
complete there is marked: what is not in it is refused only where we write it ourselves.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ascend.errors import AscendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind = Literal["text", "switch", "choice", "some choices", "file", "path"]
MIXED_PRECISION = ("allow_mix_precision", "mixed_float16")


@dataclass(frozen=True)
class Flag:
    """A flag.

    Attributes:
        name: Without the dashes.
        kind: ``choice``: one of `values`; ``some choices``: or one that no source lists;
            ``switch``: 0, 1, true or false; ``file``: one that exists; ``path``: any path.
        values: What a choice may be.
    """

    name: str
    kind: Kind = "text"
    values: tuple[str, ...] = ()


_SWITCH = ("0", "1", "true", "false")
_MODES = (
    "force_fp16 force_fp32 cube_fp16in_fp32out allow_mix_precision allow_fp32_to_fp16 "
    "must_keep_origin_dtype"
)
_IMPLEMENTATIONS = "high_precision high_performance high_precision_for_all high_performance_for_all"
_CHOICES = {
    "mode": "0 1 3 5 6",
    "framework": "5",
    "input_format": "NCHW ND NCDHW",
    "op_select_implmode": _IMPLEMENTATIONS,
    "log": "debug info warning error null",
    "buffer_optimize": "l2_optimize l1_optimize off_optimize",
}
_SOME_CHOICES = {
    "precision_mode": _MODES,
    "precision_mode_v2": "fp16 origin cube_fp16in_fp32out mixed_float16",
    "output_type": "FP32 FP16",
}
_FILES = (
    "keep_dtype customize_dtypes modify_mixlist op_precision_mode fusion_switch_file "
    "insert_op_conf compression_optimize_conf"
)
_TEXTS = (
    "model output soc_version input_shape input_shape_range dynamic_batch_size dynamic_image_size "
    "dynamic_dims optypelist_for_implmode out_nodes input_fp16_nodes enable_small_channel "
    "op_compiler_cache_mode op_debug_level save_original_model host_env_os host_env_cpu "
    "disable_reuse_memory aicore_num core_type deterministic external_weight"
)
FLAGS = {
    flag.name: flag
    for flag in (
        *(Flag(name, "choice", tuple(text.split())) for name, text in _CHOICES.items()),
        *(Flag(name, "some choices", tuple(text.split())) for name, text in _SOME_CHOICES.items()),
        *(Flag(name, "file") for name in _FILES.split()),
        *(Flag(name, "path") for name in ("check_report", "json", "om")),
        *(Flag(name) for name in _TEXTS.split()),
        Flag("display_model_info", "switch", _SWITCH),
    )
}
REMOVED = {"auto_tune_mode": "ATC has removed it and stops with an error today"}


def why_not(name: str, value: str) -> str:
    """Return why ATC would not take ``--name=value``, or an empty string."""
    flag = FLAGS.get(name)
    if flag is None:
        if name in REMOVED:
            return f"--{name}: {REMOVED[name]}; leave it out"
        return f"ATC has no flag --{name[:60]}{nearest(name, FLAGS)}"
    if not value:
        return f"--{name} is empty (ATC: E10054); give a value or leave the flag out"
    if flag.kind in {"choice", "switch"} and value not in flag.values:
        hint = nearest(value, flag.values)
        return f"--{name} is {value[:60]!r}, expected one of {', '.join(flag.values)}{hint}"
    if flag.kind == "file" and not Path(value).is_file():
        return f"--{name}: there is no file {value}; give the path of one"
    return ""


def parse_raw(arguments: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read ``--a=b`` and ``--a b`` as ATC does; paths become absolute, for it runs elsewhere.

    Raises:
        AscendError: If a flag is unknown, lacks its value, is given twice or has a bad value.
    """
    pairs: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        name, value = _take(rest)
        if name in pairs:
            msg = f"flag --{name} is given twice; give it once"
            raise AscendError(msg)
        if reason := why_not(name, value):
            raise AscendError(reason)
        is_path = FLAGS[name].kind in {"file", "path"}
        pairs[name] = str(Path(value).absolute()) if is_path else value
    return tuple(pairs.items())


def _take(rest: list[str]) -> tuple[str, str]:
    """Take a flag and its value from the front of ``rest``."""
    word = rest.pop(0)
    name, sign, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or not name:
        msg = f"{word[:60]!r} is no flag; expected --NAME=VALUE"
        raise AscendError(msg)
    if sign:
        return name, value
    if name in FLAGS and (not rest or rest[0].startswith("--")):
        msg = f"flag --{name} has no value; write --{name}=VALUE"
        raise AscendError(msg)
    return name, rest.pop(0) if rest else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest of ``known``, or an empty string."""
    folded = {item.casefold(): item for item in known}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[found[0]]!r}?" if found else ""
