"""Signed messages for rooms, as their authors publish them."""

from __future__ import annotations

import hashlib

from nexusd_protocols.identity import Signer
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.room.topics import room_topic
from tests.harness.people import ALICE

LAB = RoomId("lab")
HOUR = 488_888  # 2025-10-09 08:00 UTC
HOUR_MS = 3_600_000
AT = HOUR * HOUR_MS


def said(
    content: str,
    *,
    timestamp: int = AT,
    author: Signer = ALICE,
    room: str = LAB,
    message_id: str | None = None,
    seqno: int = 1,
) -> SignedMessage:
    """A chat message. Its id follows from what it says, unless it is named."""
    topic = room_topic(RoomId(room))
    data = wire.chat(
        topic=topic,
        sender=author.peer_id,
        message_id=message_id or f"m-{hashlib.sha256(content.encode()).hexdigest()[:16]}",
        timestamp=timestamp,
        content=content,
    )
    return SignedMessage.sign(author, topic, data, seqno)
