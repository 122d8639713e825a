"""Files in and out of ais_bench: which go together, in what order, and of what size.

A folder is read in natural order, ``img_2`` before ``img_10``. Files that lie one after the other
fill a run: as many as the model's first input holds. The result of ``img_7.bin`` is
``img_7_<output>.bin``: the name up to the first dot, so two inputs must differ before it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ascend.errors import AscendError, ToolFailedError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from ascend.ais_bench.interface import Interface

# What ais_bench takes from a folder; of these only .bin is the form that is written here.
_ENDINGS = (".npy", ".NPY", ".bin", ".BIN")
_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Inputs:
    """The files of each input of the model, in the order of the runs.

    Attributes:
        files: For each input of the model, its files; all inputs have as many.
        sizes: The size of a file of each input, in bytes.
    """

    files: tuple[tuple[Path, ...], ...]
    sizes: tuple[int, ...]

    @property
    def stems(self) -> list[str]:
        """What the results are named after: the names of the first input's files."""
        return [stem(path.name) for path in self.files[0]]

    def items_per_run(self, input_bytes: Sequence[int], batch: int | None, model: str) -> int:
        """Return how many files fill a run.

        Args:
            input_bytes: What each input of the model takes.
            batch: What the caller says that it is; None if nothing is said.
            model: How messages call the model.

        Raises:
            AscendError: If the files do not fill the inputs, or fill them by another number.
        """
        if len(input_bytes) != len(self.sizes):
            msg = (
                f"{model} has {len(input_bytes)} inputs, {len(self.sizes)} were given; "
                "give --inputs once for each"
            )
            raise AscendError(msg)
        items = input_bytes[0] // self.sizes[0]
        for needed, size, files in zip(input_bytes, self.sizes, self.files, strict=True):
            if items < 1 or size * items != needed:
                msg = (
                    f"{files[0]} has {size} bytes and the input of {model} takes {needed}: "
                    "expected a divisor, the same for each input; write the files in the shape and "
                    "type that the model was compiled for"
                )
                raise AscendError(msg)
        if batch is not None and batch != items:
            msg = (
                f"{model} takes {items} files a run, not {batch} (its input has {input_bytes[0]} "
                f"bytes, a file {self.sizes[0]}); give the model that was compiled for batch "
                f"{batch}, or --batch {items}"
            )
            raise AscendError(msg)
        return items


def stem(name: str) -> str:
    """Return what the result of a file is named after."""
    return name.split(".", 1)[0]


def natural_key(name: str) -> list[Any]:
    """Return the key that sorts ``img_2`` before ``img_10``."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def list_inputs(folders: Sequence[Path], expected: Collection[str] | None = None) -> Inputs:
    """Return the input files, checked.

    Args:
        folders: A folder for each input of the model.
        expected: The names that must be there and nothing else; None takes what is there.

    Raises:
        AscendError: If there are none, sizes or names do not go together, or names are missing.
    """
    lists = [_files(folder, expected) for folder in folders]
    for folder, files in zip(folders, lists, strict=True):
        if [path.name for path in files] != [path.name for path in lists[0]]:
            msg = f"{folder} and {folders[0]} do not hold files of the same names; a run takes both"
            raise AscendError(msg)
    twice = [name for name, count in Counter(stem(p.name) for p in lists[0]).items() if count > 1]
    if twice:
        msg = (
            f"{folders[0]} holds several files named {twice[0]!r} up to the first dot, and so "
            "would their results be; rename them"
        )
        raise AscendError(msg)
    return Inputs(tuple(map(tuple, lists)), tuple(_size(files) for files in lists))


def check_results(
    folder: Path, stems: Sequence[str], sizes: Sequence[int] | None, where: str = ""
) -> dict[str, int]:
    """Return the name and size of every result that must be there.

    Args:
        folder: Where ais_bench wrote them.
        stems: See :attr:`Inputs.stems`.
        sizes: Bytes of a result of each output; None if unknown: then all must be alike.
        where: What follows a message: where the output of ais_bench is.

    Raises:
        ToolFailedError: If one is missing or has another size; the message says which.
    """
    found = {path.name: path.stat().st_size for path in folder.iterdir()} if folder.is_dir() else {}
    outputs = range(len(sizes) if sizes is not None else _outputs(found))
    names = [f"{one}_{number}.bin" for one in stems for number in outputs or [0]]
    if missing := [name for name in names if name not in found]:
        msg = (
            f"{len(missing)} of {len(names)} results are missing: {_some(missing)}; ais_bench "
            f"ended before it had written them{where}"
        )
        raise ToolFailedError(msg)
    for number in outputs:
        mine = [f"{one}_{number}.bin" for one in stems]
        usual = Counter(found[name] for name in mine).most_common(1)[0][0]
        wanted = sizes[number] if sizes is not None else usual
        if wrong := [name for name in mine if found[name] != wanted]:
            msg = (
                f"{len(wrong)} of {len(mine)} results have another size than {wanted} bytes: "
                f"{_some(wrong)}; {wrong[0]} has {found[wrong[0]]}{where}"
            )
            raise ToolFailedError(msg)
    return {name: found[name] for name in names}


def result_sizes(interface: Interface, items: int) -> tuple[int, ...] | None:
    """Return the bytes of a result of each output, where a run holds ``items``; None if unknown."""
    sizes = [one.size_bytes for one in interface.outputs]
    known = [size // items for size in sizes if size is not None and size % items == 0]
    return tuple(known) if known and len(known) == len(sizes) else None


def _files(folder: Path, expected: Collection[str] | None) -> list[Path]:
    try:
        there = [path for path in folder.iterdir() if path.name.endswith(_ENDINGS)]
    except OSError as error:
        msg = f"cannot read the inputs in {folder}: {error.strerror}; give a folder of .bin files"
        raise AscendError(msg) from error
    names = {path.name for path in there if path.is_file()}
    if other := sorted(name for name in names if not name.endswith(".bin")):
        msg = f"{folder} holds {_some(other)}; ais_bench would run it too: only .bin files here"
        raise AscendError(msg)
    if expected is not None and names != set(expected):
        lost, extra = sorted(set(expected) - names), sorted(names - set(expected))
        what = f"lacks {_some(lost)}" if lost else f"also holds {_some(extra)}"
        msg = f"{folder} {what}, against its manifest; run 'onnx-passes eval preprocess' again"
        raise AscendError(msg)
    if not names:
        msg = f"{folder} holds no .bin file; 'onnx-passes eval preprocess' writes them"
        raise AscendError(msg)
    return sorted((folder / name for name in names), key=lambda path: natural_key(path.name))


def _size(files: Sequence[Path]) -> int:
    """Return the size that all files have."""
    size = files[0].stat().st_size
    for path in files:
        if path.stat().st_size != size or not size:
            msg = (
                f"{path} has {path.stat().st_size} bytes and {files[0]} {size}: expected files of "
                "one size, above 0; write them again"
            )
            raise AscendError(msg)
    return size


def _outputs(found: Collection[str]) -> int:
    """Return how many outputs the results show."""
    numbers = [re.search(r"_([0-9]{1,4})\.bin$", name) for name in found]
    return max((int(number[1]) + 1 for number in numbers if number), default=0)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
