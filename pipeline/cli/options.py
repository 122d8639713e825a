"""Option values that several commands read."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir


Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def _parse_shapes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Shapes:
    """Turn ``NAME=8,3,32,100`` into a name and sizes; ONNX names may hold a ``=``."""
    shapes = []
    for value in values:
        match = re.fullmatch(r"(.+)=(\d+(?:,\d+)*)?", value)
        if match is None:
            msg = f"{value!r} is not NAME=D0,D1,... (as in x=8,3,32,100)"
            raise click.BadParameter(msg, ctx, param)
        dims = match[2].split(",") if match[2] else []
        shapes.append((match[1], tuple(int(dim) for dim in dims)))
    return tuple(shapes)


shape_option = click.option(
    "--shape",
    "shapes",
    metavar="NAME=DIMS",
    callback=_parse_shapes,
    multiple=True,
    help="Size of an input for generated feeds, as x=8,3,32,100. May be repeated.",
)
feeds_option = click.option(
    "--feeds",
    metavar="PATH",
    help="Feeds: a .npz file, a folder of <input>.npy or .bin files, or the folder that "
    "'eval preprocess' writes. Default: generated.",
)


def load_feeds(path: str | None, model: ir.Model) -> dict[str, Any] | None:
    """Read feeds for ``model`` if a path was given."""
    if path is None:
        return None
    from pathlib import Path

    from onnx_passes.numerics.feed_files import load

    return load(Path(path), model)


def refuse_bad_target(path: Path) -> None:
    """Refuse an output that cannot be written before any work is done."""
    from onnx_passes.core.contract import UsageError

    if path.is_dir() or not path.parent.is_dir():
        what = "it is a folder" if path.is_dir() else f"the folder {path.parent} does not exist"
        msg = f"cannot write {path}: {what}; give a file name in an existing folder"
        raise UsageError(msg)


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a TOML recipe: ``passes`` and, optionally, ``on_fail`` and a table ``shapes``.

    Raises:
        UsageError: Naming the key that is unknown or of the wrong type.
    """
    from onnx_passes.core.contract import UsageError
    from onnx_passes.core.registry import did_you_mean

    recipe = _read_toml(path)
    kinds = {"passes": list, "on_fail": str, "shapes": dict}
    for key, value in recipe.items():
        if key not in kinds:
            msg = f"recipe {path}: unknown key {key!r}{did_you_mean(key, kinds)}"
            raise UsageError(msg)
        if not isinstance(value, kinds[key]):
            found = type(value).__name__
            msg = f"recipe {path}: {key!r} is a {found}, expected a {kinds[key].__name__}"
            raise UsageError(msg)
    if "passes" not in recipe:
        msg = f"recipe {path} has no 'passes'; expected passes = ['drop-identity', ...]"
        raise UsageError(msg)
    return recipe


def _read_toml(path: Path) -> dict[str, Any]:
    from onnx_passes.core.contract import UsageError

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"recipe {path} cannot be read as TOML: {error}"
        raise UsageError(msg) from error
