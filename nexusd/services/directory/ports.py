"""What the directory is handed by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nexusd.host.dht import Found
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import CapabilityName, RoomId
from nexusd_protocols.payments.advertised import Price
from nexusd_protocols.pointer.documents import Role
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import CapabilityList, Profile


class Names(Protocol):
    """The DHT; see `host.dht.Dht`."""

    def size(self) -> int: ...

    async def put(self, key: str, value: bytes) -> list[PeerId]: ...

    async def get(self, key: str, *, quorum: int = 0) -> bytes | None: ...

    async def provide(self, cid: str) -> list[PeerId]: ...

    async def stop_providing(self, cid: str) -> bool: ...

    async def find_providers(self, cid: str, count: int = 20) -> list[Found]: ...

    async def find_peer(self, peer: PeerId) -> Found | None: ...


Keep = Callable[[Block, str], Awaitable[None]]
"""Keep a block of this node's own, under a name for people, where others can fetch it: it is on disk when this
returns. Asked again for what is kept already, it is kept for longer. Raises OSError."""

Fetch = Callable[[Cid, Sequence[PeerId]], Awaitable[bytes]]
"""The bytes of a block, from this node or from one of these peers or whoever else is connected; checked against the
CID. Raises HostError."""

Ask = Callable[[PeerId], Awaitable[CapabilityList | Refusal]]
"""What a peer, or this node itself, offers now, by the handshake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFacts:
    """A room that this node is in. `since`: unix milliseconds. `members` counts those that are seen now: by itself it
    makes no manifest another."""

    room: RoomId
    since: int
    description: str = ""
    retention: RetentionClass = "archival"
    members: int = 0
    mirror: bool = False
    """A copy is kept for others, without being in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityFacts:
    """A capability that others may call here."""

    name: CapabilityName
    description: str = ""
    streaming: bool = True
    max_input_bytes: int
    max_duration_ms: int
    max_concurrent: int
    prices: tuple[Price, ...] = ()
    pricing: str = "free"
    """The prices in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFacts:
    """What may be kept for others: bytes in all, bytes of one room, and whether messages' references are kept."""

    total: int
    room: int
    references: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What this node is and has, asked for whenever something is published. `addresses` are where it may be dialled,
    each ending in its own /p2p."""

    role: Role
    storage: StorageFacts
    profile: Callable[[], Profile]
    rooms: Callable[[], Sequence[RoomFacts]]
    capabilities: Callable[[], Sequence[CapabilityFacts]]
    addresses: Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known of peers without asking anybody. `heard` are peers whose presence in a room named the capability
    of late."""

    connected: Callable[[], Sequence[PeerId]]
    addresses_of: Callable[[PeerId], Sequence[str]]
    name_of: Callable[[str], str | None]
    allows: Callable[[PeerId], bool]
    heard: Callable[[CapabilityName], Sequence[PeerId]]
