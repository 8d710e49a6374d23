"""What the two machines are told, and what they want done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from nexusd_protocols.bitswap.message import Message
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.identity import PeerId

SessionId = NewType("SessionId", int)

# --- both -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of a peer. Each machine reads its part of it."""

    peer: PeerId
    message: Message


@dataclass(frozen=True, slots=True)
class Left:
    """The peer is gone, cannot be reached, or does not speak the protocol."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message."""

    peer: PeerId
    message: Message


# --- server -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sized:
    """The answer to a `Look`: how many bytes each block has, None for what is not here or not for this peer."""

    peer: PeerId
    sizes: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to a `Fetch`: None for what is gone meanwhile."""

    peer: PeerId
    data: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to a `Send`: the transport has taken it, and takes more."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Arrived:
    """These blocks are here now."""

    cids: tuple[Cid, ...]


ServerInput = Heard | Left | Sized | Fetched | Sent | Arrived


@dataclass(frozen=True, slots=True)
class Look:
    """Find out which of these blocks may be sent to the peer, and how large they are."""

    peer: PeerId
    cids: tuple[Cid, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read these blocks: there is room for them."""

    peer: PeerId
    cids: tuple[Cid, ...]


ServerOutput = Look | Fetch | Send

# --- client -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joined:
    """The peer is connected and speaks the protocol."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Broken:
    """The stream to the peer broke, and what it carried may be lost; the peer is still there."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a session. It asks who is connected."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Close:
    """End a session, and forget what it still wants."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask these peers too."""

    session: SessionId
    peers: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """A session wants a block."""

    session: SessionId
    cid: Cid


@dataclass(frozen=True, slots=True)
class Forget:
    """A session does not want it any more."""

    session: SessionId
    cid: Cid


@dataclass(frozen=True, slots=True)
class Tick:
    """The time is (at least) what `deadline` said. Sooner changes nothing."""


ClientInput = Heard | Left | Joined | Broken | Open | Close | Ask | Need | Forget | Tick


@dataclass(frozen=True, slots=True)
class Got:
    """A block that a session wanted. It fits the digest; its CID may have been written in another version or codec."""

    session: SessionId
    cid: Cid
    data: bytes
    peer: PeerId


@dataclass(frozen=True, slots=True)
class Missing:
    """Nobody whom a session could ask has the block. It is forgotten with this."""

    session: SessionId
    cid: Cid


@dataclass(frozen=True, slots=True)
class Charge:
    """The peer is to blame."""

    peer: PeerId
    code: str
    points: int


ClientOutput = Send | Got | Missing | Charge
