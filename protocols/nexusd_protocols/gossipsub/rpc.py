"""What two pubsub peers say to one another (libp2p specs, pubsub/README.md "The RPC", gossipsub-v1.0 to v1.2).

An `Rpc` is immutable, so one object may go to many peers: whoever encodes it may keep the bytes beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from nexusd_protocols.pubsub.signed import SignedMessage


@dataclass(frozen=True, slots=True)
class Subscription:
    """The sender joined the topic, or left it."""

    topic: str
    subscribe: bool


@dataclass(frozen=True, slots=True)
class IHave:
    """Wire ids of messages of the topic that the sender has. An id that belongs to messages of several authors is
    there once for each (specs/gossipsub.md §4)."""

    topic: str
    message_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class IWant:
    """Wire ids of messages that the sender asks for."""

    message_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Graft:
    """The sender added the receiver to its mesh."""

    topic: str


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A peer to try instead: its PeerId as a multihash, and its signed record or nothing. Both as the sender gave
    them: unchecked, bounded."""

    peer_id: bytes
    signed_record: bytes = b""


@dataclass(frozen=True, slots=True)
class Prune:
    """The sender removed the receiver from its mesh. `backoff` is in seconds; None comes from a 1.0 peer."""

    topic: str
    backoff: int | None = None
    peers: tuple[PeerInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class IDontWant:
    """Wire ids of messages that the sender has already."""

    message_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """The control messages of one RPC."""

    ihave: tuple[IHave, ...] = ()
    iwant: tuple[IWant, ...] = ()
    graft: tuple[Graft, ...] = ()
    prune: tuple[Prune, ...] = ()
    idontwant: tuple[IDontWant, ...] = ()


@dataclass(frozen=True, slots=True)
class Malformed:
    """A message that is none: its fields are not those of a signed message. `topic` is None if that is what is wrong,
    `code` names the reason. `blame` says that no honest peer forwards such a thing; without it, an honest peer may have
    passed it on in good faith."""

    topic: str | None
    code: str
    blame: bool


@dataclass(frozen=True, slots=True)
class Rpc:
    """One RPC. `malformed` and `dropped` (entries beyond the bounds) exist only on the receiver's side."""

    subscriptions: tuple[Subscription, ...] = ()
    messages: tuple[SignedMessage, ...] = ()
    control: Control | None = None
    malformed: tuple[Malformed, ...] = ()
    dropped: int = 0
