"""``--emulate fp16``: what the commands that take it have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from onnx_passes.numerics.compare import Difference

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


@dataclasses.dataclass(frozen=True)
class Emulation:
    """The outputs of a model in float16 against the original in float32.

    Attributes:
        errors: The worst difference over all feeds, by output.
        moves: What other feeds do to each output: the scale the errors are read on.
    """

    errors: dict[str, Difference]
    moves: dict[str, float]

    def document(self) -> Any:  # noqa: ANN401  any JSON value
        """Return the errors for JSON, by output."""
        from onnx_passes.report.document import finite

        return finite(
            {
                name: {**dataclasses.asdict(error), "sensitivity": self.moves[name]}
                for name, error in self.errors.items()
            }
        )

    def show(self) -> None:
        """Print one line an output."""
        from pipeline.cli.console import out

        for name, error in self.errors.items():
            text = f"in float16, {name}: {error.sentence()}"
            out.print(f"{text}; other feeds move it by {self.moves[name]:.3g}", markup=False)


def emulation(
    original: ir.Model,
    model: ir.Model,
    feeds: Mapping[str, Any] | None,
    shapes: Mapping[str, Sequence[int]] | None,
) -> Emulation:
    """Run ``model`` in float16 and ``original`` in float32 on the same feeds."""
    from onnx_passes.numerics.half import emulate_half
    from onnx_passes.numerics.half_error import worst_differences
    from onnx_passes.numerics.oracle import Oracle

    oracle = Oracle(original, feeds, shapes).narrowed(model)
    runner = oracle.runner.again(emulate_half(model))
    actual = [runner.run(one) for one in oracle.feeds]
    return Emulation(worst_differences(oracle.expected, actual), oracle.sensitivity)
