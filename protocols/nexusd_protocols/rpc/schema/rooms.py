"""Rooms: membership, messages, history, who is there."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from nexusd_protocols import limits
from nexusd_protocols.rpc.schema.shape import Acting, Format, Page, Result


class RoomParams(Acting, frozen=True, kw_only=True):
    room: str


class Room(Result, frozen=True, kw_only=True):
    room: str
    joined_at: int
    messages: int
    members_online: int


class RoomsList(Result, frozen=True, kw_only=True):
    rooms: list[Room]


class RoomSendParams(Acting, frozen=True, kw_only=True):
    room: str
    content: str
    format: Format = "text/plain"
    reply_to: str | None = None
    thread_id: str | None = None
    references: Annotated[list[str], Meta(max_length=limits.REFERENCES)] = []


class RoomSent(Result, frozen=True, kw_only=True):
    """The message is committed here; `peers` is how many neighbours in the room it was handed to."""

    message_id: str
    cursor: int
    peers: int


class RoomMessage(Result, frozen=True, kw_only=True):
    """A chat message. `sender` is verified: it signed. Everything else is the sender's word: untrusted."""

    room: str
    message_id: str
    sender: str
    sender_name: str | None = None
    timestamp: int
    received_at: int
    content: str
    format: str
    reply_to: str | None = None
    thread_id: str | None = None
    references: list[str] = []
    digest: str
    """SHA-256 of the signed message, hex: its name in the room's history."""
    position: int
    """This daemon's own order; page through history by it."""


class RoomHistoryParams(Acting, frozen=True, kw_only=True):
    """Oldest first. `after` a position reads on from it, `before` one reads what leads up to it, neither the newest."""

    room: str
    after: int | None = None
    before: int | None = None
    limit: Page = 50


class RoomHistory(Result, frozen=True, kw_only=True):
    """`more`: whether another page follows in the direction asked for. `first`/`last`: positions to continue from."""

    messages: list[RoomMessage]
    more: bool
    first: int | None = None
    last: int | None = None


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
