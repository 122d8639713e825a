"""What a flow may start from besides a checkpoint, and which models it does not take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from eval import attention, ctc
from pipeline.flow import TRAINED_WEIGHTS
from pipeline.sources import Fetched
from tests.pipeline.flow_case import answer, write_model

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.sources import Source
    from tests.pipeline.conftest import Siblings

RUN = ("flow", "run")
RECIPE = """
network = "{network}"
simplify = ["onnxsim"]
passes = ["merge-matmuls", "decompose-grid-sample"]
[words]
plain = 8
curved = 8
"""
# As the guides leave it: a GridSample in an opset that has none.
_GUIDE = """
<ir_version: 8, opset_import: ["": 11]>
g (float[N, 3, 32, 100] x) => (float[N, 25, 37] y)
{
  two, one = Split<axis = 1, split = [2, 1]>(x)
  grid = Transpose<perm = [0, 2, 3, 1]>(two)
  seen = GridSample<mode = "bilinear", padding_mode = "zeros", align_corners = 1>(x, grid)
  row = AveragePool<kernel_shape = [32, 4], strides = [32, 4]>(seen)
  flat = Squeeze<axes = [2]>(row)
  columns = Transpose<perm = [0, 2, 1]>(flat)
  scores = MatMul(columns, weights)
  y = Softmax<axis = 2>(scores)
}
"""


def _recipe(folder: Path, network: str) -> Path:
    path = folder / f"{network}.toml"
    path.write_text(RECIPE.format(network=network), encoding="utf-8")
    return path


def _guide(path: Path) -> Path:
    model = onnx.parser.parse_model(_GUIDE)
    weights = np.random.default_rng(3).standard_normal((3, 37)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(4 * weights, "weights"))
    onnx.save(model, path)
    return path


def _texts(results: Path) -> dict[str, list[str]]:
    """Return what each decoder reads in a folder of results that are both wide enough."""
    found: dict[str, list[str]] = {}
    files = sorted(results.glob("img_*_0.bin"), key=lambda path: int(path.stem.split("_")[1]))
    for path in files:
        values = np.fromfile(path, np.float32).reshape(1, 25, -1)
        found.setdefault("attention", []).append(attention.decode(values)[0].text)
        found.setdefault("ctc", []).append(ctc.decode(values[..., :37])[0].text)
    return found


def test_an_inference_model_with_attention_goes_all_the_way(
    siblings: Siblings, tmp_path: Path
) -> None:
    inference = siblings.unfolded("rare_mobilenetv3")
    recipe, work = _recipe(tmp_path, "rare_mobilenetv3"), tmp_path / "work"
    given = (recipe, "--work", work, "--inference", inference)
    document = json.loads(answer(*RUN, *given, "--batch", "8", "--to", "score", "--json"))
    shapes = sorted(one["shape"] for one in document["export"]["folded"])
    assert shapes == [[23, 23], [3200, 23]]
    assert "same class in 100.00% of the columns" in document["export"]["numbers"]
    assert document["passes"]["verdict"] == document["verify"]["verdict"] == "passed"
    assert document["rectified_alone"]["same_bits"]
    assert document["rectified_moves"] > 0.1
    read = [one["text"] for one in document["optimized"]["texts"]]
    assert read == _texts(work / "results" / "bs8")["attention"]
    assert read != _texts(work / "results" / "bs8")["ctc"]
    assert len(set(read)) > 8
    assert document["text_agreement"] > 0.8  # a close call may go the other way, see docs/flow.md
    plan = json.loads(answer("flow", "plan", *given, "--batch", "8", "--json"))
    commands = [stage["commands"][0] for stage in plan["stages"][:2]]
    assert f"--inference {inference}" in commands[0]
    assert commands[1] == (
        f"onnx-passes export {work / 'rare_mobilenetv3.onnx'} --inference {inference}"
    )


def test_a_checkout_is_exported(checkout: Path, pdparams: Path, tmp_path: Path) -> None:
    words = ("--paddleocr", checkout, "--config", "configs/rec.yml", "--checkpoint", pdparams)
    given = (_recipe(tmp_path, "starnet"), "--work", tmp_path / "work", *words)
    document = json.loads(answer(*RUN, *given, "--to", "export", "--json"))
    assert "numbers" in document["export"]
    assert set(document["digests"]) == {"weights", "config", "checkout/tools"}
    assert json.loads(answer(*RUN, *given, "--to", "export", "--json"))["ran"] == []
    (checkout / "configs" / "rec.yml").write_text("Architecture: StarNet\n\n")
    plan = json.loads(answer("flow", "plan", *given, "--to", "export", "--json"))
    assert [stage["status"] for stage in plan["stages"][:2]] == ["run", "perhaps"]


def test_a_file_of_a_guide_is_repaired(tmp_path: Path) -> None:
    guide = _guide(tmp_path / "guide.onnx")
    given = (_recipe(tmp_path, "starnet"), "--work", tmp_path / "work", "--model", guide)
    document = json.loads(answer(*RUN, *given, "--batch", "8", "--to", "score", "--json"))
    assert document["export"]["repairs"] == ["set-opset: opset 11 -> 16, the first with GridSample"]
    assert document["models"]["original"] == str(tmp_path / "work" / "starnet.onnx")
    assert document["rectified_alone"]["same_bits"]
    assert document["text_agreement"] == 1
    assert len({one["text"] for one in document["optimized"]["texts"]}) > 1


def test_a_file_of_a_guide_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = _guide(tmp_path / "starnet.onnx")
    given = (_recipe(tmp_path, "starnet"), "--work", tmp_path, "--model", guide)
    answer(*RUN, *given, code=2)
    assert "is what this run writes; give another --work" in capsys.readouterr().err
    good = write_model(tmp_path / "starnet.onnx")
    answer(*RUN, *given, "--to", "fetch-check", "--json")
    assert good.is_file()


def test_a_given_model_with_attention_is_decoded_so(tmp_path: Path) -> None:
    model = write_model(tmp_path / "net.onnx", classes=38)
    given = (_recipe(tmp_path, "rare_mobilenetv3"), "--work", tmp_path / "work", "--model", model)
    document = json.loads(answer(*RUN, *given, "--batch", "8", "--to", "score", "--json"))
    read = [one["text"] for one in document["optimized"]["texts"]]
    texts = _texts(tmp_path / "work" / "results" / "bs8")
    assert read == texts["attention"] != texts["ctc"]
    assert [one["name"] for one in document["stages"] if one["status"] == "left out"] == [
        "export",
        "compile",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ("--model", "a.onnx", "--inference", "b"),
            "starts from one model, got --model and --inference",
            id="two models",
        ),
        pytest.param(
            ("--inference", "a", "--checkpoint", "b"),
            "or --inference in place of it, not both",
            id="weights for a model that has its own",
        ),
        pytest.param(("--inference", "none"), "none is no inference model", id="no files"),
        pytest.param(
            ("--paddleocr", "a"), "needs its config and a checkpoint", id="half a checkout"
        ),
        pytest.param(("--config", "a"), "belong to a PaddleOCR checkout", id="a lone config"),
        pytest.param(
            ("--paddleocr", "a", "--config", "b", "--checkpoint", "c"),
            "c.pdparams does not exist",
            id="no weights",
        ),
    ],
)
def test_what_a_flow_cannot_start_from_is_one_line(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(*RUN, "rare_mobilenetv3", "--work", tmp_path / "w", *words, code=2)
    lines = [line for line in capsys.readouterr().err.splitlines() if "onnx-passes: " in line]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tmp_path / "w" / ".flow" / "export.json").exists()


@pytest.mark.parametrize(
    ("network", "classes", "said"),
    [
        ("rare_mobilenetv3", 37, "gives 37 classes; .* a network with 38 (attention)"),
        ("starnet", 38, "gives 38 classes; .* a network with 37 (CTC)"),
    ],
)
def test_a_model_of_another_head_is_refused(
    network: str,
    classes: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = write_model(tmp_path / "net.onnx", classes=classes)
    given = (_recipe(tmp_path, network), "--work", tmp_path / "work", "--model", model)
    answer(*RUN, *given, code=2)
    before, after = said.split(".*")
    error = capsys.readouterr().err
    assert before in error
    assert after in error


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param("name", "the exported model takes z [N, 3, 32, 100], ", id="a name"),
        pytest.param("batch", "the exported model takes x [4, 3, 32, 100], ", id="a fixed batch"),
        pytest.param("head", "what was exported gives 37 classes; recipe ", id="a head"),
    ],
)
def test_an_export_that_the_flow_cannot_use_is_refused(
    fault: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fetch(_source: Source, out_path: Path, **_say: object) -> Fetched:
        model = onnx.load(write_model(out_path))
        (value,) = model.graph.input
        if fault == "name":
            value.name = model.graph.node[0].input[0] = "z"
            model.graph.node[3].input[0] = "z"
        elif fault == "batch":
            value.type.tensor_type.shape.dim[0].dim_value = 4
        onnx.save(model, out_path)
        return Fetched(out_path, 16, 9, (), ())

    monkeypatch.setattr("pipeline.sources.fetch", fetch)
    for name in ("inference.json", "inference.pdiparams"):
        (tmp_path / name).touch()
    given = (_recipe(tmp_path, "rare_mobilenetv3"), "--work", tmp_path / "work")
    answer(*RUN, *given, "--inference", tmp_path, "--to", "export", code=2)
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_shipped_weights_are_those_of_one_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Weights of StarNet MobileNetV3 are refused by the others, before the network is saved."""
    given = (_recipe(tmp_path, "rare_mobilenetv3"), "--work", tmp_path / "work")
    answer(*RUN, *given, "--checkpoint", TRAINED_WEIGHTS, "--to", "export", code=2)
    error = capsys.readouterr().err
    assert "do not fit the model: 10 missing (head.attention_cell.i2h.weight, " in error
    assert not (tmp_path / "work" / "rare_mobilenetv3.onnx").exists()
