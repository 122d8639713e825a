"""A model in pieces gives the bits of the whole, runs each node once and holds little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnx_passes.core.contract import ModelError
from onnx_passes.core.model_io import load
from onnx_passes.numerics.compare import same_bits
from onnx_passes.numerics.feeds import generate
from onnx_passes.numerics.runner import ReferenceRunner, Runner
from onnx_passes.numerics.stream import Stream, reads
from onnx_passes.numerics.tensors import shared_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from onnx_passes.numerics.runner import Arrays
    from tests.onnx_passes.conftest import Lab

MODELS = {
    "a diamond, constants, an initializer that nothing reads": """
        g (float[2, 3] x) => (float[2, 2] y)
        <float[3, 2] w = {0.1, -0.7, 0.3, 0.9, -0.4, 0.6}, float[2] b = {0.2, -1}, float u = {3}>
        { a = Abs(x) m = MatMul(a, w) n = Neg(m) s = Sigmoid(m) p = Mul(n, s) y = Add(p, b) }
    """,
    "nodes with several outputs, one of them omitted": """
        g (float[2, 1, 3] x) => (float[2, 1, 1] y)
        <float[1, 4, 3] w = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12},
         float[1, 4, 1] r = {0.1, -0.2, 0.3, 0.4}>
        {
            all, , cell = LSTM<hidden_size = 1>(x, w, r)
            flat = Constant<value_ints = [2]>()
            h = Reshape(all, flat)
            sizes = Constant<value_ints = [1, 1]>()
            p, q = Split<axis = 0>(h, sizes)
            k = Constant<value_ints = [1]>()
            top, at = TopK(h, k)
            n = Cast<to = 1>(at)
            s = Mul(p, n)
            t = Add(q, cell)
            u = Add(t, top)
            y = Add(u, s)
        }
    """,
    "optional inputs left out": """
        g (float[2, 3] x) => (float[2, 3] y) <float high = {0.5}>
        { a = Neg(x) b = Clip(a, , high) y = Clip(b) }
    """,
    "an If that reads around itself, at two depths": """
        g (float[2, 3] x) => (float[2, 3] y) <float one = {1}> {
            a = Abs(x)
            e = Exp(x)
            m = ReduceSum<keepdims = 0>(a)
            c = Greater(m, one)
            h = If (c) <
                then_branch = t () => (float[2, 3] p) {
                    i = Add(a, e)
                    p = If (c) <
                        then_branch = tt () => (float[2, 3] pp) { pp = Mul(i, x) },
                        else_branch = te () => (float[2, 3] qq) { qq = Neg(e) }
                    >
                },
                else_branch = f () => (float[2, 3] r) { r = Neg(a) }
            >
            y = Neg(h)
        }
    """,
    "a Loop with a carried and a captured tensor": """
        g (float[2, 3] x) => (float[2, 3] y, float[K, 2, 3] all) <int64 n = {3}> {
            a = Tanh(x)
            go = Constant<value_ints = [1]>()
            zero = Constant<value_ints = [0]>()
            b = Cast<to = 9>(go)
            t = Gather<axis = 0>(b, zero)
            start = Squeeze(t)
            y, all = Loop (n, start, x) <
                body = b (int64 i, bool c, float[2, 3] h) => (bool d, float[2, 3] k, float[2, 3] s)
                { d = Identity(c) k = Add(h, a) s = Mul(k, a) }
            >
        }
    """,
    "functions": """
        g (float[2, 3] x) => (float[2, 3] y) { a = f.twice(x) b = Abs(a) y = f.twice(b) }
        <domain: "f", opset_import: ["": 17]>
        twice (v) => (w) { two = Constant<value_float = 2.0>() w = Mul(v, two) }
    """,
    "a sequence from piece to piece": """
        g (float[2, 6] x) => (float[2, 4] y) {
            sizes = Constant<value_ints = [2, 4]>()
            s = SplitToSequence<axis = 1>(x, sizes)
            one = Constant<value_int = 1>()
            z = SequenceAt(s, one)
            y = Abs(z)
        }
    """,
    "a graph input that is an output, next to strings": """
        g (float[2] x, string[2] words) => (float[2] x, string[2] y)
        { h = Identity(words) y = Identity(h) z = Neg(x) }
    """,
}
CHAIN_LENGTH = 60


def parse(lab: Lab, text: str) -> ir.Model:
    return lab.model(text, opset=17, domains=', "f": 1')


def feeds_of(model: ir.Model) -> Arrays:
    if len(model.graph.inputs) == 1:
        return generate(model)
    return {"x": np.array([1, -2], np.float32), "words": np.array(["a", "b"], object)}


def whole(model: ir.Model, feeds: Arrays, names: Sequence[str]) -> Arrays:
    """Return tensors of one session that exposes them all."""
    exposed = model.clone()
    values = {value.name: value for node in exposed.graph for value in node.outputs}
    exposed.graph.outputs.clear()
    exposed.graph.outputs.extend(values[name] for name in names)
    return Runner(exposed).run(feeds)


def pieces(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]


def equal(actual: Any, expected: Any) -> bool:  # noqa: ANN401  an array or a list of arrays
    if isinstance(expected, list):
        pairs = zip(actual, expected, strict=True)
        return all(same_bits(one, other) for one, other in pairs)
    return same_bits(actual, expected)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return a list that fills with the operators of each session that is opened."""
    seen: list[list[str]] = []
    make = Stream._proto

    def proto(self: Stream, *arguments: Any) -> Any:  # noqa: ANN401  passed through
        made = make(self, *arguments)
        seen.append([node.op_type for node in made.graph.node])
        return made

    monkeypatch.setattr(Stream, "_proto", proto)
    return seen


@pytest.mark.parametrize("size", [1, 3, 1000], ids=["one by one", "by three", "all at once"])
@pytest.mark.parametrize("text", list(MODELS.values()), ids=list(MODELS))
def test_pieces_give_the_bits_of_the_whole(
    lab: Lab, sessions: list[list[str]], text: str, size: int
) -> None:
    model = parse(lab, text)
    feeds, names = feeds_of(model), shared_names(model, model)
    before = ir.to_proto(model).SerializeToString()
    expected = whole(model, feeds, names)
    stream = Stream(model, feeds, names)
    for piece in pieces(names, size):
        got = stream.compute(piece)
        assert list(got) == list(piece)
        assert [name for name in piece if not equal(got[name], expected[name])] == []
    ran = sorted(op for session in sessions for op in session)
    assert ran == sorted(node.op_type for node in model.graph)
    assert len(sessions) <= len(names)
    assert set(stream._alive) <= set(feeds)
    assert ir.to_proto(model).SerializeToString() == before


def test_tensors_can_be_asked_in_any_order(lab: Lab, sessions: list[list[str]]) -> None:
    model = parse(lab, next(iter(MODELS.values())))
    feeds, names = generate(model), shared_names(model, model)
    expected = whole(model, feeds, names)
    stream = Stream(model, feeds, names)
    for name in ("p", "a", "y", "s", "m", "n"):
        assert same_bits(stream.compute([name])[name], expected[name])
    # What came by on the way to p was kept, not computed again.
    assert sessions == [["Abs", "MatMul", "Neg", "Sigmoid", "Mul"], ["Add"]]


def test_what_nothing_wanted_needs_is_not_run(lab: Lab, sessions: list[list[str]]) -> None:
    model = lab.model("g (float[2] x) => (y) { a = Abs(x) b = Exp(x) c = Neg(a) y = Add(b, c) }")
    assert list(Stream(model, generate(model), ["c"]).compute(["c"])) == ["c"]
    assert sessions == [["Abs", "Neg"]]


def test_a_graph_input_can_be_asked_for(lab: Lab) -> None:
    model = lab.model("g (float[2] x) => (float[2] y) { a = Abs(x) y = Neg(a) }")
    feeds = generate(model)
    stream = Stream(model, feeds, ["x", "y"])
    assert same_bits(stream.compute(["y"])["y"], -np.abs(feeds["x"]))
    assert stream.compute(["x"])["x"] is feeds["x"]
    assert stream._alive == {}


def test_a_default_of_an_input_needs_no_feed(lab: Lab) -> None:
    model = lab.model("g (float[2] x, float[2] s = {2, 3}) => (float[2] y) { y = Mul(x, s) }")
    assert len(model.graph.inputs) == 2
    x = np.ones(2, np.float32)
    assert Stream(model, {"x": x}, ["y"]).compute(["y"])["y"].tolist() == [2, 3]


class TestMemory:
    """Only what is still read, or wanted and not asked for, is held."""

    @staticmethod
    def most_held(lab: Lab, text: str, wanted: Sequence[str]) -> int:
        """Return the greatest number of tensors held between two requests, feeds included."""
        model = lab.model(text, opset=17)
        feeds, most = generate(model), 0
        stream = Stream(model, feeds, wanted)
        for name in wanted:
            stream.compute([name])
            most = max(most, len(stream._alive))
        assert stream._alive == {}
        return most

    @staticmethod
    def chain(step: str) -> str:
        """Return a long chain; ``step`` makes tensor {n} from tensor {p}."""
        steps = "\n".join(step.format(p=n, n=n + 1) for n in range(CHAIN_LENGTH))
        return f"""
            g (float[4] t0) => (float[4] y) <float[4] k = {{1, 2, 3, 4}}>
            {{ {steps} y = Neg(t{CHAIN_LENGTH}) }}
        """

    def test_a_long_chain_holds_one_tensor(self, lab: Lab) -> None:
        text = self.chain("t{n} = Add(t{p}, k)")
        assert self.most_held(lab, text, [*(f"t{n + 1}" for n in range(CHAIN_LENGTH)), "y"]) == 1

    def test_a_chain_of_residuals_holds_two(self, lab: Lab) -> None:
        text = self.chain("a{n} = Tanh(t{p}) t{n} = Add(a{n}, t{p})")
        wanted = [f"{kind}{n + 1}" for n in range(CHAIN_LENGTH) for kind in "at"]
        assert self.most_held(lab, text, [*wanted, "y"]) == 2

    def test_side_branches_that_nothing_wants_hold_nothing(self, lab: Lab) -> None:
        text = self.chain("t{n} = Add(t{p}, k) side{n} = Exp(t{n}) end{n} = Neg(side{n})")
        assert self.most_held(lab, text, [*(f"t{n + 1}" for n in range(CHAIN_LENGTH)), "y"]) == 1

    def test_what_is_read_inside_a_piece_only_does_not_leave_it(self, lab: Lab) -> None:
        model = lab.model(
            "g (float[2] x) => (y) { a = Abs(x) b = Exp(a) c = Neg(b) d = Add(c, b) y = Mul(d, b) }"
        )
        stream = Stream(model, generate(model), ["c", "y"])
        assert stream._outputs(stream._piece(["y"])) == ["c", "y"]
        assert stream._outputs(stream._piece(["c"])) == ["b", "c"]

    def test_a_feed_goes_with_its_last_reader(self, lab: Lab) -> None:
        model = lab.model("g (float[2] x) => (float[2] y) { a = Abs(x) b = Add(a, x) y = Neg(b) }")
        stream = Stream(model, generate(model), ["a", "b", "y"])
        stream.compute(["a"])
        assert set(stream._alive) == {"a", "x"}
        stream.compute(["b"])
        assert set(stream._alive) == {"b"}

    def test_feeds_of_the_caller_stay_his(self, lab: Lab) -> None:
        model = lab.model("g (float[2] x) => (float[2] y) { y = Abs(x) }")
        feeds = generate(model)
        Stream(model, feeds, ["y"]).compute(["y"])
        assert list(feeds) == ["x"]


class TestExternalData:
    """Weights in a file beside the model."""

    @pytest.fixture
    def model(self, lab: Lab, tmp_path: Path) -> ir.Model:
        """Return a model with a large and a small weight in a file; small ones go inside."""
        model = lab.model(
            "g (float[2, 32] x, float[32, 32] w, float[32] b) => (float[2, 32] y)"
            "{ a = MatMul(x, w) y = Add(a, b) }"
        )
        rng = np.random.default_rng(0)
        arrays = {"w": rng.standard_normal((32, 32)), "b": rng.standard_normal(32)}
        lab.bind(model, {name: array.astype(np.float32) for name, array in arrays.items()})
        ir.save(model, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
        loaded = load(tmp_path / "m.onnx")
        for value in loaded.graph.initializers.values():
            assert isinstance(value.const_value, ir.ExternalTensor)
        return loaded

    def test_gives_the_bits_of_the_whole_and_stays_in_its_file(self, model: ir.Model) -> None:
        feeds = generate(model)
        expected = whole(model, feeds, ["a", "y"])
        stream = Stream(model, feeds, ["a", "y"])
        for name in ("a", "y"):
            assert same_bits(stream.compute([name])[name], expected[name])
        for value in model.graph.initializers.values():
            assert isinstance(value.const_value, ir.ExternalTensor)
            assert value.const_value.name == value.name

    def test_a_weight_inside_a_branch_may_be_in_the_file_too(
        self, lab: Lab, tmp_path: Path
    ) -> None:
        model = lab.model("""
            g (float[2] x, bool c) => (float[2] y) {
                a = Abs(x)
                y = If (c) <
                    then_branch = t () => (float[2] p) <float[2] k = {1, 2}> { p = Add(a, k) },
                    else_branch = e () => (float[2] q) { q = Neg(a) }
                >
            }
        """)
        (k,) = (v for graph in model.graphs() for v in graph.initializers.values())
        k.const_value = ir.tensor(np.array([1, 2], np.float32), name="k")
        path = tmp_path / "m.onnx"
        onnx.save(
            ir.to_proto(model),
            path,
            save_as_external_data=True,
            location="m.data",
            size_threshold=0,
        )
        loaded = load(path)
        before = ir.to_proto(loaded).SerializeToString()
        feeds = {"x": np.array([-1, 3], np.float32), "c": np.array(True)}
        stream = Stream(loaded, feeds, ["a", "y"])
        assert stream.compute(["a"])["a"].tolist() == [1, 3]
        assert stream.compute(["y"])["y"].tolist() == [2, 5]
        assert ir.to_proto(loaded).SerializeToString() == before
        assert b"m.data" in before


class TestRefusals:
    """What cannot be run is an error of the model, never a traceback."""

    def test_a_piece_that_onnxruntime_cannot_load(self, lab: Lab) -> None:
        model = lab.model("g (float[2] x) => (y) { a = Abs(x) b = Nonsense(a) y = Neg(b) }")
        stream = Stream(model, generate(model), ["a", "b"])
        assert list(stream.compute(["a"])) == ["a"]
        with pytest.raises(ModelError, match=r"cannot load the model: .*Nonsense"):
            stream.compute(["b"])

    def test_a_piece_that_fails_on_its_feeds(self, lab: Lab) -> None:
        model = lab.model("g (float[N] x, int64[1] at) => (y) { y = Gather(x, at) }")
        feeds = {"x": np.zeros(2, np.float32), "at": np.array([7])}
        with pytest.raises(ModelError, match="cannot run the model"):
            Stream(model, feeds, ["y"]).compute(["y"])

    def test_an_input_without_a_feed(self, lab: Lab) -> None:
        model = lab.model("g (float[2] x, float[2] z) => (y) { y = Add(x, z) }")
        with pytest.raises(ModelError, match="no feed for input 'z'"):
            Stream(model, {"x": np.zeros(2, np.float32)}, ["y"]).compute(["y"])

    def test_an_initializer_without_data(self, lab: Lab) -> None:
        model = lab.model("g (float[2] x) => (float[2] y) <float[2] k = {1, 2}> { y = Add(x, k) }")
        model.graph.initializers["k"].const_value = None
        with pytest.raises(ModelError, match="initializer 'k' has no data"):
            Stream(model, generate(model), ["y"]).compute(["y"])


CUBIC = """
g (float[1, 1, 2, 2, 2] x, float[1, 1, 1, 1, 3] at, float[2, 2] w) => (float[1, 1, 1, 1, 1] y)
{ a = Abs(x) m = MatMul(a, w) s = GridSample<mode = "cubic">(m, at) y = Neg(s) }
"""


@pytest.mark.parametrize("size", [1, 3], ids=["one by one", "by three"])
def test_the_reference_evaluator_runs_what_onnxruntime_cannot(lab: Lab, size: int) -> None:
    model = lab.bind(lab.model(CUBIC, opset=20, ir_version=9), {"w": np.eye(2, dtype=np.float32)})
    feeds, names = generate(model), ["a", "m", "s", "y"]
    with pytest.raises(ModelError):
        Stream(model, feeds, names).compute(names)
    stream = Stream(model, feeds, names, ReferenceRunner)
    got: Arrays = {}
    for piece in pieces(names, size):
        got |= stream.compute(piece)
    assert same_bits(got["m"], np.abs(feeds["x"]))
    assert same_bits(got["y"], ReferenceRunner(model).run(feeds)["y"])


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        pytest.param(0, ["x"], id="a plain input"),
        pytest.param(1, ["k", "x"], id="an input twice is yielded twice at most, never ''"),
        pytest.param(2, ["c", "o", "x", "k"], id="captures of nested branches, not their own"),
    ],
)
def test_reads_names_what_a_node_needs(lab: Lab, index: int, expected: list[str]) -> None:
    model = lab.model("""
        g (float[2] x, bool c) => (float[2] y) <float[2] k = {1, 2}> {
            o = Abs(x)
            m = Clip(x, , k)
            y = If (c) <
                then_branch = t () => (float[2] p) <float[2] own = {1, 2}> {
                    q = Add(o, own)
                    p = If (c) <
                        then_branch = tt () => (float[2] r) { r = Add(q, x) },
                        else_branch = te () => (float[2] s) { s = Mul(k, own) }
                    >
                },
                else_branch = e () => (o) { }
            >
        }
    """)
    assert sorted(set(reads(model.graph[index]))) == sorted(expected)
