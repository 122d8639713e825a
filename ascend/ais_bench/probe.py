"""Runs in the Python of ais_bench: load a model and print its inputs and outputs as JSON.

Nothing of this project is imported, and nothing newer than Python 3.7 is used: CANN 6.0 comes with
it. ``get_inputs`` and ``get_outputs`` and their fields are not promised anywhere that was read, so
whatever is not there is null. (These are the only lines here that a device has to confirm.)
"""

from __future__ import annotations

import importlib
import json
import sys

MARK = "ONNX-PASSES-INTERFACE "


def describe(session: object, method: str) -> list[dict[str, object]] | None:
    """Return what ``session`` says of its inputs or outputs."""
    try:
        return [
            {
                "name": str(getattr(one, "name", "")),
                "shape": [int(dim) for dim in getattr(one, "shape", [])],
                "bytes": int(getattr(one, "realsize", 0) or getattr(one, "size", 0)),
            }
            for one in getattr(session, method)()
        ]
    except Exception:  # noqa: BLE001, RUF100  whatever another version does here, it is not needed
        return None


def main(device: str, model: str) -> None:
    """Print one line: MARK and a JSON object."""
    interface = importlib.import_module("ais_bench.infer.interface")
    session = interface.InferSession(int(device), model)
    document = {name: describe(session, f"get_{name}") for name in ("inputs", "outputs")}
    sys.stdout.write("\n" + MARK + json.dumps(document) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
