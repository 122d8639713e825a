"""The command line, checked as strictly as the table of the facts allows.

``STANDIN_AIS_BENCH_SPELLING=dashed`` takes the names of ``msit benchmark``.
"""

from __future__ import annotations

import argparse
import os

DASHED = {
    "--model": "-om",
    "--input": "-i",
    "--output_dirname": "--output-dirname",
    "--warmup_count": "--warmup-count",
    "--dymBatch": "--dym-batch",
}


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options; what is not documented ends the program with status 2."""
    dashed = os.environ.get("STANDIN_AIS_BENCH_SPELLING") == "dashed"
    parser = argparse.ArgumentParser(prog="ais_bench", allow_abbrev=False)

    def option(name: str, **how: object) -> None:
        spelled = DASHED.get(name, name) if dashed else name
        parser.add_argument(spelled, dest=name[2:], **how)  # type: ignore[arg-type]

    if dashed:
        parser.add_argument("command", choices=["benchmark"])
    option("--model", required=True)
    option("--input")
    option("--output")
    option("--output_dirname")
    option("--outfmt", choices=["BIN", "NPY", "TXT"], default="BIN")
    option("--loop", type=_positive, default=1)
    option("--warmup_count", type=_not_negative, default=1)
    option("--batchsize", type=_positive)
    option("--device", type=_device, default=0)
    option("--dymBatch", type=_positive)
    options = parser.parse_args(argv)
    if options.output_dirname and not options.output:
        parser.error("output_dirname is given, output is not")
    if options.output and not os.path.isdir(options.output):  # noqa: PTH112  one call
        parser.error(f"output {options.output} is no folder")
    return options


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _not_negative(text: str) -> int:
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(text)
    return int(text)


def _device(text: str) -> int:
    if _not_negative(text) > 255:
        raise argparse.ArgumentTypeError(text)
    return int(text)
