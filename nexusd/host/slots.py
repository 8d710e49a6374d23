"""How many streams a peer may have open at once, in each direction."""

from __future__ import annotations

from collections import Counter
from typing import Final

import trio

from nexusd.host.limits.figures import Figures
from nexusd_protocols.identity import PeerId

_DEFAULTS: Final = Figures()


class StreamSlots:
    """Counters. Inbound streams over the bound are refused; outbound ones wait for their turn, in order."""

    def __init__(
        self,
        per_peer: int = _DEFAULTS.peer_streams,
        per_protocol: int = _DEFAULTS.protocol_streams,
        outbound: int = _DEFAULTS.open_streams,
    ) -> None:
        self._per_peer = per_peer
        self._per_protocol = per_protocol
        self._outbound_limit = outbound
        self._inbound: Counter[PeerId] = Counter()
        self._inbound_by_protocol: Counter[tuple[PeerId, str]] = Counter()
        self._outbound: dict[tuple[PeerId, str], trio.CapacityLimiter] = {}
        self.refused = 0
        """Streams refused since the start."""

    @property
    def inbound(self) -> int:
        """Inbound streams that are open."""
        return sum(self._inbound.values())

    def enter(self, peer: PeerId) -> bool:
        """Count an inbound stream, before anybody knows its protocol; False if that is one too many."""
        if self._inbound[peer] >= self._per_peer:
            self.refused += 1
            return False
        self._inbound[peer] += 1
        return True

    def exit(self, peer: PeerId) -> None:
        """Undo `enter`."""
        self._inbound[peer] -= 1
        if self._inbound[peer] <= 0:
            del self._inbound[peer]

    def take(self, peer: PeerId, protocol: str, most: int | None = None) -> bool:
        """Count an inbound stream of a protocol, which may have `most` of a peer if not as many as usual; False if that
        is one too many."""
        key = (peer, protocol)
        if self._inbound_by_protocol[key] >= (self._per_protocol if most is None else most):
            self.refused += 1
            return False
        self._inbound_by_protocol[key] += 1
        return True

    def give_back(self, peer: PeerId, protocol: str) -> None:
        """Undo `take`."""
        key = (peer, protocol)
        self._inbound_by_protocol[key] -= 1
        if self._inbound_by_protocol[key] <= 0:
            del self._inbound_by_protocol[key]

    async def wait(self, peer: PeerId, protocol: str) -> object:
        """Take an outbound slot, waiting for one if need be. Returns what `release` wants."""
        limiter = self._outbound.get((peer, protocol))
        if limiter is None:
            limiter = self._outbound[(peer, protocol)] = trio.CapacityLimiter(self._outbound_limit)
        ticket = object()
        try:
            limiter.acquire_on_behalf_of_nowait(ticket)
        except trio.WouldBlock:
            pass
        else:
            return ticket
        try:
            await limiter.acquire_on_behalf_of(ticket)
        except BaseException:
            self._forget_idle(peer, protocol)
            raise
        return ticket

    def release(self, peer: PeerId, protocol: str, ticket: object) -> None:
        """Give an outbound slot back."""
        self._outbound[(peer, protocol)].release_on_behalf_of(ticket)
        self._forget_idle(peer, protocol)

    def _forget_idle(self, peer: PeerId, protocol: str) -> None:
        limiter = self._outbound.get((peer, protocol))
        if limiter is not None and not limiter.borrowed_tokens and not limiter.statistics().tasks_waiting:
            del self._outbound[(peer, protocol)]
