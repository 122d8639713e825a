"""The flags of one call of ATC, typed; a value that ATC would refuse cannot be built.

Where it is known, the refusal names the code that ATC would have given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ascend.atc.known import FLAGS, MIXED_PRECISION, nearest, why_not
from ascend.atc.shapes import GEAR_FLAGS, spell, why_not_gears, why_not_shapes
from ascend.errors import AscendError

if TYPE_CHECKING:
    from pathlib import Path

    from ascend.atc.shapes import Gears, InputShape

ONNX = "5"  # --framework
# Set by what a caller says of the model, or by us; never by hand beside that.
OURS = {
    **dict.fromkeys(("mode", "framework", "model", "output"), "the command sets it"),
    "soc_version": "use --soc",
    "input_shape": "use --shape and --batch",
    **dict.fromkeys(GEAR_FLAGS.values(), "use --gears"),
    "external_weight": "it writes weights beside the model, which would stay behind: run ATC "
    "yourself (--dry-run)",
}
_PATH = re.compile(r"[A-Za-z0-9_./-]+")


@dataclass(frozen=True)
class Flags:
    """What ATC is told.

    Attributes:
        model: The ONNX file.
        output: The compiled model without its suffix, seen from the folder that ATC runs in.
        soc_version: The chip, such as Ascend310P3.
        input_shape: Sizes by input; all inputs whose sizes the model leaves open.
        input_format: NCHW, ND or NCDHW.
        gears: Sizes to choose from when the model runs.
        precision_mode: See ATC; excludes `precision_mode_v2`.
        precision_mode_v2: See ATC; not in CANN 5.
        keep_dtype: File of the nodes that keep their dtype.
        modify_mixlist: JSON that says which operators may become float16, in mixed precision.
        op_precision_mode: ini file, by type or by node.
        fusion_switch_file: Fusions to switch off.
        insert_op_conf: AIPP: preprocessing on the device.
        out_nodes: ``node:0`` or names of outputs; none for the model's own.
        extra: Further flags and values.
        cann: The version of CANN that will run, if known.
    """

    model: Path
    output: str
    soc_version: str
    input_shape: InputShape = ()
    input_format: str = "NCHW"
    gears: Gears | None = None
    precision_mode: str | None = None
    precision_mode_v2: str | None = None
    keep_dtype: Path | None = None
    modify_mixlist: Path | None = None
    op_precision_mode: Path | None = None
    fusion_switch_file: Path | None = None
    insert_op_conf: Path | None = None
    out_nodes: tuple[str, ...] = ()
    extra: tuple[tuple[str, str], ...] = ()
    cann: str | None = None

    def __post_init__(self) -> None:
        """Refuse what ATC would refuse.

        Raises:
            AscendError: With the reason.
        """
        for reason in (
            self._why_not_extra(),
            self._why_not_paths(),
            self._why_not_values(),
            self._why_not_precision(),
            why_not_shapes(self.input_shape),
            self._why_not_gears(),
        ):
            if reason:
                raise AscendError(reason)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return every flag that is set, with its value."""
        return (*self._own(), *self.extra)

    def arguments(self) -> list[str]:
        """Return the arguments of ATC."""
        return [f"--{name}={value}" for name, value in self.pairs()]

    def _own(self) -> tuple[tuple[str, str], ...]:
        optional = {
            "input_shape": spell(self.input_shape),
            GEAR_FLAGS[self.gears.kind] if self.gears else "": self.gears and self.gears.value,
            "precision_mode": self.precision_mode,
            "precision_mode_v2": self.precision_mode_v2,
            "keep_dtype": self.keep_dtype,
            "modify_mixlist": self.modify_mixlist,
            "op_precision_mode": self.op_precision_mode,
            "fusion_switch_file": self.fusion_switch_file,
            "insert_op_conf": self.insert_op_conf,
            "out_nodes": ";".join(self.out_nodes),
        }
        return (
            ("model", str(self.model)),
            ("framework", ONNX),
            ("output", self.output),
            ("soc_version", self.soc_version),
            ("input_format", self.input_format),
            *((name, str(value)) for name, value in optional.items() if name and value),
        )

    def _why_not_extra(self) -> str:
        own = dict(self._own())
        for name, value in self.extra:
            if reason := why_not(name, value):
                return reason
            if name in OURS:
                return f"--{name} is not for you to give; {OURS[name]}"
            if name in own:
                return f"--{name} is set twice; give it once"
        return ""

    def _why_not_paths(self) -> str:
        if not self.output or self.output.endswith("/"):
            return f"--output={self.output} holds no file name (ATC: E10022); give one"
        for name, path in (("model", str(self.model)), ("output", self.output)):
            if not _PATH.fullmatch(path):
                bad = next(sign for sign in path if not _PATH.fullmatch(sign))
                return (
                    f"--{name}={path} holds {bad!r}; ATC takes letters, digits, '_', '-', '.' and "
                    "'/' in paths: rename the file or its folder, or copy it"
                )
        return "" if self.soc_version else "--soc_version is empty (ATC: E10054); give the chip"

    def _why_not_values(self) -> str:
        """Check choices; also those of lists that no source completes, for we wrote them."""
        for name, value in self._own():
            flag = FLAGS[name]
            if flag.values and value not in flag.values:
                known = f"{', '.join(flag.values)}{nearest(value, flag.values)}"
                free = " (after --, any value goes to ATC)" if flag.kind == "some choices" else ""
                return f"--{name} is {value[:60]!r}, expected one of {known}{free}"
        return ""

    def _why_not_precision(self) -> str:
        given = dict(self.pairs())
        mode, second = given.get("precision_mode"), given.get("precision_mode_v2")
        if mode and second:
            return "--precision_mode and --precision_mode_v2 exclude each other; give one"
        if second and self.cann and self.cann.startswith("5."):
            return f"CANN {self.cann} has no --precision_mode_v2; give --precision_mode"
        if "keep_dtype" in given and mode == "must_keep_origin_dtype":
            return (
                "ATC ignores --keep_dtype with --precision_mode=must_keep_origin_dtype, where all "
                "nodes keep theirs; leave one out (--keep-dtype none)"
            )
        if "modify_mixlist" in given and not (mode or second or "").startswith(MIXED_PRECISION):
            return (
                "--modify_mixlist works in mixed precision only; add "
                "--precision-mode allow_mix_precision"
            )
        return ""

    def _why_not_gears(self) -> str:
        if self.gears is None:
            return ""
        if "input_shape_range" in dict(self.extra):
            flag = GEAR_FLAGS[self.gears.kind]
            return f"--{flag} and --input_shape_range exclude each other (ATC: E10009); give one"
        return why_not_gears(self.gears, self.input_shape, self.input_format)
