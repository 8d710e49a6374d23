"""What peers are charged for breaking protocols. Points fade with time; what follows from them is not decided here."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from nexusd_protocols.identity import PeerId

_log = structlog.get_logger(__name__)

HALF_LIFE: Final = 600.0
"""Seconds in which a debt halves: a peer that was careless an hour ago is as good as new."""
ACCOUNTS: Final = 4096
"""Peers remembered; the one charged longest ago goes first. An attacker has peer ids without end."""


@dataclass(slots=True)
class _Account:
    points: float
    at: float


class Accounts:
    """One account a peer. `clock` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float], *, half_life: float = HALF_LIFE, size: int = ACCOUNTS) -> None:
        self._clock = clock
        self._half_life = half_life
        self._size = size
        self._accounts: OrderedDict[PeerId, _Account] = OrderedDict()

    def charge(self, peer: PeerId, reason: str, points: int) -> float:
        """Add points and log the line that a log watcher can act on. Returns the balance."""
        now = self._clock()
        balance = self.balance(peer) + points
        self._accounts[peer] = _Account(balance, now)
        self._accounts.move_to_end(peer)
        while len(self._accounts) > self._size:
            self._accounts.popitem(last=False)
        _log.info("peer_penalised", peer=peer, reason=reason, points=points, balance=round(balance, 1))
        return balance

    def balance(self, peer: PeerId) -> float:
        """What is left of the peer's points now."""
        account = self._accounts.get(peer)
        if account is None:
            return 0.0
        return account.points * math.exp2((account.at - self._clock()) / self._half_life)
