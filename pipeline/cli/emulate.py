"""``--emulate fp16``: what the commands that take it have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Difference
    from onnx_passes.numerics.oracle import Oracle

emulate_option = click.option(
    "--emulate",
    type=click.Choice(["fp16"]),
    help="Compute as a device that stores float16; marked nodes stay float32.",
)


@contextlib.contextmanager
def emulated_file(
    model: ir.Model, keep: Collection[str] = (), *, marks: bool = True
) -> Iterator[Path]:
    """Yield the path of ``model`` in emulated float16; the file is gone afterwards."""
    from onnx_passes.core.model_io import save
    from onnx_passes.numerics.half import emulate_half

    with tempfile.TemporaryDirectory(prefix="onnx-passes-") as folder:
        path = Path(folder, "emulated.onnx")
        save(emulate_half(model, keep, marks=marks), path)
        yield path


def emulated_errors(model: ir.Model, oracle: Oracle) -> dict[str, Difference]:
    """Return what ``model`` in float16 differs by from the original in float32, by output."""
    from onnx_passes.numerics.half import emulate_half
    from onnx_passes.numerics.half_error import worst_differences

    runner = oracle.runner.again(emulate_half(model))
    actual = [runner.run(feeds) for feeds in oracle.feeds]
    return worst_differences(oracle.expected, actual)


def errors_document(errors: dict[str, Difference]) -> dict[str, Any]:
    """Return the errors for JSON."""
    return {name: dataclasses.asdict(difference) for name, difference in errors.items()}


def show_errors(errors: dict[str, Difference], oracle: Oracle) -> None:
    """Print one line an output: the error, and what other feeds do to it."""
    from pipeline.cli.console import out

    for name, difference in errors.items():
        out.print(
            f"in float16, {name}: {difference.sentence()}; "
            f"other feeds move it by {oracle.sensitivity[name]:.3g}",
            markup=False,
        )
