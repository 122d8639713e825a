"""Compiled models by name: ``NAME_bs8.om``, or ``NAME_bs8_linux_x86_64.om`` as ATC may call it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ascend.errors import AscendError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NAME = re.compile(r"(?P<name>.*)_bs(?P<batch>[0-9]{1,6})(_linux_[a-z0-9_]+)?\.om")


def batch_in_name(name: str) -> int | None:
    """Return the batch size that a file name tells, or None."""
    found = _NAME.fullmatch(name)
    return int(found["batch"]) if found else None


def by_batch(model: Path) -> dict[int, Path]:
    """Return the compiled models that belong to ``model``, by batch size.

    Args:
        model: ``NAME.om``, which need not exist, or one of ``NAME_bs<N>.om``.
    """
    found = _NAME.fullmatch(model.name)
    name = found["name"] if found else model.name.removesuffix(".om")
    pairs = [(path, _NAME.fullmatch(path.name)) for path in sorted(model.parent.glob("*.om"))]
    return {int(match["batch"]): path for path, match in pairs if match and match["name"] == name}


def choose(model: Path, batches: Sequence[int]) -> dict[int | None, Path]:
    """Return the compiled models to measure, by batch size.

    Args:
        model: See :func:`by_batch`.
        batches: The batch sizes; none for ``model`` itself if it exists, or else all there are.

    Raises:
        AscendError: If there is no model for a batch size.
    """
    if not batches and model.is_file():
        return {batch_in_name(model.name): model}
    there = by_batch(model)
    missing = [batch for batch in batches if batch not in there]
    if missing or not there:
        listed = ", ".join(map(str, sorted(there))) or "none"
        wanted = ", ".join(map(str, missing)) or "any"
        msg = (
            f"no compiled model of {model} for batch {wanted} (there: {listed}); expected "
            "NAME_bs<N>.om beside it, as 'onnx-passes compile MODEL.onnx --batch ...' writes them"
        )
        raise AscendError(msg)
    return {batch: there[batch] for batch in batches or sorted(there)}
