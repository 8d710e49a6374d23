"""What the output of a call counts by the unit of its tab, and pieces of it small enough to be paid one by one.

    chunk  each piece is one        byte   as it counts against maxOutputBytes
    token  as the provider reports, else one a piece; never more than there are bytes
    second of work, with no piece at all

A piece of text that counts more than may be given at once is cut: pieces of text are read as one text anyway. What is
not text cannot be cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from nexusd_protocols.payments.terms import Unit

CHARACTER_BYTES: Final = 4
"""Of UTF-8, at most."""


class Piece(NamedTuple):
    """`size` bytes of content, that count `units`."""

    data: Any
    size: int
    units: int


class TooMuchError(ValueError):
    """A piece counts more than may be given at once, and cannot be cut."""


class Meter:
    """Counts one call. `largest`: units that one piece may count, 1 at least."""

    def __init__(self, unit: Unit, largest: int) -> None:
        self._unit = unit
        self._largest = max(1, largest)
        self._tokens = 0
        """Reported, over all pieces, and not counted yet: more than there were bytes for."""
        self._bytes = 0
        """Of content that no token was counted for."""

    def pieces(self, data: Any, size: int, reported: int | None) -> Iterator[Piece]:
        """The pieces that a piece of output goes as; `reported` is what its provider says it counts. Raises
        TooMuchError."""
        units = self._units(size, reported)
        if units <= self._largest:
            yield Piece(data, size, units)
            return
        if not isinstance(data, str):
            raise TooMuchError(f"a piece that counts {units} and is no text, where {self._largest} may go at once")
        step = self._largest * size // units
        if step < CHARACTER_BYTES and self._unit == "token_out":  # the tokens of what went before: the next one's
            self._tokens += units - self._largest
            self._bytes += units - self._largest
            yield Piece(data, size, self._largest)
            return
        gone = counted = 0
        for part in _cut(data.encode(), step):
            gone += len(part)
            before, counted = counted, units * gone // size
            yield Piece(part.decode(), len(part), counted - before)

    def rest(self, reported: int = 0) -> Iterator[int]:
        """Units that are still to be counted behind the output, `reported` more than the pieces said, in steps that may
        be given at once."""
        self._tokens += reported
        left = min(self._tokens, self._bytes) if self._unit == "token_out" else 0
        self._tokens -= left
        self._bytes -= left
        while left > 0:
            yield min(left, self._largest)
            left -= self._largest

    def _units(self, size: int, reported: int | None) -> int:
        match self._unit:
            case "chunk":
                return 1
            case "byte":
                return size
            case "token_out":
                self._tokens += 1 if reported is None else reported
                self._bytes += size
                units = min(self._tokens, self._bytes)
                self._tokens -= units
                self._bytes -= units
                return units
            case _:
                return 0


def _cut(text: bytes, size: int) -> Iterator[bytes]:
    """Parts of at most so many bytes, cut between characters. Raises TooMuchError."""
    start = 0
    while start < len(text):
        end = min(start + size, len(text))
        while end < len(text) and text[end] & 0xC0 == 0x80:  # within a character
            end -= 1
        if end <= start:
            raise TooMuchError("a character counts more than may go at once")
        yield text[start:end]
        start = end
