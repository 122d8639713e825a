"""Where onnxruntime runs a model: on the CPU, on CUDA, or through CANN on an Ascend device.

==========  =======================  ====================================
``cpu``     CPUExecutionProvider     every onnxruntime
``cuda``    CUDAExecutionProvider    the package onnxruntime-gpu
``cann``    CANNExecutionProvider    the package onnxruntime-cann, or own build
``auto``    the first of cann, cuda and cpu that is installed
==========  =======================  ====================================

onnxruntime goes on with the CPU if a provider that is installed cannot start; here that is an
error, so that no figure comes from another place than it says. Single operators that a provider
lacks still run on the CPU: every provider leaves some to it.
Options: https://onnxruntime.ai/docs/execution-providers/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from eval.errors import EvalError, MissingProviderError

Choice = Literal["cpu", "cuda", "cann", "auto"]
CPU = "cpu"
_FULL = {
    "cann": "CANNExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    CPU: "CPUExecutionProvider",
}
_PACKAGES = {"cann": "onnxruntime-cann", "cuda": "onnxruntime-gpu"}


@dataclass(frozen=True)
class Provider:
    """Where a model runs.

    Attributes:
        name: ``cpu``, ``cuda`` or ``cann``.
        device: Number of the device; has no meaning for ``cpu``.
    """

    name: str = CPU
    device: int = 0

    @property
    def full_name(self) -> str:
        """What onnxruntime calls it."""
        return _FULL[self.name]

    @property
    def entries(self) -> list[Any]:
        """What a session is given: the provider with its options, and the CPU behind it.

        CUDA would round the inputs of convolutions and products to 10 bits (TF32) by default, so it
        is told not to. CANN's default is float16, as ATC's is; it is said, not left to a version.
        """
        device = str(self.device)
        options = {
            "cuda": {"device_id": device, "use_tf32": "0"},
            "cann": {"device_id": device, "precision_mode": "force_fp16"},
        }
        if self.name == CPU:
            return [self.full_name]
        return [(self.full_name, options[self.name]), _FULL[CPU]]

    @property
    def on_device(self) -> bool:
        """Whether that is an Ascend device."""
        return self.name == "cann"

    def refuse_fallback(self, session: Any) -> None:  # noqa: ANN401  onnxruntime has no types
        """Refuse a session that runs elsewhere because the provider could not start.

        Raises:
            MissingProviderError: Then.
        """
        if self.full_name not in session.get_providers():
            msg = (
                f"onnxruntime's {self.full_name} is installed but did not start on device "
                f"{self.device}; look at its driver and libraries, or take --provider cpu"
            )
            raise MissingProviderError(msg)


def find_provider(choice: str = CPU, device: int = 0) -> Provider:
    """Return the provider that is asked for.

    Raises:
        EvalError: If there is no such choice.
        MissingProviderError: If this onnxruntime does not have it.
    """
    if choice not in get_args(Choice):
        msg = f"no provider {choice!r}; expected one of {', '.join(get_args(Choice))}"
        raise EvalError(msg)
    import onnxruntime

    installed = onnxruntime.get_available_providers()
    if choice == "auto":
        choice = next(name for name, full in _FULL.items() if full in installed)
    if _FULL[choice] not in installed:
        msg = (
            f"this onnxruntime has no {_FULL[choice]}, only {', '.join(installed)}; install "
            f"{_PACKAGES.get(choice, 'onnxruntime')} in its place, or take --provider cpu"
        )
        raise MissingProviderError(msg)
    return Provider(choice, device)
