"""Python's search for cyclic garbage, while graphs are built.

A graph is one large cycle of small objects that all stay alive. While it grows, the collector walks
through all of it again and again and finds nothing: at 50,000 nodes that is most of the time.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Objects made since the last search, then searches of the younger generation per older one. A copy
# of a graph has about twenty objects a node: what is dropped stays for a few copies at most.
_THRESHOLDS = (2_000_000, 2, 4)


_lock = threading.Lock()
_blocks = 0
_leave = contextlib.ExitStack()


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Within the block, let the collector search less often, and not through what is there now.

    Blocks may lie in each other and in several threads: the last that is left restores all.
    """
    global _blocks  # noqa: PLW0603  the collector is one for the process
    with _lock:
        _blocks += 1
        if _blocks == 1:
            _leave.callback(gc.set_threshold, *gc.get_threshold())
            gc.set_threshold(*_THRESHOLDS)
            if gc.get_freeze_count() == 0:
                gc.freeze()
                _leave.callback(gc.unfreeze)
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                _leave.close()
