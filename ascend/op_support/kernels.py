"""Which engine has a kernel for the dtypes of an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ascend.op_support.rules import Ruling, device_dtypes

if TYPE_CHECKING:
    from ascend.op_support.data import Engines, Kernel
    from ascend.op_support.query import Operator, Tensor

Match = Literal["yes", "unsure", "type unknown", "no"]
# What a kernel whose dtypes are chosen at compile time has in any case, by the published safe set.
_SAFE = {"float16", "float32", "int32"}


def kernel_ruling(operator: Operator, engines: Engines) -> Ruling:
    """Return the engine of an operator against which no rule of the table stands."""
    if not engines.ai_core:
        return _without_ai_core(engines)
    matches = {kernel.name: _match(kernel, operator) for kernel in engines.ai_core}
    found = set(matches.values())
    if "yes" in found:
        name = next(name for name, match in matches.items() if match == "yes")
        return Ruling("AI Core", "kernel", f"kernel {name} of the AI Core")
    if "type unknown" in found:
        return Ruling("parsed", "type unknown", "the engine depends on a dtype that is not known")
    why = _misfit(engines.ai_core, operator)
    if "unsure" in found and not (engines.ai_cpu and _is_double(operator)):
        return Ruling("parsed", "dtype", f"whether the AI Core takes it is not known: {why}")
    if engines.ai_cpu:
        return Ruling("AI CPU", "dtype", why)
    return Ruling("refused", "no kernel", f"{why}, and the AI CPU has no kernel for it")


def _without_ai_core(engines: Engines) -> Ruling:
    note = f" ({engines.note})" if engines.note else ""
    if engines.ai_cpu:
        return Ruling("AI CPU", "no kernel", f"only the AI CPU has a kernel for it{note}")
    return Ruling("unknown", "no kernel", f"no engine has a kernel of its name{note}")


def _match(kernel: Kernel, operator: Operator) -> Match:
    if kernel.inputs is None:
        return _match_any(operator)
    pairs = [
        *zip(operator.inputs, kernel.inputs, strict=False),
        *zip(operator.outputs, kernel.outputs, strict=False),
    ]
    matches = [_match_tensor(tensor, allowed, operator) for tensor, allowed in pairs if tensor]
    order: tuple[Match, ...] = ("no", "type unknown", "unsure")
    return next((match for match in order if match in matches), "yes")


def _match_any(operator: Operator) -> Match:
    """Judge a kernel whose dtypes are chosen at compile time by the first input."""
    dtype = operator.tensor(0).dtype
    if dtype is None:
        return "type unknown"
    return "yes" if dtype in _SAFE else "unsure"


def _match_tensor(tensor: Tensor, allowed: frozenset[str], operator: Operator) -> Match:
    if tensor.dtype is None:
        return "type unknown"
    if not allowed.isdisjoint(device_dtypes(tensor.dtype, keep_float32=operator.keep_float32)):
        return "yes"
    return "unsure" if tensor.dtype == "float16" and "float32" in allowed else "no"


def _misfit(kernels: tuple[Kernel, ...], operator: Operator) -> str:
    """Return the first dtype that the first kernel does not take, in words."""
    kernel = kernels[0]
    for side, tensors, formals in (
        ("input", operator.inputs, kernel.inputs or ()),
        ("output", operator.outputs, kernel.outputs),
    ):
        for index, (tensor, allowed) in enumerate(zip(tensors, formals, strict=False)):
            if tensor and tensor.dtype and _match_tensor(tensor, allowed, operator) != "yes":
                kept = " (kept)" if operator.keep_float32 and tensor.dtype == "float32" else ""
                takes = ", ".join(sorted(allowed))
                return f"{side} {index} is {tensor.dtype}{kept}, its AI Core kernel takes {takes}"
    return f"{operator.tensor(0).dtype} is none of {', '.join(sorted(_SAFE))}"


def _is_double(operator: Operator) -> bool:
    return any(tensor is not None and tensor.dtype == "float64" for tensor in operator.inputs)
