"""What a stage leaves behind when it is done: one JSON file in ``WORK/.flow``, written last.

A stage is done if its file is there and whole, and says the same inputs, options, versions and
code as now, and its outputs are as it left them. Whatever else the file holds, from an older
version or after a power cut, means "run again"::

    {"schema": "onnx-passes-stage/1", "stage": "simplify",
     "inputs": {"starnet.onnx": "<sha256>"}, "options": {"passes": "onnxsim"},
     "versions": {"onnx": "1.17.0"}, "code": "<sha256>",
     "outputs": {"starnet_simplified.onnx": "<sha256>"}, "result": {...},
     "command": ["onnx-passes run ..."], "seconds": 2.1, "finished": "2026-01-01T00:00:00+00:00",
     "digest": "<sha256 of all of it>"}
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ".flow"
SCHEMA = "onnx-passes-stage/1"
_CAUSES = {"inputs": "input", "options": "option", "versions": "version of"}


@dataclasses.dataclass(frozen=True)
class Basis:
    """What a stage's result depends on.

    Attributes:
        inputs: Digest by name: the path in the work folder, or what it is.
        options: Whatever the stage was told, as JSON values.
        versions: Version by package.
        code: Digest of our own code.
    """

    inputs: dict[str, str]
    options: dict[str, Any]
    versions: dict[str, str]
    code: str

    def changes(self, before: Basis) -> str:
        """Return in words what differs from an earlier basis; empty if nothing does."""
        found = [
            f"{word} {name}"
            for part, word in _CAUSES.items()
            for name in _differing(getattr(before, part), getattr(self, part))
        ]
        if self.code != before.code:
            found.append("code of onnx-passes")
        return f"changed: {', '.join(found)}" if found else ""


@dataclasses.dataclass(frozen=True)
class State:
    """A stage that was done; see the module's docstring."""

    stage: str
    basis: Basis
    outputs: dict[str, str]
    result: dict[str, Any]
    command: list[str]
    seconds: float
    finished: str


def state_file(work: Path, stage: str) -> Path:
    """Return where the state of a stage is."""
    return work / FOLDER / f"{stage}.json"


def write_state(work: Path, state: State) -> None:
    """Write the state of a stage, whole or not at all, and onto the disk."""
    basis = dataclasses.asdict(state.basis)
    fields = {**dataclasses.asdict(state), **basis}
    del fields["basis"]
    body = plain({"schema": SCHEMA, **fields})
    write_whole(state_file(work, state.stage), _text({**body, "digest": _digest(body)}))


def read_state(work: Path, stage: str) -> tuple[State | None, str]:
    """Return what a stage left, or None and why not."""
    path = state_file(work, stage)
    try:
        document = json.loads(path.read_bytes())
        seal = document.pop("digest")
        if document["schema"] != SCHEMA or document["stage"] != stage or seal != _digest(document):
            return None, "its state file is damaged or not its own"
        del document["schema"]
        basis = Basis(**{field.name: document.pop(field.name) for field in _fields(Basis)})
        return State(basis=basis, **document), ""
    except FileNotFoundError:
        return None, "not done yet"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, "its state file cannot be read"


def parts_file(work: Path, stage: str) -> Path:
    """Return where a stage that has parts notes those that are done."""
    return work / FOLDER / f"{stage}.parts.json"


def drop_state(work: Path, stage: str, *, parts: bool) -> None:
    """Forget that a stage was done, and its parts too if that is asked for."""
    state_file(work, stage).unlink(missing_ok=True)
    if parts:
        parts_file(work, stage).unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or as it was, also after a power cut.

    Raises:
        OSError: If it cannot be written; nothing is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def plain(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Return what comes back when ``value`` is written as JSON and read."""
    return json.loads(json.dumps(value, default=str))


def _differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]


def _fields(kind: type) -> tuple[Any, ...]:
    return dataclasses.fields(kind)


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1)


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
