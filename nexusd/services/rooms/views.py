"""What a room's parts know, as the doors and the store want it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import cast

import msgspec

from nexusd.host.ports import TopicStats
from nexusd.store.room_rows import RoomKind, RoomRow
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.room import payloads
from nexusd_protocols.room.presence import Member
from nexusd_protocols.rpc.schema import RoomMember, RoomStats


def room_member(member: Member) -> RoomMember:
    """Somebody in a room. What it says of itself is untrusted."""
    return RoomMember(
        agent=member.agent,
        name=member.name or None,
        agent_type=member.agent_type or None,
        status=member.status,
        capabilities=list(member.capabilities),
        last_seen=member.last_seen,
    )


def room_stats(room: RoomId, stats: TopicStats) -> RoomStats:
    """The figures of the room's topic as of now."""
    counters = stats.counters
    return RoomStats(
        room=room,
        peers=stats.peers,
        mesh=len(stats.mesh),
        published=counters.published,
        delivered=counters.delivered,
        duplicates=counters.duplicates,
        rejected=counters.rejected,
        ignored=counters.ignored,
        throttled=counters.throttled,
        forwarded=counters.forwarded,
        dropped=stats.dropped,
        bytes_received=counters.bytes_received,
        bytes_sent=counters.bytes_sent,
        offers_received=counters.ihave_ids_received,
        offers_sent=counters.ihave_ids_sent,
        requests_sent=counters.iwant_ids_sent,
        requests_answered=counters.iwant_messages_sent,
        promises_broken=counters.promises_broken,
    )


def stored(room: RoomId, message: SignedMessage, raw: bytes, read: wire.RoomMessage, now: int) -> RoomRow:
    """A message of a room's history as it is kept. `raw` is the message's canonical encoding."""
    payload = read.payload
    reply_to = thread_id = ""
    format_: str = "text/plain"
    references: Sequence[str] = read.references
    match payload:
        case payloads.Chat():
            content, format_ = payload.content, payload.format
            reply_to, thread_id = payload.reply_to or "", payload.thread_id or ""
        case payloads.Edit():
            content, format_ = payload.content, payload.format
        case payloads.Meta():
            content = payload.action
            references = (payload.room_manifest,) if payload.room_manifest else ()
        case _:
            content = ""
    return RoomRow(
        room=room,
        message_id=read.message_id,
        sender=read.sender,
        timestamp=read.timestamp,
        received_at=now,
        content=content,
        format=format_,
        reply_to=reply_to,
        thread_id=thread_id,
        references=msgspec.json.encode(references).decode(),
        digest=hashlib.sha256(raw).digest(),
        signed=raw,
        kind=cast("RoomKind", read.kind),
        target=read.target,
    )
