"""The figures of a small host, each with its reason. go-libp2p's base limits are the model for most of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from nexusd_protocols import limits

OTHER_DESCRIPTORS: Final = 32
"""What the daemon has open without any connection (store, listeners, log, event loop): 22 were counted."""
CONNECTION_SHARE: Final = 2
"""One in so many of the remaining descriptors is for peers: the socket, commands and files live on the others."""
FEWEST: Final = 4
"""With less the daemon is of no use to anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Limits on connections and streams. Raises ValueError for figures that contradict each other."""

    connections: int = 128
    """Open ones, both ways. go-libp2p's base is the same; idle ones cost 54 KiB each."""
    inbound: int = 96
    """Of these, at most so many that others have made: the rest is left for our own dials."""
    reserved: int = 16
    """Of both, so many are kept for known peers: a full house must not lock friends out."""
    transit: int = 32
    """Accepted and not yet authenticated and multiplexed; they do not count as open. go-libp2p's base is the same."""
    peer_connections: int = 4
    """Of one peer: both sides dialled, and both again before the first pair was found dead."""
    handshake_seconds: float = 3.0
    """From accept to multiplexed: four round trips, by satellite 2.4 s."""
    first_byte_seconds: float = 2.0
    """A dialler speaks with its first packet; that leaves time for one that was lost."""
    patience_seconds: float = 0.5
    """A connection in transit that was heard so lately makes no room for a neighbour: a round trip round the world."""
    address_connections: int = 8
    """Of one IPv4 address or IPv6 /56 (what one customer gets): a few hosts behind one router."""
    network_connections: int = 64
    """Of one IPv6 /48 (what one site may get)."""
    address_burst: int = 16
    """New connections of one address or /56 at once; after that `address_rate`."""
    address_rate: float = 0.2
    """New connections a second: a host that comes back every five seconds is never refused."""
    hurried_burst: int = 4
    """The same while all places in transit are taken, for those who have not completed a handshake from there lately.
    With `address_rate` it is what a thousand addresses can do to a newcomer: five seconds, then it gets in."""
    hurried_rate: float = 250.0
    """A second, of all of them together: they may cost a quarter of a core, at a millisecond for half a handshake."""
    proven_seconds: float = 3600.0
    """For how long a handshake speaks for the address that it came from."""
    addresses: int = 4096
    """Addresses of which something is remembered, the longest quiet forgotten first: about 2 MiB."""
    peer_bytes: int = limits.YAMUX_DAEMON_BYTES
    """Unread bytes and grown windows of all peers together."""
    peer_streams: int = 64
    """Streams that one peer has open here, over all protocols. A node at work has about ten."""
    protocol_streams: int = 32
    """Of these, of one protocol. Twice `open_streams`: the opener counts a stream as gone before we do."""
    open_streams: int = 16
    """Streams that we have open to one peer for one protocol: calls that run side by side. Who opens more waits."""
    limit_loopback: bool = False
    """Whether the limits for one address hold for this host's own, too: whoever is here has other ways to harm."""

    def __post_init__(self) -> None:
        if not 0 <= self.reserved < self.inbound <= self.connections:
            raise ValueError(f"{self.reserved} reserved < {self.inbound} inbound <= {self.connections} does not hold")
        if min(self.transit, self.peer_connections, self.address_connections, self.network_connections) < 1:
            raise ValueError("a bound below one lets nobody in")

    @classmethod
    def scaled(cls, connections: int, inbound: int | None = None) -> Figures:
        """Figures of another size in the proportions of this one: three quarters inbound, a sixth of those reserved, a
        quarter in transit. `inbound` is cut to `connections`. `connections` is FEWEST or more."""
        inbound = connections * 3 // 4 if inbound is None else min(inbound, connections)
        return cls(
            connections=connections, inbound=inbound, reserved=inbound // 6, transit=max(FEWEST, connections // 4)
        )

    def within(self, descriptors: int) -> Figures:
        """These, or smaller ones for a process that may open only so many descriptors."""
        room = max(2 * FEWEST, (descriptors - OTHER_DESCRIPTORS) // CONNECTION_SHARE)
        if self.connections + self.transit <= room:
            return self
        fewer = Figures.scaled(min(self.connections, max(FEWEST, room * 4 // 5)))
        return replace(
            self,
            connections=fewer.connections,
            inbound=min(self.inbound, fewer.inbound),
            reserved=min(self.reserved, fewer.reserved, min(self.inbound, fewer.inbound) - 1),
            transit=min(self.transit, fewer.transit),
        )
