"""``@name`` in a pass list: a preset of ``ascend`` as text, put in place before parsing."""

from __future__ import annotations

import re
from typing import Any

from ascend.presets import PRESETS, Preset

# Quoted text and options are passed over; they may hold an @ of their own.
_PART = re.compile(
    r'"(?:[^"\\]|\\.)*"|\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\}|(?<![\w.-])@(?P<name>[\w.-]*)'
)


def expand(text: str) -> str:
    """Put the pass list of each preset in place of its ``@name``.

    Raises:
        UsageError: For an unknown preset, with the nearest name.
    """
    return _PART.sub(lambda part: part[0] if part["name"] is None else _text(part["name"]), text)


def expand_entries(entries: Any) -> Any:  # noqa: ANN401  whatever stands in a recipe
    """Do the same for the TOML form of a pass list; what is no pass list stays as it is."""
    if not isinstance(entries, list):
        return entries
    expanded: list[Any] = []
    for entry in entries:
        if isinstance(entry, str):
            expanded.append(expand(entry))
        elif isinstance(entry, dict) and "repeat" in entry:
            expanded.append({**entry, "repeat": expand_entries(entry["repeat"])})
        else:
            expanded.append(entry)
    return expanded


def show_presets(*, as_json: bool) -> None:
    """Print the presets."""
    import dataclasses

    from pipeline.cli.console import emit_json, out

    if as_json:
        emit_json([dataclasses.asdict(preset) for preset in PRESETS])
        return
    for preset in PRESETS:
        out.print(f"@{preset.name}: {preset.summary}", markup=False, soft_wrap=True)
        out.print(f"    {preset.passes}", markup=False, soft_wrap=True)
        out.print(f"    source: {preset.source}\n", markup=False, style="dim", soft_wrap=True)
    out.print("onnx-passes run MODEL -o OUT --passes @NAME uses one.", style="dim")


def _text(name: str) -> str:
    from onnx_passes.core.contract import UsageError
    from onnx_passes.core.registry import did_you_mean

    known: dict[str, Preset] = {preset.name: preset for preset in PRESETS}
    if name not in known:
        near = did_you_mean(name, known)
        msg = f"no preset '@{name}'{near}; 'onnx-passes list --presets' shows all"
        raise UsageError(msg)
    return known[name].passes
