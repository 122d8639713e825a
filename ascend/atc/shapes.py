"""Sizes of inputs and gears: how ATC spells them and which it refuses.

A size is a number, -1 for one that is dynamic, or (low, high) for a range.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ascend.errors import AscendError

if TYPE_CHECKING:
    from collections.abc import Sequence

Size: TypeAlias = "int | tuple[int, int]"
Dims: TypeAlias = "tuple[Size, ...]"
InputShape: TypeAlias = "tuple[tuple[str, Dims], ...]"
GearKind = Literal["batch", "image", "dims"]

DYNAMIC = -1
GEAR_FLAGS: dict[GearKind, str] = {
    "batch": "dynamic_batch_size",
    "image": "dynamic_image_size",
    "dims": "dynamic_dims",
}
MIN_GEARS, MAX_GEARS = 2, 100  # ATC's page on dynamic_batch_size
_EXAMPLES = {"batch": "batch=1,4,8", "image": "image=32,100;64,200", "dims": "dims=1,32;8,64"}
_IMAGE_RANK = 4


@dataclass(frozen=True)
class Gears:
    """The sizes that one compiled model serves.

    Attributes:
        kind: What differs: the batch, height and width, or any sizes.
        sizes: One entry a gear: a number for each size that differs.
    """

    kind: GearKind
    sizes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        """Refuse what ATC would refuse.

        Raises:
            AscendError: With the reason.
        """
        count, numbers = len(self.sizes), {"batch": 1, "image": 2}.get(self.kind)
        if count < MIN_GEARS:
            msg = f"{count} gear for {self.kind}, ATC takes {MIN_GEARS} to {MAX_GEARS} (E10035)"
            raise AscendError(msg)
        if count > MAX_GEARS:
            msg = f"{count} gears for {self.kind}, ATC takes {MIN_GEARS} to {MAX_GEARS} (E10036)"
            raise AscendError(msg)
        for gear in self.sizes:
            if any(size < 1 for size in gear) or len(gear) != (numbers or len(self.sizes[0])):
                msg = f"gear {list(gear)} does not fit; expected --gears '{_EXAMPLES[self.kind]}'"
                raise AscendError(msg)
        if len(set(self.sizes)) < count:
            msg = f"a gear of {self.kind} is named twice; name each once"
            raise AscendError(msg)

    @property
    def value(self) -> str:
        """The value of its flag."""
        between = "," if self.kind == "batch" else ";"
        return between.join(",".join(map(str, gear)) for gear in self.sizes)


def parse_gears(text: str) -> Gears:
    """Read ``batch=1,4,8``, ``image=32,100;64,200`` or ``dims=1,32;8,64``.

    Raises:
        AscendError: If it is none of these.
    """
    match = re.fullmatch(r"(batch|image|dims)=([0-9,;\s]+)", text)
    kind: GearKind | None = next((k for k in GEAR_FLAGS if match and match[1] == k), None)
    if match is None or kind is None:
        msg = f"gears {text[:60]!r} are none of {', '.join(_EXAMPLES.values())}"
        raise AscendError(msg)
    groups = re.split("[,;]" if kind == "batch" else ";", match[2])
    try:
        sizes = tuple(tuple(int(size) for size in group.split(",")) for group in groups)
    except ValueError:
        msg = f"gears {text[:60]!r} lack a number; expected --gears '{_EXAMPLES[kind]}'"
        raise AscendError(msg) from None
    return Gears(kind, sizes)


def spell(shapes: InputShape) -> str:
    """Return the value of --input_shape: ``a:1,3,32,100;b:``."""
    return ";".join(f"{name}:{','.join(map(_spell_size, dims))}" for name, dims in shapes)


def is_dynamic(shapes: InputShape) -> bool:
    """Return whether any size is not one number."""
    return any(size == DYNAMIC or isinstance(size, tuple) for _, dims in shapes for size in dims)


def why_not_shapes(shapes: InputShape) -> str:
    """Return why these sizes cannot be written or compiled, or an empty string."""
    for name, dims in shapes:
        if any(sign in name for sign in ":;") or not name:
            return f"input name {name!r} cannot stand in --input_shape; rename it (edit --rename)"
        for size in dims:
            low, high = size if isinstance(size, tuple) else (size, size)
            if high != DYNAMIC and (low < 1 or high < low):
                return f"input {name!r} has size {_spell_size(size)}, expected 1 or more, or -1"
    return ""


def why_not_gears(gears: Gears, shapes: InputShape, input_format: str) -> str:
    """Return why gears and sizes do not go together, or an empty string."""
    if any(isinstance(size, tuple) for _, dims in shapes for size in dims):
        return "gears exclude sizes that are a range (ATC: E10009); give -1 instead"
    places = {name: [i for i, size in enumerate(dims) if size == DYNAMIC] for name, dims in shapes}
    if not any(places.values()):
        return f"gears for {gears.kind} need an input with size -1, and all sizes are fixed"
    if gears.kind == "dims":
        return _why_not_dims(gears, sum(map(len, places.values())), input_format)
    if gears.kind == "image" and input_format != "NCHW":
        return f"gears for image need --input_format=NCHW, got {input_format}: which are H and W?"
    for name, dims in shapes:
        if reason := _why_not_places(gears.kind, places[name], len(dims)):
            return f"gears for {gears.kind}: input {name!r} {reason}"
    return ""


def _why_not_dims(gears: Gears, count: int, input_format: str) -> str:
    if input_format != "ND":
        return f"gears for dims need --input_format=ND, got {input_format}"
    if len(gears.sizes[0]) != count:
        return f"a gear for dims has {len(gears.sizes[0])} numbers, {count} sizes are -1"
    return ""


def _why_not_places(kind: GearKind, places: list[int], rank: int) -> str:
    """Return why these positions of one input may not be -1, or an empty string."""
    allowed = (0,) if kind == "batch" else (2, 3)
    if wrong := set(places) - set(allowed):
        where = " and ".join(map(str, allowed))
        return f"has -1 at {min(wrong)}, only {where} may be; fix it or give --gears dims=..."
    if kind == "image" and places and rank != _IMAGE_RANK:
        return f"has rank {rank}, expected N, C, H, W"
    return ""


def largest(gears: Gears) -> tuple[int, ...]:
    """Return the gear that needs most memory."""
    return max(gears.sizes, key=math.prod)


def parse_dims(texts: Sequence[str], batch: int) -> Dims:
    """Read sizes as a user writes them: ``8``, ``-1``, ``1~10``, or ``N`` for the batch size.

    Raises:
        AscendError: If one is none of these.
    """
    dims: list[Size] = []
    for text in texts:
        match = re.fullmatch(r"(?:(N)|(-1|[0-9]{1,9})|([0-9]{1,9})~(-1|[0-9]{1,9}))", text.strip())
        if match is None:
            msg = f"size {text[:20]!r} is no number, -1, range like 1~10, nor N (the batch size)"
            raise AscendError(msg)
        if match[1]:
            dims.append(batch)
        else:
            dims.append(int(match[2]) if match[2] else (int(match[3]), int(match[4])))
    return tuple(dims)


def _spell_size(size: Size) -> str:
    return "~".join(map(str, size)) if isinstance(size, tuple) else str(size)
