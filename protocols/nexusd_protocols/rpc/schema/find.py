"""Finding agents, rooms and capabilities through the DHT. Whatever text is found is its issuer's own: untrusted."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nexusd_protocols.rpc.schema.payments import PriceView
from nexusd_protocols.rpc.schema.shape import Params, Result

Many = Annotated[int, Meta(ge=1, le=40)]


class FoundPointer(Result, frozen=True, kw_only=True):
    """A signed pointer, verified: what it points to, since when and until when by its issuer's clock."""

    cid: str
    seq: int
    issued_at: int
    expires_at: int


class FindAgentParams(Params, frozen=True, kw_only=True):
    """`peer` is an id, or the last 6 characters or more of one that is known."""

    peer: str


class FoundProfile(Result, frozen=True, kw_only=True):
    """What an agent published of itself: untrusted."""

    name: str
    description: str
    agent_type: str
    capabilities: list[str]
    role: str
    transports: list[str]
    created_at: int
    updated_at: int


class FoundRoom(Result, frozen=True, kw_only=True):
    """A room of which a copy is kept."""

    room: str
    retention: str


class FoundStorage(Result, frozen=True, kw_only=True):
    """What an agent published that it keeps for others: untrusted. `rooms` are 64 at most, `references` whether it
    keeps what their messages refer to, `total_bytes` and `room_bytes` (of one room) how much of that."""

    rooms: list[FoundRoom]
    total_bytes: int
    room_bytes: int
    references: bool
    pointer: FoundPointer


class AgentFound(Result, frozen=True, kw_only=True):
    """`addresses` are where the agent may be dialled, in the word of others and its own. `missing` says why there is no
    profile. `storage` is there if it keeps rooms for others."""

    peer_id: str
    connected: bool
    here: bool = False
    """Whether it is this node itself."""
    addresses: list[str]
    pointer: FoundPointer | None = None
    profile: FoundProfile | None = None
    storage: FoundStorage | None = None
    missing: str = ""


class FindRoomParams(Params, frozen=True, kw_only=True):
    """`limit`: members at most."""

    room: str
    limit: Many = 20


class FoundMember(Result, frozen=True, kw_only=True):
    """One who published that it is in the room, and what it says of the room: untrusted. `checkpoint` points to the
    history that it has. `missing` says why there is no description."""

    peer_id: str
    name: str | None = None
    connected: bool
    here: bool = False
    pointer: FoundPointer
    room_name: str = ""
    description: str = ""
    members: int | None = None
    created_at: int | None = None
    retention: str = ""
    checkpoint: FoundPointer | None = None
    missing: str = ""


class RoomFound(Result, frozen=True, kw_only=True):
    """The connected first, then those who said it last. `unproven` counts providers without a valid pointer."""

    room: str
    members: list[FoundMember]
    unproven: int = 0


class FindCapabilityParams(Params, frozen=True, kw_only=True):
    """`limit`: providers at most."""

    name: str
    limit: Many = 20


class FoundProvider(Result, frozen=True, kw_only=True):
    """One who offers the capability, in its own words: untrusted. `confirmed` if it said just now that a call would be
    taken; else it does not serve the handshake, and only its pointer, or its presence in a room, says so."""

    peer_id: str
    name: str | None = None
    connected: bool
    here: bool = False
    confirmed: bool
    free: bool | None = None
    """None: it does not say."""
    prices: list[PriceView] = []
    """What it may be had for: one of them."""
    pricing: str = ""
    description: str = ""
    streaming: bool | None = None
    max_input_bytes: int | None = None
    max_duration_ms: int | None = None
    max_concurrent: int | None = None
    rate_limit: str = ""
    queue_ms: int | None = None
    """Estimated wait before a new call starts."""
    pointer: FoundPointer | None = None
    source: Literal["pointer", "presence"] = "pointer"


class CapabilityFound(Result, frozen=True, kw_only=True):
    """Best first: confirmed, then cheap, then quick, then fresh. The rest counts who was left out: `unreachable`,
    `unavailable` (said that it does not take calls, or does not offer it), `unproven` (no valid pointer, and it could
    not be asked)."""

    name: str
    providers: list[FoundProvider]
    unreachable: int = 0
    unavailable: int = 0
    unproven: int = 0
