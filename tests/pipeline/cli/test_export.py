from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import sources
from pipeline.agreement import Agreement
from pipeline.inference_model import Folded
from pipeline.sources import Fetched, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.pipeline.cli.conftest import Answer

FETCHED = Fetched(
    path=Path("out.onnx"),
    opset=16,
    nodes=321,
    inputs=("x float32 [N, 3, 32, 100]",),
    outputs=("y float32 [N, 25, 37]",),
    folded=(Folded("cast", "float32", (23, 23)), Folded("cast", "float32", (3200, 23))),
    operations=(716, 629),
    agreement=Agreement(8, 2.1e-3, 1.7e-2, 1.0, 1.0, "'y': 3 of 9 elements differ"),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Source, Path, float]]:
    """Let fetch answer at once; return what it is asked."""
    calls: list[tuple[Source, Path, float]] = []

    def fetch(source: Source, out_path: Path, *, timeout_s: float, **_say: object) -> Fetched:
        calls.append((source, out_path, timeout_s))
        return FETCHED

    monkeypatch.setattr(sources, "fetch", fetch)
    return calls


def test_it_says_what_was_folded_and_how_well_the_numbers_agree(
    call: Callable[..., Answer], asked: list[Any], tmp_path: Path
) -> None:
    answer = call("export", tmp_path / "out.onnx")
    assert asked == [(Source(), tmp_path / "out.onnx", 300.0)]
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "out.onnx: opset 16, 321 nodes",
        "input: x float32 [N, 3, 32, 100]",
        "output: y float32 [N, 25, 37]",
        "folded: 2 values: cast float32 [23, 23]; cast float32 [3200, 23]; 716 -> 629 operations",
        "numbers: as Paddle's on 8 pictures (greatest difference 0.0021, allowed 0.017; same class "
        "in 100.00% of the columns)",
    ]


def test_every_option_reaches_the_source(
    call: Callable[..., Answer], asked: list[Any], tmp_path: Path
) -> None:
    told = ["--paddleocr", "P", "--config", "c", "--checkpoint", "w", "--python", "py"]
    assert call("export", tmp_path / "o", *told, "--fold", "inverse", "--timeout", 9).code == 0
    expected = Source(
        paddleocr=Path("P"), config=Path("c"), checkpoint=Path("w"), python="py", fold="inverse"
    )
    assert call("export", tmp_path / "o", "--inference", "I").code == 0
    assert call("export", tmp_path / "o", "--onnx", "O").code == 0
    told = ["--network", "rare_mobilenetv3", "--checkpoint", "w"]
    assert call("export", tmp_path / "o", *told).code == 0
    assert [(source, limit) for source, _, limit in asked] == [
        (expected, 9.0),
        (Source(inference=Path("I")), 300.0),
        (Source(onnx=Path("O")), 300.0),
        (Source(network="rare_mobilenetv3", checkpoint=Path("w")), 300.0),
    ]


def test_json_is_the_same_in_a_document(
    call: Callable[..., Answer], asked: list[Any], tmp_path: Path
) -> None:
    document = call("export", tmp_path / "out.onnx", "--json").document
    assert len(asked) == 1
    assert document["folded"][1] == {"operator": "cast", "dtype": "float32", "shape": [3200, 23]}
    assert document["agreement"]["max_abs"] == 2.1e-3
    assert document["operations"] == [716, 629]


def test_an_onnx_file_is_taken_over_for_real(
    call: Callable[..., Answer], model: Path, tmp_path: Path
) -> None:
    answer = call("export", tmp_path / "out.onnx", "--onnx", model)
    assert answer.out.splitlines()[1:] == [
        "input: x float32 [N, 3]",
        "output: y float32 [N, 2]",
        "numbers: not compared; there is no Paddle model to compare with",
    ]
    assert (tmp_path / "out.onnx").is_file()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param(["--onnx", "a", "--inference", "b"], "one source", id="two sources"),
        pytest.param(["--paddleocr", "a"], "needs its config", id="a checkout alone"),
        pytest.param(["--onnx", "no.onnx"], "expected an ONNX file", id="no file"),
        pytest.param(["--inference", "no"], "is no inference model", id="no inference model"),
        pytest.param(["--network", "rare"], "'rare' is not one of 'starnet',", id="no network"),
        pytest.param(["--network", "rare_mobilenetv3"], "no weights of", id="no weights"),
        pytest.param(["--fold", "none"], "'none' is not one of", id="an unknown fold"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], reason: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    assert reason in refused("export", tmp_path / "out.onnx", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_refused_first(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "does not exist" in refused("export", tmp_path / "no" / "out.onnx")
