"""The console script ``onnx-passes``.

Commands are imported when they are asked for, so that ``--help`` starts at once. Errors that a
package raises on purpose carry an ``exit_code`` and end here in one line.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
from typing import Any

import click

COMMANDS = {
    "list": ("pipeline.cli.catalogue", "list_passes", "List the passes, grouped by purpose."),
    "explain": ("pipeline.cli.catalogue", "explain", "Print the page of a pass."),
    "export": ("pipeline.cli.export", "export", "Write a recogniser as ONNX, and check it."),
    "new-pass": ("pipeline.cli.new_pass", "command", "Write a new pass, its test and pyproject."),
    "run": ("pipeline.cli.run", "run", "Run a pass list on a model, checking every pass."),
    "extract": ("pipeline.cli.extract", "extract", "Cut a model at tensors."),
    "concat": ("pipeline.cli.concat", "concat", "Join two models."),
    "edit": ("pipeline.cli.edit", "edit", "Remove, insert, reconnect and rename by hand."),
    "diff": ("pipeline.cli.diff", "diff", "Compare two models numerically."),
    "compare-tools": (
        "pipeline.cli.compare_tools",
        "command",
        "Run every installed optimiser and check what each makes of a model.",
    ),
    "bisect": ("pipeline.cli.bisect", "bisect", "Find what breaks a model."),
    "precision": (
        "pipeline.cli.precision",
        "precision",
        "Find the nodes that must stay float32 on a float16 device.",
    ),
    "lint": ("pipeline.cli.lint", "lint", "Say what ATC will refuse, and which pass helps."),
    "compile": ("pipeline.cli.compile", "command", "Compile a checked model with ATC."),
    "infer": ("pipeline.cli.infer", "infer", "Run a model on files, on a device or the CPU."),
    "bench": ("pipeline.cli.bench", "bench", "Measure the time of a run, by batch size."),
    "cost": ("pipeline.cli.cost", "cost", "Predict the time on a 310P3, from published timings."),
    "doctor": ("pipeline.cli.doctor", "doctor", "Say what is missing here and how to get it."),
    "eval": (
        "pipeline.cli.eval",
        "group",
        "Preprocess images, score results, run a model, compare two.",
    ),
    "flow": ("pipeline.cli.flow", "group", "Run the whole guide as one command."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of the workflow."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Add the nearest name to click's message about an unknown command."""
        name = args[0] if args else ""
        if name and name not in COMMANDS and not name.startswith("-"):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"no command {name!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="ascend-onnx-passes", prog_name="onnx-passes")
@click.option("-v", "--verbose", count=True, help="Log what happens to stderr; -vv for details.")
@click.option("--traceback", is_flag=True, help="Show where an error was raised.")
@click.pass_context
def cli(ctx: click.Context, verbose: int, *, traceback: bool) -> None:
    """Surgery on ONNX graphs that can be trusted: every pass is checked numerically.

    \b
    Example:
      onnx-passes run model.onnx -o out.onnx --passes onnxsim,decompose-grid-sample

    Exit codes: 0 done and checked; 1 numbers or integrity failed; 2 bad usage or input;
    3 an external tool failed; 4 a tool or an extra is missing.
    """
    ctx.obj = {"traceback": traceback}
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logging.basicConfig(
        level=levels[min(verbose, 2)], format="%(name)s: %(message)s", stream=sys.stderr
    )


def main(argv: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    code = _invoke(sys.argv[1:] if argv is None else argv)
    if argv is None:
        gc.freeze()  # a last search for garbage, through whole models, would free what ends anyway
    sys.exit(code)


def _invoke(argv: list[str]) -> int:
    try:
        code: Any = cli.main(args=argv, prog_name="onnx-passes", standalone_mode=False)
    except click.exceptions.Abort:
        _say("interrupted")
        return 130
    except click.ClickException as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
            error.show()  # click 8.2 on: the message is the help of a group
            return error.exit_code
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "onnx-passes"
        _say(f"{error.format_message().rstrip('.')}; see '{command} --help'")
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "--traceback" in argv or not hasattr(error, "exit_code"):
            raise
        _say(str(error))
        return int(error.exit_code)
    return code if isinstance(code, int) else 0


def _say(message: str) -> None:
    """Print an error on one line of stderr."""
    click.echo("onnx-passes: " + " ".join(message.split()), err=True)
