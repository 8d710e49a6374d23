"""Rooms: membership, messages, history, who is there."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.rpc.schema.shape import Acting, Format, Result


class RoomParams(Acting, frozen=True, kw_only=True):
    room: str


class RoomCreateParams(Acting, frozen=True, kw_only=True):
    """`retention` is how long this daemon keeps the room's log; what is not said elsewhere is kept for ever."""

    room: str
    description: Annotated[str, Meta(max_length=limits.DESCRIPTION_CHARS)] = ""
    retention: RetentionClass = "archival"


class RoomMirrorParams(Acting, frozen=True, kw_only=True):
    """Keep a copy of a room for others, without being a member; `off` ends it, and what was kept stays."""

    room: str
    retention: RetentionClass = "mirrored"
    off: bool = False


class Room(Result, frozen=True, kw_only=True):
    """A room that was joined, or of which a copy is kept for others (`mirror`)."""

    room: str
    joined_at: int
    messages: int
    members_online: int
    mirror: bool = False
    description: str = ""
    retention: RetentionClass = "archival"


class RoomsList(Result, frozen=True, kw_only=True):
    rooms: list[Room]


class RoomSendParams(Acting, frozen=True, kw_only=True):
    room: str
    content: str
    format: Format = "text/plain"
    reply_to: str | None = None
    thread_id: str | None = None
    references: Annotated[list[str], Meta(max_length=limits.REFERENCES)] = []
    anyway: bool = False
    """Send it though it holds what looks like key material, where the policy leaves that to the sender."""


class RoomSent(Result, frozen=True, kw_only=True):
    """The message is committed here; `peers` is how many neighbours in the room it was handed to."""

    message_id: str
    cursor: int
    peers: int


class RoomStatsParams(Acting, frozen=True, kw_only=True):
    """Without `room`: all rooms that were joined."""

    room: str | None = None


class RoomStats(Result, frozen=True, kw_only=True):
    """How messages fare in a room: `peers` are subscribed, `mesh` of them exchange messages with this daemon directly.

    The rest counts since the room was joined, or the daemon started. Of messages by others `delivered` were new and
    valid, `duplicates` known, `rejected` wrongly signed or no messages, `ignored` not acceptable to this daemon, and
    `throttled` one too many at a time. `published` are this daemon's own, `forwarded` all copies sent, `dropped` the
    copies that a slow peer did not get. Bytes are those of messages alone. Offers (IHAVE) and requests (IWANT) are
    counted in messages; a promise is broken by a peer that offered a message and did not send it.
    """

    room: str
    peers: int
    mesh: int
    published: int
    delivered: int
    duplicates: int
    rejected: int
    ignored: int
    throttled: int
    forwarded: int
    dropped: int
    bytes_received: int
    bytes_sent: int
    offers_received: int
    offers_sent: int
    requests_sent: int
    requests_answered: int
    promises_broken: int


class RoomsStats(Result, frozen=True, kw_only=True):
    rooms: list[RoomStats]


class RoomMember(Result, frozen=True, kw_only=True):
    """`status` is offline once 120 s passed without a presence message."""

    agent: str
    name: str | None
    agent_type: str | None
    status: Literal["online", "idle", "busy", "offline"]
    capabilities: list[str]
    last_seen: int


class RoomMembers(Result, frozen=True, kw_only=True):
    members: list[RoomMember]
