"""What the two machines are told, and what they want done."""

from __future__ import annotations

from typing import NewType

import msgspec

from nexusd_protocols.bitswap.message import Message
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId

SessionId = NewType("SessionId", int)

# --- both -------------------------------------------------------------------------------------------------------------


class Heard(msgspec.Struct, frozen=True):
    """A message of a peer. Each machine reads its part of it."""

    peer: PeerId
    message: Message


class Left(msgspec.Struct, frozen=True):
    """The peer is gone, cannot be reached, or does not speak the protocol."""

    peer: PeerId


class Send(msgspec.Struct, frozen=True):
    """Send a message."""

    peer: PeerId
    message: Message


# --- server -----------------------------------------------------------------------------------------------------------


class Sized(msgspec.Struct, frozen=True):
    """The answer to a `Look`: how many bytes each block has, None for what is not here or not for this peer."""

    peer: PeerId
    sizes: tuple[int | None, ...]


class Fetched(msgspec.Struct, frozen=True):
    """The answer to a `Fetch`: None for what is gone meanwhile."""

    peer: PeerId
    data: tuple[bytes | None, ...]


class Sent(msgspec.Struct, frozen=True):
    """The answer to a `Send`: the transport has taken it, and takes more."""

    peer: PeerId


class Arrived(msgspec.Struct, frozen=True):
    """These blocks are here now."""

    cids: tuple[Cid, ...]


ServerInput = Heard | Left | Sized | Fetched | Sent | Arrived


class Look(msgspec.Struct, frozen=True):
    """Find out which of these blocks may be sent to the peer, and how large they are."""

    peer: PeerId
    cids: tuple[Cid, ...]


class Fetch(msgspec.Struct, frozen=True):
    """Read these blocks: there is room for them."""

    peer: PeerId
    cids: tuple[Cid, ...]


ServerOutput = Look | Fetch | Send

# --- client -----------------------------------------------------------------------------------------------------------


class Joined(msgspec.Struct, frozen=True):
    """The peer is connected and speaks the protocol."""

    peer: PeerId


class Broken(msgspec.Struct, frozen=True):
    """The stream to the peer broke, and what it carried may be lost; the peer is still there."""

    peer: PeerId


class Open(msgspec.Struct, frozen=True):
    """Begin a session. It asks who is connected."""

    session: SessionId


class Close(msgspec.Struct, frozen=True):
    """End a session, and forget what it still wants."""

    session: SessionId


class Ask(msgspec.Struct, frozen=True):
    """Ask these peers too."""

    session: SessionId
    peers: tuple[PeerId, ...]


class Need(msgspec.Struct, frozen=True):
    """A session wants a block."""

    session: SessionId
    cid: Cid


class Forget(msgspec.Struct, frozen=True):
    """A session does not want it any more."""

    session: SessionId
    cid: Cid


class Tick(msgspec.Struct, frozen=True):
    """The time is (at least) what `deadline` said. Sooner changes nothing."""


ClientInput = Heard | Left | Joined | Broken | Open | Close | Ask | Need | Forget | Tick


class Got(msgspec.Struct, frozen=True):
    """A block that a session wanted. It fits the digest; its CID may have been written in another version or codec."""

    session: SessionId
    cid: Cid
    data: bytes
    peer: PeerId


class Missing(msgspec.Struct, frozen=True):
    """Nobody whom a session could ask has the block. It is forgotten with this."""

    session: SessionId
    cid: Cid


class Charge(msgspec.Struct, frozen=True):
    """The peer is to blame."""

    peer: PeerId
    code: str
    points: int


ClientOutput = Send | Got | Missing | Charge
