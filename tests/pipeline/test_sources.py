from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from onnx_passes.core.contract import ModelError
from pipeline.errors import ExportError, PipelineError, WeightsError
from pipeline.inference_model import Folded
from pipeline.sources import Fetched, Source, fetch
from pipeline.stages.networks import SHIPPED_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable

INVERSE = Folded("cast", "float32", (23, 23))
BASIS = Folded("cast", "float32", (3200, 23))


def _same_interface(fetched: Fetched) -> None:
    onnx.checker.check_model(onnx.load(fetched.path), full_check=True)
    assert fetched.opset == 16
    assert fetched.inputs == ("x float32 [N, 3, 32, 100]",)
    assert fetched.outputs == ("fetch_name_0 float32 [N, 25, 37]",)
    operators = [node.op_type for node in onnx.load(fetched.path).graph.node]
    assert len(operators) == fetched.nodes
    assert operators.count("GridSample") == 1


def test_an_inference_model_with_an_inverse_reads_as_the_straight_export_does(
    unfolded: Path, tmp_path: Path, read: Callable[[Path], list[str]], straight_texts: list[str]
) -> None:
    fetched = fetch(Source(inference=unfolded), tmp_path / "model.onnx")
    _same_interface(fetched)
    assert sorted(fetched.folded, key=lambda one: one.shape) == [INVERSE, BASIS]
    assert fetched.operations is not None
    assert fetched.operations[0] - fetched.operations[1] > 80
    assert fetched.agreement is not None
    assert 0 < fetched.agreement.max_abs <= fetched.agreement.tolerance == 1.7e-2
    assert fetched.agreement.same_argmax == 1
    assert read(fetched.path) == straight_texts
    assert len(set(straight_texts)) > 200


def test_folding_the_inverse_alone_is_enough(unfolded: Path, tmp_path: Path) -> None:
    source = Source(inference=unfolded / "inference.json", fold="inverse")
    fetched = fetch(source, tmp_path / "model.onnx")
    _same_interface(fetched)
    assert fetched.folded == (Folded("inverse", "float64", (23, 23)),)


def test_a_checkout_exports_and_its_model_is_taken(
    checkout: Path,
    pdparams: Path,
    tmp_path: Path,
    read: Callable[[Path], list[str]],
    straight_texts: list[str],
) -> None:
    weights = pdparams
    source = Source(
        paddleocr=checkout, config=Path("configs/rec.yml"), checkpoint=weights.with_suffix("")
    )
    said: list[str] = []
    fetched = fetch(source, tmp_path / "model.onnx", say=said.append)
    _same_interface(fetched)
    assert said[0].startswith(f"PaddleOCR 2.5.0.3: {sys.executable} tools/export_model.py -c ")
    assert f"-o Global.pretrained_model={weights.with_suffix('')} " in said[0]
    assert sorted(fetched.folded, key=lambda one: one.shape) == [INVERSE, BASIS]
    assert read(fetched.path) == straight_texts


def test_the_built_in_network_is_the_straight_export(straight: Path, tmp_path: Path) -> None:
    fetched = fetch(Source(checkpoint=SHIPPED_WEIGHTS), tmp_path / "model.onnx")
    _same_interface(fetched)
    assert fetched.folded == ()
    assert fetched.agreement is not None
    found, expected = onnx.load(fetched.path).graph, onnx.load(straight).graph
    assert [node.op_type for node in found.node] == [node.op_type for node in expected.node]
    assert [item.raw_data for item in found.initializer] == [
        item.raw_data for item in expected.initializer
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        pytest.param(
            {"onnx": Path("a"), "inference": Path("b")},
            "one source, got inference and onnx",
            id="two sources",
        ),
        pytest.param(
            {"onnx": Path("a"), "checkpoint": Path("b")},
            "one source, got onnx and checkpoint",
            id="weights for a file that has its own",
        ),
        pytest.param(
            {"paddleocr": Path("a"), "checkpoint": Path("b")},
            "needs its config and a checkpoint",
            id="a checkout without a configuration",
        ),
        pytest.param({"config": Path("a")}, "belong to a PaddleOCR checkout", id="a lone config"),
        pytest.param(
            {"network": "rare_mobilenetv3"},
            r"no weights of rare_mobilenetv3 ship .*: give a checkpoint with --checkpoint FILE",
            id="no weights",
        ),
        pytest.param(
            {"network": "rare_mobilenetv2", "checkpoint": Path("a")},
            "no network 'rare_mobilenetv2'; did you mean 'rare_mobilenetv3'",
            id="an unknown network",
        ),
        pytest.param(
            {"network": "starnet", "onnx": Path("a")},
            "network names a built-in network",
            id="a network beside a model",
        ),
    ],
)
def test_sources_that_do_not_go_together_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(PipelineError, match=reason) as failure:
        Source(**fields)
    assert failure.value.exit_code == 2


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"w\.npz cannot be read"):
        fetch(Source(checkpoint=tmp_path / "w.npz"), tmp_path / "model.onnx")


def test_an_onnx_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_text("junk")
    with pytest.raises(ModelError, match="not a readable ONNX file"):
        fetch(Source(onnx=tmp_path / "a.onnx"), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_a_model_that_takes_too_long_is_stopped(unfolded: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"did not finish within 0\.01 s and was stopped"):
        fetch(Source(inference=unfolded), tmp_path / "model.onnx", timeout_s=0.01)
    assert not list(tmp_path.iterdir())


def test_damaged_parameters_are_one_line(unfolded: Path, tmp_path: Path) -> None:
    stem = tmp_path / "cut"
    stem.with_suffix(".json").write_bytes((unfolded / "inference.json").read_bytes())
    parameters = (unfolded / "inference.pdiparams").read_bytes()
    stem.with_suffix(".pdiparams").write_bytes(parameters[: len(parameters) // 2])
    with pytest.raises(PipelineError, match=r"Paddle cannot load .*cut \(") as failure:
        fetch(Source(inference=stem), tmp_path / "model.onnx")
    assert failure.value.exit_code == 2
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "model.onnx").exists()
