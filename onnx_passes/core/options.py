"""Options of a pass: the fields of its dataclass, filled from text with their declared types."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from onnx_passes.core.contract import Pass, UsageError
from onnx_passes.core.registry import did_you_mean, get

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

_MISFIT = object()


def make(name: str, options: Mapping[str, Any], cls: type[Pass] | None = None) -> Pass:
    """Create a pass from its name and options.

    Raises:
        UsageError: For an unknown pass or option, or a value of the wrong type.
    """
    cls = cls or get(name)
    hints = _field_types(cls)
    for option in options:
        if option not in hints:
            near = did_you_mean(option, hints)
            allowed = ", ".join(hints) or "no options"
            msg = f"pass {name!r} has no option {option!r}{near} (it takes {allowed})"
            raise UsageError(msg)
    values = {key: _coerce(name, key, value, hints[key]) for key, value in options.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        msg = f"pass {name!r} refuses its options: {error}"
        raise UsageError(msg) from error


def _field_types(cls: type[Pass]) -> dict[str, Any]:
    """Return the type of each option, by name."""
    if not dataclasses.is_dataclass(cls):
        return {}
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _coerce(pass_name: str, option: str, value: Any, hint: Any) -> Any:  # noqa: ANN401
    """Return ``value`` as the field's type wants it, or refuse."""
    result = _fit(value, hint)
    if result is _MISFIT:
        wanted = getattr(hint, "__name__", str(hint)) if isinstance(hint, type) else str(hint)
        msg = f"option {option!r} of pass {pass_name!r} is {value!r}, expected {wanted}"
        raise UsageError(msg)
    return result


def _fit(value: Any, hint: Any) -> Any:  # noqa: ANN401  typing constructs
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        if type(value) in arguments:
            return value
        fits = (_fit(value, argument) for argument in arguments)
        return next((fit for fit in fits if fit is not _MISFIT), _MISFIT)
    if origin is typing.Literal:
        return value if value in arguments else _MISFIT
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            return _MISFIT
        items = tuple(_fit(item, arguments[0]) for item in value)
        return _MISFIT if _MISFIT in items else items
    return _fit_plain(value, hint)


def _fit_plain(value: Any, hint: Any) -> Any:  # noqa: ANN401  typing constructs
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if hint is int and isinstance(value, bool):
        return _MISFIT
    if hint is type(None):
        return value if value is None else _MISFIT
    return value if isinstance(hint, type) and isinstance(value, hint) else _MISFIT
