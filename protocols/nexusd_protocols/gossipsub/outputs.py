"""What a router wants done, in this order."""

from __future__ import annotations

import enum

import msgspec

from nexusd_protocols.gossipsub.rpc import PeerInfo, Rpc
from nexusd_protocols.identity import PeerId
from nexusd_protocols.pubsub.signed import SignedMessage


class Priority(enum.IntEnum):
    """The class of an RPC: lower goes first, and is dropped last. The first two are never dropped."""

    CONTROL = 0
    OWN = 1
    FORWARDED = 2
    GOSSIP = 3


class Send(msgspec.Struct, frozen=True):
    """Send one RPC to each of these peers. RPCs of one class keep their order."""

    peers: tuple[PeerId, ...]
    rpc: Rpc
    priority: Priority


class Validate(msgspec.Struct, frozen=True):
    """Check signature and content of a message that `sender` forwarded, and answer with `Validated(ticket, …)`. Until
    then copies of it are held back; without an answer in time it is ignored."""

    ticket: int
    message: SignedMessage
    sender: PeerId


class Deliver(msgspec.Struct, frozen=True):
    """A valid message of a joined topic, for the application: once for each (author, wire id)."""

    message: SignedMessage
    sender: PeerId


class PeerExchange(msgspec.Struct, frozen=True):
    """A peer suggests others to connect to for a topic (gossipsub-v1.1 "PRUNE Backoff and Peer Exchange"). Only if
    `Params.accept_px`, and from peers that are trusted; nothing in it is checked."""

    topic: str
    peers: tuple[PeerInfo, ...]
    sender: PeerId


class ExplicitGraft(msgspec.Struct, frozen=True):
    """An explicit peer asked for a place in a mesh, and was answered with a PRUNE: it knows of no agreement.
    gossipsub-v1.1 "Explicit Peering Agreements": "such an attempt should be logged"."""

    topic: str
    sender: PeerId


Output = Send | Validate | Deliver | PeerExchange | ExplicitGraft
