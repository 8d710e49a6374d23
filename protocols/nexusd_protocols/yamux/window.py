"""The receive window of a stream: what the peer may send, and when it is told that it may send more.

1. The window begins at 256 KiB (the specification) and is `size` later. At any time what the peer may still send, what
   is unread and what was read and not granted again add up to `size`: granted is only what was read.
2. A grant goes out when half of the window was read: so a reader costs two updates a window, and a peer that is out of
   window always has unread bytes here or a grant on its way.
3. If that half took less than two round trips, the window is what limits the peer: it doubles, up to a bound, if memory
   for it is free. Without a round trip measured it does not grow.
4. If that half took more than a second and 32 round trips, the window is far too large: it halves.
"""

from __future__ import annotations

from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.yamux.budget import Budget

_FAST_TRIPS: Final = 2
_SLOW_TRIPS: Final = 32
_SLOW_SECONDS: Final = 1.0


class ReceiveWindow:
    """Bytes; `available` is what the peer may still send."""

    __slots__ = ("_budget", "_limit", "_read", "_since", "available", "size")

    def __init__(self, budget: Budget, now: float, *, limit: int = limits.YAMUX_WINDOW_BYTES) -> None:
        self.size = self.available = limits.YAMUX_INITIAL_WINDOW
        self._budget = budget
        self._limit = limit
        self._read = 0
        self._since = now

    def read(self, count: int, now: float, round_trip: float | None) -> int:
        """The reader took bytes. Gives what to grant now: 0 for most reads."""
        self._read += count
        if self._read * 2 < self.size:
            return 0
        return self._grant(now, round_trip)

    def close(self) -> None:
        """No more will come: give back what was promised for a grown window."""
        self._budget.withdraw(self.size - limits.YAMUX_INITIAL_WINDOW)
        self.size = limits.YAMUX_INITIAL_WINDOW

    def _grant(self, now: float, round_trip: float | None) -> int:
        granted = self._read
        if round_trip is not None:
            took = now - self._since
            if took < _FAST_TRIPS * round_trip:
                more = min(self.size, self._limit - self.size)
                if more > 0 and self._budget.promise(more):
                    self.size += more
                    granted += more
            elif took > max(_SLOW_SECONDS, _SLOW_TRIPS * round_trip):
                # half the window was read, so granting less than that keeps rule 1
                less = min(self.size // 2, self.size - limits.YAMUX_INITIAL_WINDOW, granted)
                self._budget.withdraw(less)
                self.size -= less
                granted -= less
        self.available += granted
        self._read = 0
        self._since = now
        return granted
