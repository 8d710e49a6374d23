"""What two pubsub peers say to one another (libp2p specs, pubsub/README.md "The RPC", gossipsub-v1.0 to v1.2).

An `Rpc` is immutable, so one object may go to many peers: whoever encodes it may keep the bytes beside it.
"""

from __future__ import annotations

import msgspec

from nexusd_protocols.pubsub.signed import SignedMessage


class Subscription(msgspec.Struct, frozen=True):
    """The sender joined the topic, or left it."""

    topic: str
    subscribe: bool


class IHave(msgspec.Struct, frozen=True):
    """Wire ids of messages of the topic that the sender has. An id that belongs to messages of several authors is
    there once for each (specs/gossipsub.md §4)."""

    topic: str
    message_ids: tuple[bytes, ...]


class IWant(msgspec.Struct, frozen=True):
    """Wire ids of messages that the sender asks for."""

    message_ids: tuple[bytes, ...]


class Graft(msgspec.Struct, frozen=True):
    """The sender added the receiver to its mesh."""

    topic: str


class PeerInfo(msgspec.Struct, frozen=True):
    """A peer to try instead: its PeerId as a multihash, and its signed record or nothing. Both as the sender gave
    them: unchecked, bounded."""

    peer_id: bytes
    signed_record: bytes = b""


class Prune(msgspec.Struct, frozen=True):
    """The sender removed the receiver from its mesh. `backoff` is in seconds; None comes from a 1.0 peer."""

    topic: str
    backoff: int | None = None
    peers: tuple[PeerInfo, ...] = ()


class IDontWant(msgspec.Struct, frozen=True):
    """Wire ids of messages that the sender has already."""

    message_ids: tuple[bytes, ...]


class Control(msgspec.Struct, frozen=True):
    """The control messages of one RPC."""

    ihave: tuple[IHave, ...] = ()
    iwant: tuple[IWant, ...] = ()
    graft: tuple[Graft, ...] = ()
    prune: tuple[Prune, ...] = ()
    idontwant: tuple[IDontWant, ...] = ()


class Malformed(msgspec.Struct, frozen=True):
    """A message that is none: its fields are not those of a signed message. `topic` is None if that is what is wrong,
    `code` names the reason. `blame` says that no honest peer forwards such a thing; without it, an honest peer may have
    passed it on in good faith."""

    topic: str | None
    code: str
    blame: bool


class Rpc(msgspec.Struct, frozen=True):
    """One RPC. `malformed` and `dropped` (entries beyond the bounds) exist only on the receiver's side."""

    subscriptions: tuple[Subscription, ...] = ()
    messages: tuple[SignedMessage, ...] = ()
    control: Control | None = None
    malformed: tuple[Malformed, ...] = ()
    dropped: int = 0
