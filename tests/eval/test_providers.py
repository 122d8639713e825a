"""Only the CPU provider is here: what is chosen, what a session is given, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnxruntime
import pytest

from eval.backends import OrtBackend, evaluate
from eval.errors import EvalError, MissingProviderError
from eval.providers import Provider, find_provider

if TYPE_CHECKING:
    from pathlib import Path

    from tests.eval.conftest import Draw, WriteModel, WriteSet

CPU, CUDA, CANN = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "CANN"))
real_session = onnxruntime.InferenceSession


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401  a function
    def install(*names: str) -> None:
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*names, CPU])

    return install


class Sessions(list[Any]):
    """Stands in for onnxruntime: notes what a session is given; computes on the CPU."""

    def __init__(self, *, starts: bool = True) -> None:
        super().__init__()
        self.starts = starts

    def __call__(self, path: str, options: Any = None, providers: Any = None) -> Any:  # noqa: ANN401
        self.append((path, options, providers))
        session = real_session(path, options, providers=[CPU])
        return _Elsewhere(session, [providers[0][0], CPU]) if self.starts else session


class _Elsewhere:
    def __init__(self, session: Any, providers: list[str]) -> None:  # noqa: ANN401
        self._session, self._providers = session, providers

    def get_providers(self) -> list[str]:
        return self._providers

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._session, name)


@pytest.mark.parametrize(
    ("have", "choice", "found"),
    [
        pytest.param([], "cpu", "cpu", id="the CPU is always there"),
        pytest.param([], "auto", "cpu", id="auto takes the CPU where there is nothing else"),
        pytest.param([CUDA], "auto", "cuda", id="auto takes CUDA"),
        pytest.param([CUDA, CANN], "auto", "cann", id="auto takes an Ascend device first"),
        pytest.param([CUDA, CANN], "cuda", "cuda", id="what is named"),
        pytest.param([CUDA, CANN], "cpu", "cpu", id="the CPU if that is named"),
    ],
)
def test_the_provider_is_what_is_asked_for_and_installed(
    installed: Any,  # noqa: ANN401  a function
    have: list[str],
    choice: str,
    found: str,
) -> None:
    installed(*have)
    assert find_provider(choice, 3) == Provider(found, 3)


@pytest.mark.parametrize(
    ("choice", "package"), [("cuda", "onnxruntime-gpu"), ("cann", "onnxruntime-cann")]
)
def test_a_provider_that_is_not_installed_is_refused(
    installed: Any,  # noqa: ANN401  a function
    choice: str,
    package: str,
) -> None:
    installed("AzureExecutionProvider")
    with pytest.raises(MissingProviderError, match=f"install {package} in its place") as refused:
        find_provider(choice)
    assert refused.value.exit_code == 4
    assert "\n" not in str(refused.value)


def test_an_unknown_provider_is_refused() -> None:
    with pytest.raises(EvalError, match="no provider 'npu'; expected one of cpu, cuda, cann, auto"):
        find_provider("npu")


@pytest.mark.parametrize(
    ("provider", "given"),
    [
        pytest.param(Provider(), [CPU], id="the CPU alone"),
        pytest.param(
            Provider("cuda", 1),
            [(CUDA, {"device_id": "1", "use_tf32": "0"}), CPU],
            id="CUDA in whole float32",
        ),
        pytest.param(
            Provider("cann", 2),
            [(CANN, {"device_id": "2", "precision_mode": "force_fp16"}), CPU],
            id="CANN in float16, said",
        ),
    ],
)
def test_a_session_is_given_the_provider_with_its_options_and_the_cpu_behind_it(
    monkeypatch: pytest.MonkeyPatch, write_model: WriteModel, provider: Provider, given: list[Any]
) -> None:
    sessions = Sessions(starts=provider.name != "cpu")
    monkeypatch.setattr(onnxruntime, "InferenceSession", sessions)
    backend = OrtBackend(write_model("N"), 2, provider, threads=3)
    ((_, options, providers),) = sessions
    assert providers == given
    assert options.intra_op_num_threads == 3
    assert backend.throughput.provider == provider.full_name


@pytest.mark.parametrize("name", ["cuda", "cann"])
def test_a_provider_that_does_not_start_is_refused_not_replaced_by_the_cpu(
    monkeypatch: pytest.MonkeyPatch, write_model: WriteModel, name: str
) -> None:
    """onnxruntime prints a warning and takes the CPU, for example without the driver."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", Sessions(starts=False))
    with pytest.raises(MissingProviderError, match=r"is installed but did not start on device 5"):
        OrtBackend(write_model("N"), 2, Provider(name, 5))


def test_an_evaluation_says_where_it_ran(
    tmp_path: Path, write_set: WriteSet, draw: Draw, write_model: WriteModel
) -> None:
    write_set(tmp_path / "data", [(draw("a"), b"a")])
    evaluation = evaluate(write_model("N"), tmp_path / "data", provider=find_provider("cpu"))
    assert evaluation.to_json()["throughput"]["provider"] == CPU
