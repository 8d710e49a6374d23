"""Relayed connections, for peers that cannot be dialled (libp2p specs, relay/circuit-v2.md; protocols/specs/relay.md).

    out: dialler -> Circuits.dial -> relay (hop) -> stream -> Noise and Yamux to the peer, through the relay
    in:  Reservations holds a place at each configured relay -> relay (stop) -> stream -> the gate, as any connection

A relay carries bytes that it cannot read, and usually not many of them.
"""

from nexusd.host.relay.circuits import Circuits
from nexusd.host.relay.reservations import Reservations

__all__ = ["Circuits", "Reservations"]
