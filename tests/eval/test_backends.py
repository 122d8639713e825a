from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx.parser
import pytest

from eval import backends
from eval.ahead import prepare_all
from eval.backends import OrtBackend, evaluate
from eval.errors import EvalError, NonFiniteError
from eval.images import decode, to_input
from eval.preprocess import preprocess
from eval.providers import Provider
from eval.score import score

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from eval.images import Float32
    from eval.lmdb_data import RawSample
    from eval.samples import Prepared
    from tests.eval.conftest import Draw, WriteModel, WriteSet

WORDS = ["a", "9to5", "hello", "aabb", "x1y2z3", "zero0", "end"]


@pytest.fixture
def data(tmp_path: Path, write_set: WriteSet, draw: Draw) -> Path:
    """Seven good records in two data sets and, at index 3, a bad one; index 2 is read wrong."""
    records: list[tuple[bytes | None, bytes]] = [(draw(word), word.encode()) for word in WORDS]
    records[2] = (records[2][0], b"help")
    records.insert(3, (None, b"lost"))
    write_set(tmp_path / "data" / "a", records[:5])
    write_set(tmp_path / "data" / "b", records[5:])
    return tmp_path / "data"


@pytest.fixture
def images(draw: Draw) -> list[Float32]:
    pictures = [decode(draw(word)) for word in WORDS]
    return [to_input(picture) for picture in pictures if picture is not None]


@pytest.mark.parametrize(
    ("batch", "asked", "used"),
    [
        pytest.param("N", None, 32, id="a dynamic model runs at the default"),
        pytest.param("N", 3, 3, id="a dynamic model runs at what is asked for"),
        pytest.param("N", 7, 7, id="a batch may fit exactly"),
        pytest.param("1", None, 1, id="a static model of batch 1 runs at 1"),
        pytest.param("1", 8, 1, id="a static model runs at its own batch"),
        pytest.param("4", None, 4, id="the last batch of a static model is padded"),
    ],
)
def test_probabilities_come_in_order_at_every_batch(
    write_model: WriteModel, images: list[Float32], batch: str, asked: int | None, used: int
) -> None:
    backend = OrtBackend(write_model(batch), asked)
    batches = list(backend.run(images))
    assert backend.batch_size == used
    assert [len(part) for part in batches[:-1]] == [used] * (len(batches) - 1)
    expected = np.concatenate(list(OrtBackend(write_model("N"), 1).run(images)))
    np.testing.assert_array_equal(np.concatenate(batches), expected)
    assert expected.shape == (7, 25, 37)


def test_throughput_counts_images_but_no_padding_and_no_warm_up(
    write_model: WriteModel, images: list[Float32]
) -> None:
    backend = OrtBackend(write_model("4"))
    assert (backend.throughput.images, backend.throughput.seconds) == (0, 0.0)
    assert backend.throughput.images_per_s == 0.0
    list(backend.run(images))
    speed = backend.throughput
    assert (speed.images, speed.batch_size) == (7, 4)
    assert speed.images_per_s == 7 / speed.seconds


def test_evaluate_reads_what_is_written_in_the_images(data: Path, write_model: WriteModel) -> None:
    seen: list[tuple[int, int]] = []
    evaluation = evaluate(
        write_model("N"), data, 3, on_progress=lambda done, total: seen.append((done, total))
    )
    assert evaluation.texts == (*WORDS[:3], None, *WORDS[3:])
    assert evaluation.acc == 6 / (8 + 1e-5)
    assert evaluation.norm_edit_dis == 1 - (2 / 5 + 1) / (8 + 1e-5)
    assert evaluation.datasets["a"].acc == 3 / (5 + 1e-5)
    assert evaluation.datasets["b"].acc == 3 / (3 + 1e-5)
    assert evaluation.throughput is not None
    assert evaluation.throughput.images == 7
    assert seen == [(done, 8) for done in range(1, 9)]


def test_bad_records_can_be_excluded(data: Path, write_model: WriteModel) -> None:
    assert evaluate(write_model("N"), data, bad="exclude").acc == 6 / (7 + 1e-5)


def test_a_data_set_of_bad_records_only_needs_no_run(
    tmp_path: Path, write_set: WriteSet, write_model: WriteModel
) -> None:
    write_set(tmp_path / "data", [(None, b"lost")])
    evaluation = evaluate(write_model("N"), tmp_path / "data")
    assert (evaluation.acc, evaluation.texts) == (0.0, (None,))
    assert evaluation.throughput is not None
    assert evaluation.throughput.images_per_s == 0.0


@pytest.mark.parametrize(
    ("name", "asked", "lanes"),
    [
        pytest.param("cpu", None, 1, id="the model needs the cores"),
        pytest.param("cuda", None, 7, id="the model leaves the cores alone"),
        pytest.param("cpu", 3, 3, id="what is asked for"),
    ],
)
def test_records_are_prepared_ahead_in_as_many_lanes_as_pay(
    data: Path,
    write_model: WriteModel,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    asked: int | None,
    lanes: int,
) -> None:
    used: list[int] = []

    def noted(samples: Iterable[RawSample], workers: int) -> Generator[Prepared, None, None]:
        used.append(workers)
        yield from prepare_all(samples, 1)

    monkeypatch.setattr(Provider, "refuse_fallback", lambda *_: None)
    monkeypatch.setattr(Provider, "entries", ["CPUExecutionProvider"])
    monkeypatch.setattr(backends, "lanes_for", lambda _: 7)
    monkeypatch.setattr(backends, "prepare_all", noted)
    evaluate(write_model("N"), data, workers=asked, provider=Provider(name))
    assert used == [lanes]


def test_files_in_between_change_nothing(
    tmp_path: Path, data: Path, write_model: WriteModel
) -> None:
    """preprocess, an inference tool of three lines, score: the flow on a device."""
    bins, results = tmp_path / "bins", tmp_path / "results"
    manifest = preprocess(data, bins)
    results.mkdir()
    backend = OrtBackend(write_model("1"))
    for path in bins.glob("img_*.bin"):
        image = np.frombuffer(path.read_bytes(), "<f4").reshape(3, 32, 100)
        (probabilities,) = backend.run([image])
        (results / f"{path.stem}_0.bin").write_bytes(probabilities.tobytes())
    assert score(results, manifest).outcomes == evaluate(write_model("N"), data).outcomes


@pytest.mark.parametrize("batch_size", [1, 4])
def test_refuses_output_that_is_not_finite_and_names_the_record(
    data: Path, write_model: WriteModel, batch_size: int
) -> None:
    """The square root of a negative number spoils a text that begins with z."""
    tail = """
        from = Constant <value_ints = [0, 36]> ()
        to = Constant <value_ints = [1, 37]> ()
        step_and_class = Constant <value_ints = [1, 2]> ()
        begins_with_z = Slice(by_step, from, to, step_and_class)
        opposite = Neg(begins_with_z)
        root = Sqrt(opposite)
        y = Add(read, root)
    """
    model = write_model("N", tail=tail)
    with pytest.raises(NonFiniteError, match="NaN or infinity for record 2 of b"):
        evaluate(model, data, batch_size)


@pytest.mark.parametrize(
    ("signature", "found"),
    [
        pytest.param(
            "(float[N, 3, 32, 320] x) => (float[N, 3, 32, 320] y)",
            r"'x' is tensor\(float\) \['N', 3, 32, 320\]; expected .*\['\*', 3, 32, 100\]",
            id="another width",
        ),
        pytest.param(
            "(float[N, 3, 32, 100] x) => (float[N, 3, 32, 100] y)",
            r"'y' is tensor\(float\) \['N', 3, 32, 100\]; expected .* \[\*, 25, 37 or 38\]",
            id="another output",
        ),
        pytest.param(
            "(float16[N, 3, 32, 100] x) => (float16[N, 3, 32, 100] y)",
            r"'x' is tensor\(float16\)",
            id="half precision at the interface",
        ),
        pytest.param(
            "(float[N, 3, 32, 100] x, float[1] z) => (float[N, 3, 32, 100] y)",
            "has 2 inputs and 1 outputs; expected",
            id="two inputs",
        ),
    ],
)
def test_refuses_another_interface(tmp_path: Path, signature: str, found: str) -> None:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g {signature} {{ y = Identity(x) }}'
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    with pytest.raises(EvalError, match=found):
        OrtBackend(path)


def test_refuses_an_output_that_turns_out_otherwise(write_model: WriteModel) -> None:
    model = write_model("N", tail="y = Concat <axis = 0> (read, read)")
    with pytest.raises(EvalError, match=r"gives \[4, 25, 37\]; expected \[2, 25, 37 or 38\]"):
        OrtBackend(model, 2)


def test_refuses_a_model_that_does_not_run_at_the_batch(write_model: WriteModel) -> None:
    tail = "one_image = Constant <value_ints = [1, 25, 37]> () y = Reshape(read, one_image)"
    model = write_model("N", tail=tail)
    assert OrtBackend(model, 1).batch_size == 1
    with pytest.raises(EvalError, match="does not run at batch 4: ") as caught:
        OrtBackend(model, 4)
    assert "\n" not in str(caught.value)


def test_refuses_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(EvalError, match=r"model\.onnx is not a file"):
        OrtBackend(path)
    path.write_bytes(b"not a model")
    with pytest.raises(EvalError, match=r"ONNX Runtime cannot load .*model\.onnx: "):
        OrtBackend(path)


def test_refuses_a_batch_of_nothing(write_model: WriteModel) -> None:
    with pytest.raises(EvalError, match="batch size is 0; expected at least 1"):
        OrtBackend(write_model("1"), 0)


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = ("cv2", "lmdb", "onnxruntime", "rapidfuzz", "rich")
    code = (
        "import sys, eval.backends, eval.preprocess, eval.score;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.split() == [b"[]"]
