"""Byte credit: how much one side may send before the other grants more.

Used for each direction of an invocation on the local socket, with one `Credit` on either side of it: the sender takes
before it sends, the receiver takes as it receives, and both see the same number.

1. A piece may be taken while any credit is left, whatever its size. Credit may thus become negative, by less than one
   piece: otherwise a piece larger than the whole credit could never be sent.
2. Nothing may be taken at zero or below, not even an empty piece.
3. A grant adds. The sum stops at a ceiling, so that no number of grants makes an absurd number.
4. The receiver grants what it has passed on: never more is in memory than the first credit and one piece.
"""

from __future__ import annotations

from typing import Final

CEILING: Final = 2**53 - 1
"""What JavaScript holds exactly; as good as unlimited."""


class Credit:
    """Bytes that may still be sent."""

    def __init__(self, initial: int, *, ceiling: int = CEILING) -> None:
        if initial < 0:
            raise ValueError("credit begins at zero or more")
        self._ceiling = ceiling
        self._bytes = min(initial, ceiling)

    @property
    def available(self) -> int:
        """Bytes left: negative after a piece that was larger than what was left."""
        return self._bytes

    @property
    def usable(self) -> bool:
        """Whether a piece may be taken now."""
        return self._bytes > 0

    def take(self, count: int) -> bool:
        """Use credit for a piece of `count` bytes. False, and nothing taken, where there is none."""
        if count < 0:
            raise ValueError("a piece has zero bytes or more")
        if self._bytes <= 0:
            return False
        self._bytes -= count
        return True

    def grant(self, count: int) -> None:
        """Add credit. Raises ValueError for a negative count."""
        if count < 0:
            raise ValueError("a grant has zero bytes or more")
        self._bytes = min(self._bytes + count, self._ceiling)
