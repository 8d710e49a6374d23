"""Who is connected: turns the swarm's connection callbacks into peers that come and go. A peer with two connections
has come once, and goes with the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from libp2p.abc import INotifee
from libp2p.network.swarm import Swarm
from libp2p.rcmgr import Direction

from nexusd.host.closing import close_connection
from nexusd.host.duplicates import Duplicates
from nexusd.host.peer_feed import PeerFeed
from nexusd.host.ports import PeerConnected, PeerDisconnected
from nexusd_protocols.identity import PeerId

Spawn = Callable[..., None]
"""A nursery's `start_soon`."""


class PeerTable(INotifee):  # type: ignore[misc] # libp2p is not typed
    """`arrived` and `left` are told of a peer's first and last connection, before the readers of the feed."""

    def __init__(
        self,
        swarm: Swarm,
        duplicates: Duplicates,
        admit: Callable[[PeerId], bool],
        feed: PeerFeed,
        spawn: Spawn,
        arrived: Callable[[PeerId], None],
        left: Callable[[PeerId], None],
    ) -> None:
        self._duplicates = duplicates
        self._admit = admit
        self._feed = feed
        self._spawn = spawn
        self._arrived = arrived
        self._left = left
        self._connections: dict[PeerId, dict[Any, None]] = {}
        swarm.register_notifee(self)

    def peers(self) -> list[PeerId]:
        """Those with an open connection."""
        return [peer for peer, found in self._connections.items() if any(not c.is_closed for c in found)]

    def remote(self, peer: PeerId) -> str:
        """The address at which a peer is connected, empty if none is known."""
        return next(filter(None, (_address(c) for c in self._connections.get(peer, ()) if not c.is_closed)), "")

    async def connected(self, network: object, conn: Any) -> None:
        """Called by the swarm. A peer that is not allowed is disconnected and never announced."""
        peer = PeerId(str(conn.muxed_conn.peer_id))
        if not self._admit(peer):
            self._spawn(close_connection, conn)
            return
        known = self._connections.get(peer)
        if known is not None and all(c.is_closed for c in known):
            # libp2p tells of an end 0.2 s late: what hung on those connections is gone already
            self._gone(peer)
            known = None
        if known is not None:
            known[conn] = None
            self._settle(peer)
            return
        self._connections[peer] = {conn: None}
        self._feed.announce(PeerConnected(peer, _address(conn), _direction(conn)))
        self._arrived(peer)

    async def disconnected(self, network: object, conn: Any) -> None:
        """Called by the swarm."""
        peer = PeerId(str(conn.muxed_conn.peer_id))
        known = self._connections.get(peer, {})
        if conn not in known:
            return
        del known[conn]
        if known:
            self._settle(peer)
        else:
            self._gone(peer)

    def _settle(self, peer: PeerId) -> None:
        self._duplicates.settle(peer, [conn for conn in self._connections[peer] if not conn.is_closed])

    def _gone(self, peer: PeerId) -> None:
        del self._connections[peer]
        self._left(peer)
        self._feed.announce(PeerDisconnected(peer))

    async def opened_stream(self, network: object, stream: object) -> None:
        """Of no interest here."""

    async def closed_stream(self, network: object, stream: object) -> None:
        """Of no interest here."""

    async def listen(self, network: object, multiaddr: object) -> None:
        """Of no interest here."""

    async def listen_close(self, network: object, multiaddr: object) -> None:
        """Of no interest here."""


def _direction(connection: Any) -> Literal["in", "out"]:
    return "in" if connection.direction is Direction.INBOUND else "out"


def _address(connection: Any) -> str:
    """The remote multiaddr without the peer's own /p2p, or the empty text if the transport does not know."""
    addresses = connection.get_transport_addresses()
    if not addresses:
        return ""
    before, circuit, _ = str(addresses[0]).partition("/p2p-circuit")
    return before + circuit if circuit else before.partition("/p2p/")[0]
