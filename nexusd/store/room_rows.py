"""The rows of a room's log, as they are written and as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from nexusd_protocols.identity import PeerId
from nexusd_protocols.ids import MessageId, RoomId

RoomKind = Literal["chat", "edit", "retract", "meta"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRow:
    """A signed message of a room. `position` is given by the store. `reply_to`, `thread_id` and `target` (the id of the
    message by the same sender that this edits or retracts) are '' where there is none, `references` is a JSON array of
    text, `digest` the SHA-256 of `signed`.

    As it is written, `content` is what was signed. As it is read, a chat message has the text of its newest edit and
    when that was made (`edited_at`, unix milliseconds of its sender; 0: never); of one that was retracted there is no
    text, and no later edit brings it back (`retracted_at`). What `RoomLog.versions` gives is as it was signed.
    """

    room: RoomId
    message_id: MessageId
    sender: PeerId
    timestamp: int
    received_at: int
    content: str
    format: str
    reply_to: str = ""
    thread_id: str = ""
    references: str = "[]"
    digest: bytes
    signed: bytes
    position: int = 0
    kind: RoomKind = "chat"
    target: str = ""
    edited_at: int = 0
    retracted_at: int = 0

    @property
    def size(self) -> int:
        """What it counts against PAGE_CHARS."""
        return len(self.content)


_FIELDS: Final = (
    "SELECT m.position, rooms.room, m.message_id, m.sender, m.timestamp, m.received_at, {content}, {format},"
    " m.reply_to, m.thread_id, m.refs, m.digest, m.signed, m.kind, m.target, {edited_at}, {retracted_at}"
)

COLUMNS: Final = _FIELDS.format(
    content="CASE WHEN r.position IS NOT NULL THEN '' ELSE coalesce(e.content, m.content) END",
    format="coalesce(e.format, m.format)",
    edited_at="coalesce(e.timestamp, 0)",
    retracted_at="coalesce(r.timestamp, 0)",
)
"""As history shows it. Needs `m` (room_messages), `rooms` and REVISIONS."""

_REVISION: Final = (
    " LEFT JOIN room_messages AS {name} ON m.kind = 'chat' AND m.leads = 1 AND {name}.position = ("
    "SELECT v.position FROM room_messages AS v WHERE v.leads = 1 AND v.target <> '' AND v.log = m.log"
    " AND v.target = m.message_id AND v.sender = m.sender AND v.kind = '{kind}'"
    " ORDER BY v.timestamp DESC, v.digest DESC LIMIT 1)"
)
REVISIONS: Final = _REVISION.format(name="e", kind="edit") + _REVISION.format(name="r", kind="retract")
"""To each chat message that is shown, its newest edit and retraction."""

REVISED: Final = " JOIN rooms ON rooms.id = m.log" + REVISIONS

ROOM_SELECT: Final = COLUMNS + " FROM room_messages AS m" + REVISED

_AS_SIGNED: Final = _FIELDS.format(content="m.content", format="m.format", edited_at="0", retracted_at="0")
SIGNED_SELECT: Final = _AS_SIGNED + " FROM room_messages AS m JOIN rooms ON rooms.id = m.log"
"""As it was signed."""


def room_row(
    position: int,
    room: str,
    message_id: str,
    sender: str,
    timestamp: int,
    received_at: int,
    content: str,
    format_: str,
    reply_to: str,
    thread_id: str,
    references: str,
    digest: bytes,
    signed: bytes,
    kind: RoomKind,
    target: str,
    edited_at: int,
    retracted_at: int,
) -> RoomRow:
    """A row from the columns of ROOM_SELECT or SIGNED_SELECT."""
    return RoomRow(
        position=position,
        room=RoomId(room),
        message_id=MessageId(message_id),
        sender=PeerId(sender),
        timestamp=timestamp,
        received_at=received_at,
        content=content,
        format=format_,
        reply_to=reply_to,
        thread_id=thread_id,
        references=references,
        digest=digest,
        signed=signed,
        kind=kind,
        target=target,
        edited_at=edited_at,
        retracted_at=retracted_at,
    )
