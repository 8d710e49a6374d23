"""What a room's parts know, as the doors and the store want it."""

from __future__ import annotations

import msgspec

from nexusd.host.ports import TopicStats
from nexusd.store.room_log import RoomRow
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
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


def stored(room: RoomId, message: SignedMessage, read: wire.RoomMessage, now: int) -> RoomRow:
    """A chat message as it is kept."""
    chat = read.payload
    assert isinstance(chat, wire.Chat)
    return RoomRow(
        room=room,
        message_id=read.message_id,
        sender=read.sender,
        timestamp=read.timestamp,
        received_at=now,
        content=chat.content,
        format=chat.format,
        reply_to=chat.reply_to or "",
        thread_id=chat.thread_id or "",
        references=msgspec.json.encode(read.references).decode(),
        digest=message.digest,
        signed=message.encode(),
    )
