"""How the child's end is told, with a shell script in its place; and what it takes for constant."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import ExportError, PipelineError
from pipeline.inference_child import _constant_operations, _frontier
from pipeline.inference_model import export_inference

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def inference(tmp_path: Path) -> Path:
    """Return the folder of an inference model that no Paddle will see."""
    data = {"#": "1.data", "O": [{"TT": {"D": [{}, [-1, 3, 32, 100]]}}]}
    program = {"program": {"regions": [{"blocks": [{"ops": [data]}]}]}}
    (tmp_path / "inference.json").write_text(json.dumps(program))
    (tmp_path / "inference.pdiparams").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        pytest.param(
            "echo -n load > stage.txt; echo 'ValueError: bad'; echo '[at x.cc]'; exit 1",
            PipelineError,
            r"^Paddle cannot load .*inference \(exit 1\): ValueError: bad$",
            id="a file that Paddle does not take",
        ),
        pytest.param(
            "echo -n run > stage.txt; kill -SEGV $$",
            ExportError,
            r"^Paddle cannot run .*inference \(signal 11\): $",
            id="a crash",
        ),
        pytest.param(
            "echo -n convert > stage.txt; echo 'unsupported operators: inverse'; kill -ABRT $$",
            ExportError,
            r"cannot convert the Paddle operator\(s\) inverse; compute them before",
            id="an operator that the converter lacks",
        ),
        pytest.param(
            "echo no module; exit 1", ExportError, r"cannot start .*: no module$", id="no start"
        ),
        pytest.param("exit 0", ExportError, r"cannot start .* \(exit 0\)", id="no file"),
    ],
)
def test_every_end_of_the_child_is_one_line(
    script: str,
    kind: type[PipelineError],
    reason: str,
    inference: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in = inference / "python"
    # Called as: python -c START inference_child.py <folder>/job.json
    stand_in.write_text(f'#!/bin/sh\ncd "$(dirname "$4")"\n{script}\n')
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    with pytest.raises(PipelineError, match=reason) as failure:
        export_inference(inference)
    assert type(failure.value) is kind
    assert "\n" not in str(failure.value)


class Value:
    """What an operation makes, as far as folding asks."""

    def __init__(self, maker: Operation) -> None:
        self.maker = maker
        self.readers: list[Operation] = []

    def get_defining_op(self) -> Operation:
        return self.maker

    def all_used_ops(self) -> list[Operation]:
        return self.readers

    def is_dense_tensor_type(self) -> bool:
        return self.maker.name() != "builtin.combine"


class Operation:
    """An operation with one result."""

    def __init__(self, name: str, *makers: Operation, regions: int = 0) -> None:
        self._name, self._regions = name, regions
        self._operands = [maker.value for maker in makers]
        self.value: Value = Value(self)
        for operand in self._operands:
            operand.readers.append(self)

    def name(self) -> str:
        return self._name

    def id(self) -> int:
        return id(self)

    def operands_source(self) -> list[Value]:
        return self._operands

    def results(self) -> list[Value]:
        return [self.value]

    def num_regions(self) -> int:
        return self._regions


class Block:
    """Operations in order."""

    def __init__(self, *ops: Operation) -> None:
        self.ops = ops


def _folded(mode: str, *ops: Operation) -> list[Any]:
    return [value.maker.name() for value in _frontier(_constant_operations(Block(*ops)), mode)]


def test_the_last_constant_of_each_chain_is_folded() -> None:
    full = Operation("pd_op.full")
    feed = Operation("pd_op.data")
    line = Operation("pd_op.linspace", full)
    inverse = Operation("pd_op.inverse", line)
    cast = Operation("pd_op.cast", inverse)
    read = Operation("pd_op.matmul", cast, feed)
    ops = (full, feed, line, inverse, cast, read)
    assert _folded("all", *ops) == ["pd_op.cast"]
    assert _folded("inverse", *ops) == ["pd_op.inverse"]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(Operation("pd_op.data"), id="a feed"),
        pytest.param(Operation("builtin.parameter"), id="a parameter"),
        pytest.param(Operation("pd_op.gaussian"), id="chance"),
        pytest.param(Operation("pd_op.while", regions=1), id="a loop"),
    ],
)
@pytest.mark.parametrize("mode", ["all", "inverse"])
def test_what_depends_on_more_than_constants_is_left_alone(source: Operation, mode: str) -> None:
    inverse = Operation("pd_op.inverse", source)
    read = Operation("pd_op.add", inverse, Operation("pd_op.data"))
    assert _folded(mode, source, inverse, read) == []


def test_of_a_list_of_tensors_the_computed_ones_are_folded() -> None:
    full, feed = Operation("pd_op.full_int_array"), Operation("pd_op.data")
    line = Operation("pd_op.linspace", full)
    both = Operation("builtin.combine", full, line)
    read = Operation("pd_op.concat", both, feed)
    assert _folded("all", full, feed, line, both, read) == ["pd_op.linspace"]


def test_what_nobody_reads_is_left_alone() -> None:
    full = Operation("pd_op.full")
    assert _folded("all", full, Operation("pd_op.linspace", full)) == []
