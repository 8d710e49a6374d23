"""Output that waits in memory until it is paid for, settled or taken: a stranger's results do, and what is made faster
than it is read.

One call has a bound of its own, `limits.PAYMENT_HELD_BYTES`; here is that of one peer, and of all together. Where there
is no room, a stream waits until some of it was taken, and what has to be whole before it goes ends as busy, and costs
nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from nexusd_protocols.identity import PeerId

HELD_BYTES: Final = 64 << 20
"""Of all peers: what a small host can spare for them."""
HELD_OF_PEER_BYTES: Final = 16 << 20
"""Of one: four calls at their own bound."""


class Held:
    """The bytes of all calls."""

    def __init__(self, total: int = HELD_BYTES, of_peer: int = HELD_OF_PEER_BYTES) -> None:
        self._most = total
        self._most_of_peer = of_peer
        self._bytes = 0
        self._by_peer: Counter[PeerId] = Counter()

    def of(self, peer: PeerId) -> Holding:
        """Those of a call of this peer's."""
        return Holding(self, peer)

    def full(self, peer: PeerId) -> bool:
        """Whether no more may be held for this peer."""
        return self._bytes >= self._most or self._by_peer[peer] >= self._most_of_peer

    def change(self, peer: PeerId, by: int) -> None:
        """So many bytes more, or less."""
        self._bytes += by
        self._by_peer[peer] += by
        if not self._by_peer[peer]:
            del self._by_peer[peer]


class Holding:
    """The bytes of one call."""

    def __init__(self, held: Held, peer: PeerId) -> None:
        self._held = held
        self._peer = peer
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether this call should hold no more."""
        return self._held.full(self._peer)

    def set(self, count: int) -> None:
        """It holds so many."""
        self._held.change(self._peer, count - self._bytes)
        self._bytes = count
