"""The few facts of protobuf's wire format that let a weight be read and written on its own.

A message is a row of fields, each a key (number and kind) and a value; a string, a tensor's bytes
or a message inside is a length and as many bytes. So a message can be cut out of a file, and
written piece by piece, without ever being in memory as a whole.

References:
    - https://protobuf.dev/programming-guides/encoding/
    - https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

# Field numbers in onnx.proto.
MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, BYTES, _FIXED32 = 0, 1, 2, 5
# protobuf cannot hold 2 GiB in one message; above this, tensors go beside the model.
MAX_SINGLE_FILE_BYTES = (1 << 31) - (1 << 24)
_MOST_BITS = 63  # of a number in a key or a length


class Field(NamedTuple):
    """Where a field lies.

    Attributes:
        number: Which field of its message it is.
        kind: How it is written; ``BYTES`` is a length and bytes.
        start: Of its key.
        body: Of its value, behind the length.
        end: Behind its value.
    """

    number: int
    kind: int
    start: int
    body: int
    end: int


class UnusualError(Exception):
    """The bytes are not what a plain writer writes; a real parser must judge them."""


def fields(data: mmap.mmap | bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message between two places.

    Raises:
        UnusualError: Where a field does not end within the message, or is of an unknown kind.
    """
    at = start
    while at < end:
        key, body = _number(data, at, end)
        kind = key & 7
        if kind == BYTES:
            length, body = _number(data, body, end)
            stop = body + length
        elif kind == _VARINT:
            stop = _number(data, body, end)[1]
        elif kind in {_FIXED32, _FIXED64}:
            stop = body + (4 if kind == _FIXED32 else 8)
        else:
            raise UnusualError
        if stop > end:
            raise UnusualError
        yield Field(key >> 3, kind, at, body, stop)
        at = stop


def bytes_head(number: int, length: int) -> bytes:
    """Return what stands before the bytes of a field of kind ``BYTES``."""
    return _varint(number << 3 | BYTES) + _varint(length)


def _number(data: mmap.mmap | bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number, written low bits first in 7 bits a byte, and where it ends."""
    found = shift = 0
    while at < end and shift < _MOST_BITS:
        byte = data[at]
        found |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:  # noqa: PLR2004  the high bit says that more follows
            return found, at
        shift += 7
    raise UnusualError


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:  # noqa: PLR2004  7 bits a byte
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
