"""Is a rewritten model still a valid model with the same interface?

The structural check costs no more than the graph: large tensors are left out of what the checker
sees, so a model of several gigabytes is checked in milliseconds. The original itself is checked
only where a rewrite fails.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from onnx_passes.core.contract import ModelError
from onnx_passes.core.model_io import root_line
from onnx_passes.core.skeleton import skeleton

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


class BrokenModelError(Exception):
    """A rewrite left something that is no graph any more: it cannot be copied or saved."""


class Interface:
    """Names, types and shapes of the inputs and outputs of a model."""

    def __init__(self, model: ir.Model) -> None:
        """Note the interface of the original."""
        self._inputs = [_signature(value) for value in model.graph.inputs]
        self._outputs = [_signature(value) for value in model.graph.outputs]

    def change(self, model: ir.Model, *, narrows_inputs: bool = False) -> str:
        """Return how the interface of ``model`` differs in one sentence, or an empty string."""
        for kind, before, values in (
            ("input", self._inputs, model.graph.inputs),
            ("output", self._outputs, model.graph.outputs),
        ):
            after = [_signature(value) for value in values]
            names_before, names_after = [s[0] for s in before], [s[0] for s in after]
            if names_before != names_after:
                return f"graph {kind}s were {names_before}, now {names_after}"
            for old, new in zip(before, after, strict=True):
                if not _compatible(old, new, refine=narrows_inputs or kind == "output"):
                    return f"graph {kind} {old[0]!r} was {_show(old)}, now {_show(new)}"
            if kind == "input" and (torn := _torn_symbol(before, after)):
                return torn
        return ""


class Baseline:
    """What the original model fulfils, and what every rewritten version must therefore fulfil.

    Args:
        model: The original.
    """

    def __init__(self, model: ir.Model) -> None:
        """Nothing is demanded of a rewrite that the original does not fulfil.

        Raises:
            ModelError: If the original cannot even be serialised.
        """
        self._interface = Interface(model)
        try:
            self._proto = skeleton(model)
        except Exception as error:
            msg = f"the model is broken and cannot be copied: {root_line(error)}"
            raise ModelError(msg) from error

    def violation(self, model: ir.Model, *, narrows_inputs: bool = False) -> str:
        """Return what is wrong with ``model`` in one sentence, or an empty string.

        Args:
            model: The rewritten version.
            narrows_inputs: Whether dynamic sizes of its inputs may have become fixed.

        Raises:
            BrokenModelError: If the model cannot even be copied and serialised.
        """
        return self._interface.change(model, narrows_inputs=narrows_inputs) or self.defect(model)

    def defect(self, model: ir.Model) -> str:
        """Return why ``model`` is no valid model, whatever its interface, or an empty string.

        Raises:
            BrokenModelError: If the model cannot even be copied and serialised.
        """
        try:
            proto = skeleton(model)
        except Exception as error:
            raise BrokenModelError(root_line(error)) from error
        said = _checker_says(proto, full=True)
        if said and not self._is_whole:
            said = "" if self.problem else _checker_says(proto, full=False)
        return f"onnx.checker: {said}" if said else ""

    @functools.cached_property
    def problem(self) -> str:
        """What onnx.checker says against the original, shapes left aside."""
        return _checker_says(self._proto, full=False)

    @functools.cached_property
    def _is_whole(self) -> bool:
        """Whether the original is valid with all its shapes; asked only where a rewrite is not."""
        return not _checker_says(self._proto, full=True)


def is_sound(model: ir.Model, original: Interface) -> bool:
    """Return whether ``model`` is valid, shapes included, and has the interface of the original.

    Raises:
        BrokenModelError: If the model cannot even be copied and serialised.
    """
    try:
        proto = skeleton(model)
    except Exception as error:
        raise BrokenModelError(root_line(error)) from error
    return not original.change(model) and not _checker_says(proto, full=True)


Signature = tuple[str, "ir.DataType | None", "tuple[int | str | None, ...] | None"]


def _checker_says(proto: onnx.ModelProto, *, full: bool) -> str:
    """Return the first line of onnx.checker's complaint, or an empty string."""
    import onnx

    try:
        onnx.checker.check_model(proto, full_check=full)
    except Exception as error:
        return _line(error)
    return ""


def _signature(value: ir.Value) -> Signature:
    shape = None
    if value.shape is not None:
        shape = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
    return value.name or "", value.dtype, shape


def _compatible(old: Signature, new: Signature, *, refine: bool) -> bool:
    """Return whether ``new`` still describes ``old``; outputs may become more precise."""
    if old[1] != new[1]:
        return False
    before, after = old[2], new[2]
    if before is None:
        return refine or after is None
    if after is None or len(before) != len(after):
        return False
    return all(
        now == was if isinstance(was, int) else refine or not isinstance(now, int)
        for was, now in zip(before, after, strict=True)
    )


def _torn_symbol(before: list[Signature], after: list[Signature]) -> str:
    """Return which symbol of the inputs has become two sizes, or an empty string."""
    sizes: dict[str, int] = {}
    for (_, _, old), (_, _, new) in zip(before, after, strict=True):
        for was, now in zip(old or (), new or (), strict=False):
            if isinstance(was, str) and isinstance(now, int) and sizes.setdefault(was, now) != now:
                return f"dimension {was!r} of the graph inputs is now {sizes[was]} and {now}"
    return ""


def _show(signature: Signature) -> str:
    _, dtype, shape = signature
    dims = "of unknown rank" if shape is None else "[" + ", ".join(map(_dim, shape)) + "]"
    return f"{dtype.name.lower() if dtype is not None else 'untyped'} {dims}"


def _dim(dim: int | str | None) -> str:
    return "?" if dim is None else str(dim)


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
