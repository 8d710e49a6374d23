"""Bytes that wait: in at one end, out at the other, whatever the sizes."""

from __future__ import annotations

from collections import deque
from typing import Final

_SMALL: Final = 4096
"""Pieces are joined up to this size, so that a window of one-byte frames costs what its bytes cost, not 40 times that:
what is kept beside a byte is then under 3 %."""


class ByteQueue:
    """`size` bytes in order. Large pieces are kept as they came, small ones joined."""

    __slots__ = ("_offset", "_pieces", "size")

    def __init__(self) -> None:
        self.size = 0
        self._pieces: deque[bytes | bytearray] = deque()
        self._offset = 0  # bytes of the first piece that are taken already

    def append(self, data: bytes) -> None:
        """Put `data`, which is not empty, behind the rest."""
        pieces = self._pieces
        if pieces and len(data) < _SMALL and len(last := pieces[-1]) < _SMALL:
            if type(last) is bytearray:
                last += data
            else:
                joined = bytearray(last)
                joined += data
                pieces[-1] = joined
        else:
            pieces.append(data)
        self.size += len(data)

    def take(self, limit: int) -> bytes:
        """The first bytes, `limit` at most; empty only if the queue is, or the limit is 0. May be fewer than there are,
        by half: a large piece is given as it came rather than joined with part of the next."""
        pieces = self._pieces
        if not pieces:
            return b""
        first, offset = pieces[0], self._offset
        rest = len(first) - offset
        if rest <= limit and (rest * 2 >= limit or len(pieces) == 1):
            pieces.popleft()
            self._offset = 0
            self.size -= rest
            return bytes(first[offset:])  # whole bytes are not copied, neither by the slice nor by `bytes`
        parts: list[bytes | bytearray | memoryview] = []
        self.move(parts, limit)
        return b"".join(parts)

    def move(self, parts: list[bytes | bytearray | memoryview], limit: int) -> int:
        """As `take`, but appended to `parts`, so that a caller who joins them anyway copies once. Returns the count."""
        pieces = self._pieces
        left = limit = min(limit, self.size)
        while left:
            first, offset = pieces[0], self._offset
            rest = len(first) - offset
            if rest <= left:
                parts.append(memoryview(first)[offset:] if offset else first)
                pieces.popleft()
                self._offset = 0
                left -= rest
            else:
                # a view of a bytearray would forbid to append to it
                end = offset + left
                parts.append(memoryview(first)[offset:end] if type(first) is bytes else first[offset:end])
                self._offset = end
                left = 0
        self.size -= limit
        return limit

    def clear(self) -> int:
        """Drop everything. Returns how much it was."""
        dropped = self.size
        self._pieces.clear()
        self._offset = self.size = 0
        return dropped
