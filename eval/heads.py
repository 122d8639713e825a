"""The two heads of the model family, told apart by their number of classes.

====================  ==================================
float32 [*, 25, 37]   CTC: a blank, then the characters
float32 [*, 25, 38]   attention: start, characters, end
====================  ==================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval import attention, ctc

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval.ctc import Reading
    from eval.images import Float32

STEPS = ctc.STEPS
_DECODERS: dict[int, Callable[[Float32], list[Reading]]] = {
    ctc.CLASSES: ctc.decode,
    attention.CLASSES: attention.decode,
}
CLASSES = tuple(_DECODERS)
EXPECTED = f"[*, {STEPS}, {' or '.join(map(str, CLASSES))}]"


def decode(probabilities: Float32) -> list[Reading]:
    """Read a batch float32 [batch, 25, 37 or 38] with the decoder of its head."""
    return _DECODERS[probabilities.shape[2]](probabilities)
