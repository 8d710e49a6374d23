"""Rows to put into a store."""

import hashlib
from dataclasses import replace
from typing import Any

from nexusd.store.invocations import InvocationRow
from nexusd.store.room_rows import RoomRow
from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import CapabilityName, MessageId, RoomId
from tests.unit.store.people import BOB

LAB = RoomId("lab")
HALL = RoomId("hall")


def message(
    number: int, *, room: RoomId = LAB, sender: PeerId = BOB, content: str = "", salt: str = "", **fields: Any
) -> RoomRow:
    """`salt` makes another message of the same sender and id."""
    signed = f"signed {room} {sender} {number}{salt}".encode()
    return RoomRow(
        room=room,
        message_id=MessageId(f"m{number}"),
        sender=sender,
        timestamp=1000 + number,
        received_at=2000 + number,
        content=content or f"text {number}",
        format="text/plain",
        digest=hashlib.sha256(signed).digest(),
        signed=signed,
        **fields,
    )


def edit(number: int, of: RoomRow, content: str, *, sender: PeerId = BOB) -> RoomRow:
    return message(number, room=of.room, sender=sender, content=content, kind="edit", target=of.message_id)


def retract(number: int, of: RoomRow, *, sender: PeerId = BOB) -> RoomRow:
    row = message(number, room=of.room, sender=sender, kind="retract", target=of.message_id)
    return replace(row, content="")


def at(timestamp: int, row: RoomRow) -> RoomRow:
    """The same said at another time; then it is another message."""
    signed = row.signed + f" at {timestamp}".encode()
    return replace(row, timestamp=timestamp, signed=signed, digest=hashlib.sha256(signed).digest())


def invocation(number: int, **fields: Any) -> InvocationRow:
    given = {
        "invocation": f"i{number}",
        "direction": "in",
        "peer": BOB,
        "capability": CapabilityName("upper"),
        "started_at": 1000 + number,
        "duration_ms": 10,
        "input_bytes": 3,
        "output_bytes": 5,
        "outcome": "ok",
    }
    return InvocationRow(**(given | fields))
