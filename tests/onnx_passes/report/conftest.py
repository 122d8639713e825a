"""Runs worth a report, on a small model of pictures: passed, stopped, and full of hostile names."""

from __future__ import annotations

import dataclasses
import http.server
import threading
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes import Note, Pass, PassResult, optimize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx_passes.core.contract import Exactness
    from onnx_passes.core.outcome import Outcome
    from tests.onnx_passes.conftest import Lab

PICTURE_MODEL = """
    agraph (float[N,3,16,20] x) => (float[N,3,16,20] y)
    <float[1] half = {0.5}>
    { i = Identity(x)  h = Mul(i, half)  s = Sigmoid(h)  y = Add(s, h) }
"""


@dataclasses.dataclass(frozen=True)
class SetHalf(Pass):
    """Give the constant of the model another value."""

    name: ClassVar[str] = "set-half"
    exactness: ClassVar[Exactness] = "close"
    value: float = 0.5

    def run(self, model: ir.Model) -> PassResult:
        """Replace the only initializer."""
        (constant,) = model.graph.initializers.values()
        tensor = ir.Tensor(np.array([self.value], np.float32), name=constant.name)
        constant.const_value = tensor
        return PassResult(rewritten=[Note("Mul -> 'h'", "another constant")])


@dataclasses.dataclass(frozen=True)
class Crash(Pass):
    """Raise."""

    name: ClassVar[str] = "crash"
    exactness: ClassVar[Exactness] = "exact"
    text: str = "out of luck"

    def run(self, model: ir.Model) -> PassResult:
        """Never come back."""
        raise RuntimeError(self.text)


@dataclasses.dataclass(frozen=True)
class Leave(Pass):
    """Change nothing."""

    name: ClassVar[str] = "leave"
    exactness: ClassVar[Exactness] = "exact"

    def run(self, model: ir.Model) -> PassResult:
        """Say so."""
        return PassResult(skipped=[Note(f"Mul in {model.graph.name}", "it is fine as it is")])


# One spacing above a half: differs in the last bit, well within "close".
NUDGE = SetHalf(float(np.nextafter(np.float32(0.5), np.float32(1))))
BREAK = SetHalf(0.75)


@pytest.fixture(scope="session")
def picture_model(lab: Lab) -> ir.Model:
    """Return a model that maps pictures to pictures. Do not change it."""
    return lab.model(PICTURE_MODEL)


@pytest.fixture(scope="session")
def passed(picture_model: ir.Model) -> Outcome:
    """Return a run whose second pass changes the last bits."""
    return optimize(picture_model, ["drop-identity", NUDGE])


@pytest.fixture(scope="session")
def stopped(picture_model: ir.Model) -> Outcome:
    """Return a run that a wrong pass ended."""
    return optimize(picture_model, ["drop-identity", BREAK, NUDGE])


@pytest.fixture(scope="session")
def kept(picture_model: ir.Model) -> Outcome:
    """Return a run that went on with a wrong change."""
    return optimize(picture_model, ["drop-identity", BREAK], on_fail="keep")


@pytest.fixture(scope="session")
def undone(picture_model: ir.Model) -> Outcome:
    """Return a run that went on without a wrong change."""
    return optimize(picture_model, ["drop-identity", BREAK], on_fail="undo")


@pytest.fixture(scope="session")
def crashed(picture_model: ir.Model) -> Outcome:
    """Return a run that ended before anything was changed."""
    return optimize(picture_model, [Crash()])


@pytest.fixture(scope="session")
def skipping(picture_model: ir.Model) -> Outcome:
    """Return a run of a pass that leaves something alone."""
    return optimize(picture_model, [Leave(), NUDGE])


@pytest.fixture(scope="session")
def unchecked(picture_model: ir.Model) -> Outcome:
    """Return a run that compared no numbers, as asked."""
    return optimize(picture_model, ["drop-identity", BREAK], check=False)


class Server:
    """An HTTP server on this machine that remembers what it was asked for."""

    def __init__(self) -> None:
        """Listen on a free port."""
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.asked = asked
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Return a running server; a page that loads something from it is caught."""
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture(scope="session")
def hostile_names(server: Server) -> dict[str, str]:
    """Return names that break out of a table, run a script, load a picture, or fill a screen."""
    return {
        "x": f"\"'><img src={server.url}/input>",
        "i": "i",
        "h": "</td></title></style><script>document.title='owned'</script>",
        "s": f"\u202eevil\u200f &lt;&amp;<link rel=stylesheet href={server.url}/s.css>\x00\x1b",
        "y": f"<style>body{{background:url({server.url}/long)}}</style>\u202e" + "名" * 10_000,
    }


@pytest.fixture(scope="session")
def hostile_model(picture_model: ir.Model, hostile_names: dict[str, str]) -> ir.Model:
    """Return the model with those names. Do not change it."""
    model = picture_model.clone()
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        value.name = hostile_names[value.name or ""]
    model.graph.name = hostile_names["h"]
    return model


@pytest.fixture(scope="session")
def hostile(hostile_model: ir.Model, hostile_names: dict[str, str]) -> Outcome:
    """Return a run on those names that passes once, fails once and crashes once."""
    crash = Crash(hostile_names["h"])
    return optimize(hostile_model, ["drop-identity", BREAK, NUDGE, crash], on_fail="undo")
