"""Stored rows, as the doors show them."""

from __future__ import annotations

from typing import Any

import msgspec

from nexusd.services.ports import NameOf
from nexusd.store.events import StoredEvent
from nexusd.store.inbox import DmRow
from nexusd.store.invocations import InvocationRow
from nexusd.store.room_rows import RoomRow
from nexusd_protocols.rpc.schema import DirectMessage, RoomMessage, RoomVersion


def room_message(row: RoomRow, name_of: NameOf) -> RoomMessage:
    """A message of a room's log; in an event it may be an edit, or that a message was taken back."""
    return RoomMessage(
        room=row.room,
        message_id=row.message_id,
        sender=row.sender,
        sender_name=name_of(row.sender),
        timestamp=row.timestamp,
        received_at=row.received_at,
        content=row.content,
        format=row.format,
        reply_to=row.reply_to or None,
        thread_id=row.thread_id or None,
        references=msgspec.json.decode(row.references, type=list[str]),
        edited_at=row.edited_at or None,
        retracted=bool(row.retracted_at) or row.kind == "retract",
        target=row.target or None,
        digest=row.digest.hex(),
        position=row.position,
    )


def room_version(row: RoomRow, name_of: NameOf) -> RoomVersion:
    """A message as it was signed."""
    assert row.kind != "meta"
    return RoomVersion(
        kind=row.kind,
        message_id=row.message_id,
        sender=row.sender,
        sender_name=name_of(row.sender),
        timestamp=row.timestamp,
        received_at=row.received_at,
        content=row.content,
        format=row.format,
        digest=row.digest.hex(),
    )


def direct_message(row: DmRow, name_of: NameOf) -> DirectMessage:
    """A direct message, sent or received."""
    return DirectMessage(
        peer=row.peer,
        direction=row.direction,
        message_id=row.message_id,
        sender=row.sender,
        sender_name=name_of(row.sender),
        timestamp=row.timestamp,
        content=row.content,
        format=row.format,
        status=row.status,
        position=row.position,
    )


def finished_call(row: InvocationRow) -> dict[str, Any]:
    """A call that is over."""
    return {
        "invocation": row.invocation,
        "direction": row.direction,
        "peer": row.peer,
        "capability": row.capability,
        "outcome": row.outcome,
        "inputBytes": row.input_bytes,
        "outputBytes": row.output_bytes,
        "durationMs": row.duration_ms,
    }


def event_view(event: StoredEvent, name_of: NameOf) -> Any:
    """The data of a stored event."""
    match event.row:
        case RoomRow(kind="meta") as row:
            return {"room": row.room, "action": row.content, "sender": row.sender}
        case RoomRow():
            return room_message(event.row, name_of)
        case DmRow():
            return direct_message(event.row, name_of)
        case InvocationRow():
            return finished_call(event.row)
        case None:
            return {"room": event.room}
