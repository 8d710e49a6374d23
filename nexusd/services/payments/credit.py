"""What goes out under tabs before anybody signed for it, and what stayed so.

No ledger knows of it, for nothing is owed: a caller that leaves has had it for nothing. So it is bounded like what is
owed, and takes of the same exposure. While a call goes on, all that its tab may give counts, and from then on what was
not paid; a peer that left too much of it pays ahead, until a person clears it or this daemon starts again.
"""

from __future__ import annotations

from collections import Counter

from nexusd_protocols.identity import PeerId


class Credits:
    """Of all peers, in millionths of a whole token, whatever token it is."""

    def __init__(self) -> None:
        self._given: Counter[PeerId] = Counter()
        self._unpaid: Counter[PeerId] = Counter()

    def of(self, peer: PeerId) -> int:
        """What this peer has, and what it had and did not pay."""
        return self._given[peer] + self._unpaid[peer]

    @property
    def total(self) -> int:
        """Of all."""
        return self._given.total() + self._unpaid.total()

    def give(self, peer: PeerId, most: int) -> None:
        """A call begins that may have so much."""
        self._given[peer] += most

    def end(self, peer: PeerId, most: int, unpaid: int) -> None:
        """It is over, and `unpaid` of what went was not signed for."""
        self._given[peer] -= most
        self._unpaid[peer] += unpaid
        for counts in (self._given, self._unpaid):
            if not counts[peer]:
                del counts[peer]

    def forgive(self, peer: PeerId) -> None:
        """Let what a peer did not pay be."""
        self._unpaid.pop(peer, None)
