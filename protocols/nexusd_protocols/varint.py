"""Unsigned varints (multiformats unsigned-varint): seven bits a byte, the least significant first, at most 63 bits."""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 9


class IncompleteError(ValueError):
    """The bytes end within the number."""


def encode(number: int) -> bytes:
    """The bytes of a number from 0 to 2^63 − 1."""
    if not 0 <= number < 1 << 63:
        raise ValueError("a varint has 63 bits")
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends. Raises IncompleteError, and ValueError for a number that is
    longer than 63 bits or than it needs to be."""
    number = 0
    for index, byte in enumerate(data[at : at + MAX_BYTES]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index:
                raise ValueError("a varint is longer than it needs to be")
            return number, at + index + 1
    if len(data) - at < MAX_BYTES:
        raise IncompleteError("a varint is cut short")
    raise ValueError("a varint has more than 63 bits")
