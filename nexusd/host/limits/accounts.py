"""What peers owe for breaking protocols: points that fade, and the debt at which a peer is to be banned.

Pure: `now` is seconds on a monotonic clock. What an offence costs is said where it is found; all
of them are in docs/reference/penalties.md. What a ban is is the policy's business.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from nexusd_protocols.identity import PeerId

BAN_POINTS: Final = 1000.0
"""Debt at which a peer is banned: a hundred broken messages, or ten floods, in some minutes. An honest peer that
breaks one each second owes 600 after a minute; one that does so every 15 seconds is never banned."""
HALF_LIFE: Final = 600.0
"""Seconds in which a debt halves: a peer that was careless an hour ago is as good as new."""
BURST_POINTS: Final = 250.0
"""What a second can cost at most: a queue that is flushed with the same mistake in each message is one mistake. A ban
takes four seconds at least, then, and a flood still less than ten."""
BURST_SECONDS: Final = 1.0
ACCOUNTS: Final = 4096
"""Peers remembered; the one charged longest ago goes first. An attacker has peer ids without end."""


@dataclass(slots=True)
class _Account:
    points: float
    at: float
    """When `points` was right."""
    burst_since: float
    burst: float = 0.0


class Accounts:
    """One account a peer."""

    def __init__(self, *, half_life: float = HALF_LIFE, size: int = ACCOUNTS) -> None:
        self._half_life = half_life
        self._size = size
        self._accounts: OrderedDict[PeerId, _Account] = OrderedDict()

    def charge(self, peer: PeerId, points: float, now: float) -> float:
        """Add points. Returns how many were added: fewer, or none, where the second has cost its most already."""
        account = self._accounts.setdefault(peer, _Account(0.0, now, now))
        self._accounts.move_to_end(peer)
        while len(self._accounts) > self._size:
            self._accounts.popitem(last=False)
        if now - account.burst_since >= BURST_SECONDS:
            account.burst_since, account.burst = now, 0.0
        added = min(points, BURST_POINTS - account.burst)
        account.burst += added
        account.points = self._faded(account, now) + added
        account.at = now
        return added

    def balance(self, peer: PeerId, now: float) -> float:
        """What is left of the peer's points now."""
        account = self._accounts.get(peer)
        return 0.0 if account is None else self._faded(account, now)

    def clear(self, peer: PeerId) -> None:
        """Forget what the peer owes: it is punished, or pardoned."""
        self._accounts.pop(peer, None)

    def _faded(self, account: _Account, now: float) -> float:
        return account.points * math.exp2((account.at - now) / self._half_life)
