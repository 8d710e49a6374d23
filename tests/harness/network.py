"""A network that does what a test says: connections are made, refused and lost by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from nexusd.host.peer_feed import PeerEvents, PeerFeed
from nexusd.host.ports import PeerConnected, PeerDisconnected, UnreachableError
from nexusd_protocols.identity import PeerId


class FakeNetwork:
    """Implements `ports.Network`. Who is in `up` can be reached; `dials` says who was dialled, and when."""

    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id
        self.up: set[PeerId] = set()
        self.dials: list[tuple[PeerId, float]] = []
        self.dial_seconds = 0.0
        self.dialling = 0
        self.most_dialling = 0
        self.addresses_of: dict[PeerId, tuple[str, ...]] = {}
        self.gate: Callable[[PeerId], bool] = lambda _: True
        self.convict: Callable[[PeerId, str, str], None] = lambda *_: None
        self.pardoned: list[PeerId] = []
        self.balances: dict[PeerId, float] = {}
        self.feed = PeerFeed()
        self._connected: list[PeerId] = []

    def addresses(self) -> list[str]:
        return []

    async def connect(self, peer: PeerId, addresses: Sequence[str] = ()) -> None:
        self.dials.append((peer, trio.current_time()))
        self.dialling += 1
        self.most_dialling = max(self.most_dialling, self.dialling)
        try:
            await trio.sleep(self.dial_seconds)
        finally:
            self.dialling -= 1
        if peer not in self.up:
            raise UnreachableError(f"Cannot reach {peer}")
        self.come(peer, "out")

    async def disconnect(self, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        if peer in self._connected:
            self.go(peer)

    def connected(self) -> Sequence[PeerId]:
        return self._connected

    def add_addresses(self, peer: PeerId, addresses: Sequence[str]) -> None:
        self.addresses_of[peer] = tuple(addresses)

    def set_gate(self, allowed: Callable[[PeerId], bool]) -> None:
        self.gate = allowed

    def set_judge(self, convict: Callable[[PeerId, str, str], None]) -> None:
        self.convict = convict

    def balance(self, peer: PeerId) -> float:
        return self.balances.get(peer, 0.0)

    def pardon(self, peer: PeerId) -> None:
        self.pardoned.append(peer)

    def penalise(self, peer: PeerId, reason: str, points: int) -> None:
        raise AssertionError("nobody is charged here")

    def peer_events(self) -> PeerEvents:
        return self.feed.subscribe()

    # --- for the test ---
    def come(self, peer: PeerId, direction: str) -> None:
        """A connection is there."""
        self._connected.append(peer)
        self.feed.announce(PeerConnected(peer, "/ip4/10.0.0.9/tcp/1", "in" if direction == "in" else "out"))

    def go(self, peer: PeerId) -> None:
        """It is gone."""
        self._connected.remove(peer)
        self.feed.announce(PeerDisconnected(peer))
