"""Python's search for cyclic garbage, while graphs are built.

A graph is one large cycle of small objects that all stay alive. While it grows, the collector walks
through all of it again and again and finds nothing: at 50,000 nodes that is most of the time.
"""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Objects made since the last search, then searches of the younger generation per older one. A copy
# of a graph has about twenty objects a node: what is dropped stays for a few copies at most.
_THRESHOLDS = (2_000_000, 2, 4)


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Within the block, let the collector search less often, and not through what is there now."""
    before, ours = gc.get_threshold(), gc.get_freeze_count() == 0
    gc.set_threshold(*_THRESHOLDS)
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if ours:
            gc.unfreeze()
