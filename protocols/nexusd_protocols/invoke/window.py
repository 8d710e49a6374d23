"""Back-pressure on the side that produces.

A machine cannot know how fast the other side reads; its pump does. Without a bound a producer that is faster than its
reader fills the memory of its own host.

1. What `send` gives out is on its way until the pump confirms it with `sent`, which it does once the transport took it.
2. The window is open while at most `high_water` bytes are on their way, and closed above that.
3. While it is open, a piece of any size may be given out: what is on its way is thus bounded by `high_water` and one
   piece, and a piece larger than the window is not stuck.
4. While it is closed, no content is given out. What ends a call (done, error, cancel) still is: it is short, comes
   once, and must not wait behind the content.
5. Confirming more than is on its way is a mistake of the pump.
"""

from __future__ import annotations

from nexusd_protocols import limits
from nexusd_protocols.errors import LocalProtocolError


class Window:
    """Bytes given out and not yet taken by the transport."""

    def __init__(self, high_water: int = limits.INVOKE_WINDOW_BYTES) -> None:
        if high_water < 0:
            raise ValueError("a window has zero bytes or more")
        self._high_water = high_water
        self._on_their_way = 0

    @property
    def writable(self) -> bool:
        """Whether content may be given out (rule 2)."""
        return self._on_their_way <= self._high_water

    @property
    def on_their_way(self) -> int:
        """Bytes given out and not confirmed."""
        return self._on_their_way

    def check(self) -> None:
        """Raises LocalProtocolError while the window is closed (rule 4)."""
        if not self.writable:
            raise LocalProtocolError(f"{self._on_their_way} bytes are on their way: wait until the transport took them")

    def give(self, count: int) -> None:
        """`count` bytes were given out."""
        self._on_their_way += count

    def sent(self, count: int) -> None:
        """The transport took `count` bytes (rule 5)."""
        if not 0 <= count <= self._on_their_way:
            raise LocalProtocolError(f"{count} bytes confirmed of {self._on_their_way} on their way")
        self._on_their_way -= count
