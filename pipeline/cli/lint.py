"""``onnx-passes lint``: what ATC will say of a model, before ATC is asked.

With ``--json`` stdout is one object::

    {
      "model": "model.onnx", "nodes": 321, "opset": 16,
      "cann": "8.1.RC1", "soc": "Ascend310P3",
      "counts": {"error": 0, "warning": 1, "info": 12},
      "fix": "set-opset{version=16}",        a pass list for 'run --passes', or ""
      "findings": [{
        "code": "GS002",                     stable; docs/lint.md has them all
        "level": "error",                    error, warning or info
        "subject": "GridSample -> 'y'",      a node by operator and first output, or what else
        "kind": "GridSample",                the operator, or what else it is
        "node": "grid_sample_0",             the name of the node, or ""
        "why": "...", "source": "...",       the source ends with how certain it is
        "fix": "...", "advice": "..."        a pass, or what else to do; or ""
      }]
    }
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import Shapes, refuse_bad_target, shape_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from ascend.atc.shapes import Gears
    from ascend.lint.finding import Finding
    from ascend.lint.linter import Target

Sizes = dict[str, tuple[int, ...]]


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--soc", default="Ascend310P3", show_default=True, help="The chip.")
@click.option("--cann", default="8.1.RC1", show_default=True, help="Version of CANN.")
@shape_option
@click.option("--gears", metavar="TEXT", help="batch=1,4,8, image=32,100;64,200 or dims=1,32;8,64.")
@click.option(
    "--precision-mode",
    type=click.Choice(["force_fp16", "must_keep_origin_dtype"]),
    default="force_fp16",
    show_default=True,
    help="As ATC's: whether float32 becomes float16.",
)
@click.option("--sarif", metavar="FILE", help="Write SARIF 2.1.0 there, for code review tools.")
@click.option("--fix", "fix_only", is_flag=True, help="Print only the pass list that helps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def lint(  # noqa: PLR0913  one parameter an option
    model: str,
    soc: str,
    cann: str,
    shapes: Shapes,
    *,
    gears: str | None,
    precision_mode: str,
    sarif: str | None,
    fix_only: bool,
    as_json: bool,
) -> int:
    """Say what ATC will refuse, run on the AI CPU, or not know, and which pass helps.

    --shape gives inputs a size, as ATC's --input_shape does. With --gears the shapes are those of
    the largest gear.

    \b
    Example:
      onnx-passes lint model.onnx --soc Ascend310P3 --cann 8.1.RC1 --shape x=8,3,32,100
      onnx-passes run model.onnx -o out.onnx --passes "$(onnx-passes lint model.onnx --fix)"

    Exit codes: 0 no errors; 1 errors: ATC would stop; 2 bad usage or input.
    """
    from ascend.lint.linter import Target
    from ascend.lint.linter import lint as find
    from ascend.lint.names import file_findings
    from ascend.soc import normalise
    from onnx_passes.core.model_io import load

    if sarif is not None:
        refuse_bad_target(Path(sarif))
    target = Target(cann, normalise(soc), precision_mode != "force_fp16", _gears(gears, shapes))
    loaded = load(model)
    shaped = _with_shapes(loaded, _sizes(loaded, target, shapes))
    declared = loaded if target.gears else None
    findings = [*file_findings(Path(model).name), *find(shaped, target, declared=declared)]
    fix = _pass_list(findings, loaded, shapes)
    if sarif is not None:
        _write_sarif(Path(sarif), findings, Path(model))
    if as_json:
        _emit(findings, fix, shaped, target, model)
    elif fix_only:
        _print_fix(findings, fix)
    else:
        from pipeline.cli.lint_table import show

        show(findings, fix, shaped, target)
    return 1 if any(each.level == "error" for each in findings) else 0


def _gears(text: str | None, shapes: Shapes) -> Gears | None:
    from ascend.atc.shapes import parse_gears

    if text is not None and shapes:
        msg = "give either --gears or --shape; pin-shape fixes what the gears leave dynamic"
        raise click.UsageError(msg)
    return None if text is None else parse_gears(text)


def _sizes(model: ir.Model, target: Target, shapes: Shapes) -> Sizes:
    """Return the sizes of inputs at which operators are looked up."""
    from ascend.lint.inputs import shapes_at_largest

    return shapes_at_largest(model, target.gears) if target.gears else dict(shapes)


def _with_shapes(model: ir.Model, sizes: Sizes) -> ir.Model:
    """Return a copy in which all is written down that shape inference knows."""
    from onnx_passes.core.contract import PassError
    from onnx_passes.core.model_io import clone
    from onnx_passes.core.passlist import parse
    from pipeline.cli.console import err

    copy = clone(model)
    (inference,) = parse(_pin_text(sizes) if sizes else "infer-shapes")
    try:
        inference.run(copy)  # type: ignore[union-attr]  # no group stands in the text
    except PassError:
        raise
    except Exception as error:  # a model that inference cannot stand is linted as it is
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        err.print(f"shapes were not inferred: {reason}", markup=False, soft_wrap=True)
        return clone(model)
    return copy


def _pin_text(sizes: Mapping[str, tuple[int, ...]]) -> str:
    entries = ";".join(f"{name}={','.join(map(str, dims))}" for name, dims in sizes.items())
    return f"pin-shape{{shapes={json.dumps(entries, ensure_ascii=False)}}}"


def _pass_list(findings: list[Finding], model: ir.Model, shapes: Shapes) -> str:
    """Return the pass list that helps; sizes that were given are part of it if they fix any."""
    from ascend.lint.fix import fix_passes

    dynamic = {v.name for v in model.graph.inputs if v.shape is None or not v.shape.is_static()}
    pinned = {name: dims for name, dims in shapes if name in dynamic}
    return ",".join([_pin_text(pinned)] * bool(pinned) + fix_passes(findings))


def _write_sarif(path: Path, findings: list[Finding], model: Path) -> None:
    from importlib.metadata import version

    from ascend.lint.sarif import to_sarif

    document = to_sarif(findings, model, version("ascend-onnx-passes"))
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _emit(findings: list[Finding], fix: str, model: ir.Model, target: Target, path: str) -> None:
    from ascend.lint.finding import LEVELS
    from pipeline.cli.console import emit_json

    levels = [each.level for each in findings]
    document: dict[str, Any] = {
        "model": path,
        "nodes": sum(1 for _ in model.graph.all_nodes()),
        "opset": model.opset_imports.get("", 0),
        "cann": target.cann,
        "soc": target.soc,
        "counts": {level: levels.count(level) for level in LEVELS},
        "fix": fix,
        "findings": [_as_object(each) for each in findings],
    }
    emit_json(document)


def _as_object(finding: Finding) -> dict[str, str]:
    subject = finding.subject
    return {
        "code": finding.code,
        "level": finding.level,
        "subject": subject.text,
        "kind": subject.kind,
        "node": subject.node,
        "why": finding.why,
        "source": finding.source,
        "fix": finding.fix,
        "advice": finding.advice,
    }


def _print_fix(findings: list[Finding], fix: str) -> None:
    """Print the pass list on stdout, and on stderr what it leaves."""
    from pipeline.cli.console import err

    click.echo(fix)
    if any(each.code == "SH001" for each in findings):
        err.print("inputs are dynamic: with --shape NAME=DIMS pin-shape is part of the list")
    left = sum(1 for each in findings if each.level == "error" and not each.fix)
    if left:
        err.print(f"{left} errors that no pass cures are left; 'onnx-passes lint' shows them")
