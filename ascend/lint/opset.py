"""The opset that suits a model's operators best."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from ascend.op_support.known import Known

EVERYWHERE = 11  # the newest opset that every documented range of CANN 5.0.4.6 to 2026 holds


def best_opset(kinds: Collection[str], known: Known, opset: int) -> int | None:
    """Return the opset under which most kinds of operators are taken, or None without data.

    Of those that are equally good: the model's own, else ``EVERYWHERE`` where the version documents
    a range only, else the nearest one.
    """
    counts = Counter(each for kind in kinds for each in known.accepted_opsets(kind))
    if not counts:
        return None
    most = max(counts.values())
    best = [each for each, count in counts.items() if count == most]
    if opset in best or (EVERYWHERE in best and not known.has_registrations):
        return opset if opset in best else EVERYWHERE
    return min(best, key=lambda each: (abs(each - opset), each))
