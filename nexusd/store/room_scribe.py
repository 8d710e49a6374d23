"""Writing into logs. One scribe for each function that `Database.write` runs: it keeps messages, items, sums, hours,
words and counts of a log in step, and writes what is common to many messages once, at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import apsw

from nexusd.store.event_log import add_event
from nexusd.store.paging import Appended
from nexusd.store.room_rows import ROOM_SELECT, RoomKind, RoomRow, room_row
from nexusd.store.room_search import digest_word, log_word
from nexusd.store.room_spans import add_to_spans, drop_from_spans, take_from_spans
from nexusd_protocols.chatsync.index import Key
from nexusd_protocols.history.bounds import DAY_HOURS, hour_of
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import RoomId

EVENTS: Final[dict[RoomKind, str]] = {"chat": "message", "edit": "edited", "retract": "retracted", "meta": "meta"}
"""The type of the event of each kind of message."""

FIND: Final = "SELECT position FROM room_items WHERE log = ? AND timestamp = ? AND digest = ?"
_PLACE: Final = "SELECT position, kind, message_id, sender, target, timestamp, digest FROM room_messages AS m"
LEADER: Final = _PLACE + " WHERE log = ? AND message_id = ? AND sender = ? AND leads = 1"
FOLLOWER: Final = _PLACE + " WHERE log = ? AND message_id = ? AND sender = ? AND leads = 0 ORDER BY digest LIMIT 1"
REVISED: Final = (
    "SELECT 1 FROM room_messages WHERE log = ? AND target = ? AND sender = ? AND leads = 1 AND target <> '' LIMIT 1"
)
SHOWN: Final = ROOM_SELECT + " WHERE m.position = ?"
OLDEST: Final = (
    "SELECT timestamp, digest, position FROM room_items WHERE log = ? AND timestamp < ?"
    " ORDER BY timestamp, digest LIMIT ?"
)
_INSERT: Final = (
    "INSERT INTO room_messages (log, kind, leads, message_id, sender, timestamp, received_at, content, format,"
    " reply_to, thread_id, refs, target, digest, signed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class _Place(NamedTuple):
    """What of a stored message says how it bears on the others."""

    position: int
    kind: RoomKind
    message_id: str
    sender: str
    target: str
    timestamp: int
    digest: bytes


@dataclass(slots=True)
class _Log:
    """What is to be written of a log at the end."""

    id: int
    messages: int = 0
    bytes: int = 0
    added: list[Key] = field(default_factory=list)
    hours: set[int] = field(default_factory=set)
    reworded: set[int] = field(default_factory=set)


@contextmanager
def scribe(connection: apsw.Connection) -> Iterator[Scribe]:
    """Write into logs. Call it inside `Database.write`."""
    writing = Scribe(connection)
    yield writing
    writing.close()


class Scribe:
    """Of all messages of one sender with one id the one with the lowest digest leads: it is shown, edits, retracts. The
    others are kept, and nothing more. So it does not matter in which order they come."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._logs: dict[tuple[AgentId, RoomId], _Log] = {}

    def append(self, agent: AgentId, row: RoomRow, now: int) -> Appended | None:
        """Add a message, with its event if it leads (else the cursor is 0). None if it is known, or buried."""
        log = self._log(agent, row.room)
        if self._connection.execute(FIND, (log.id, row.timestamp, row.digest)).get is not None:
            return None
        leader = self._place(LEADER, log.id, row.message_id, row.sender)
        leads = leader is None or row.digest < leader.digest
        if leader is not None and leads:
            self._connection.execute("UPDATE room_messages SET leads = 0 WHERE position = ?", (leader.position,))
            self._unlead(log, leader)
        position = self._insert(log, row, leads)
        if not leads:
            self._add_words(log, position, row.digest, "")
            return Appended(position, 0)
        place = _Place(position, row.kind, row.message_id, row.sender, row.target, row.timestamp, row.digest)
        self._lead(log, place, row.content)
        cursor = add_event(
            self._connection,
            agent=agent,
            kind="room",
            type_=EVENTS[row.kind],
            at=now,
            room=row.room,
            peer=row.sender,
            ref=position,
        )
        return Appended(position, cursor)

    def bury(
        self, agent: AgentId, room: RoomId, timestamp: int, digest: bytes, reason: str, now: int, *, held: bool = True
    ) -> bool:
        """Leave a tombstone in the place of a message, which goes if it was here; not `held`: then it stays as it is.
        Returns whether there is one more now."""
        log = self._log(agent, room)
        position: int | None = self._connection.execute(FIND, (log.id, timestamp, digest)).get
        if position is None:
            log.added.append(Key(timestamp, digest))
        elif position and held:
            self._remove(log, position)
        else:
            return False
        self._connection.execute(
            "INSERT OR REPLACE INTO room_items (log, timestamp, digest, position, shown, reason, buried_at)"
            " VALUES (?, ?, ?, 0, 0, ?, ?)",
            (log.id, timestamp, digest, reason, now),
        )
        return True

    def forgive(self, agent: AgentId, room: RoomId, timestamp: int, digest: bytes, reason: str) -> bool:
        """Take a tombstone of that reason away, so that the message may come. Returns whether there was one."""
        log = self._log(agent, room)
        self._connection.execute(
            "DELETE FROM room_items WHERE log = ? AND timestamp = ? AND digest = ? AND position = 0 AND reason = ?",
            (log.id, timestamp, digest, reason),
        )
        if not self._connection.changes():
            return False
        take_from_spans(self._connection, log.id, Key(timestamp, digest))
        return True

    def mend(self, agent: AgentId, room: RoomId, timestamp: int, digest: bytes, signed: bytes) -> bool:
        """Put what was signed in the place of damaged bytes. Whoever calls it has made sure that the digest is that of
        `signed`. Returns whether there was a place."""
        log = self._log(agent, room)
        position: int | None = self._connection.execute(FIND, (log.id, timestamp, digest)).get
        # what was signed counts with its own length already, whatever became of it
        self._connection.execute(
            "UPDATE room_messages SET signed = ? WHERE position = ? AND digest = ?", (signed, position or 0, digest)
        )
        if not self._connection.changes():
            return False
        log.hours.add(hour_of(timestamp))  # its batches may have been made of the damaged bytes
        return True

    def expire(self, agent: AgentId, room: RoomId, horizon: int, limit: int) -> int:
        """Forget what is dated before `horizon`, tombstones too, the oldest first and at most `limit`. Returns how
        many."""
        log = self._log(agent, room)
        self._connection.execute("UPDATE rooms SET horizon = max(horizon, ?) WHERE id = ?", (horizon, log.id))
        rows: list[Any] = self._connection.execute(OLDEST, (log.id, horizon, limit)).fetchall()
        for _, _, position in rows:
            if position:
                self._remove(log, position)
        if rows:
            timestamp, digest, _ = rows[-1]
            self._connection.execute(
                "DELETE FROM room_items WHERE log = ? AND (timestamp, digest) <= (?, ?)", (log.id, timestamp, digest)
            )
            drop_from_spans(self._connection, log.id, Key(timestamp, digest + b"\0"))
        if len(rows) < limit:
            self._forget_hours(log, hour_of(horizon))
        return len(rows)

    def close(self) -> None:
        """Write what was put off."""
        for log in self._logs.values():
            for position in sorted(log.reworded):  # the index takes what ascends together, and all else one by one
                self._reword(log, position)
            add_to_spans(self._connection, log.id, log.added)
            self._connection.executemany(
                "INSERT INTO room_hours (log, hour, changes) VALUES (?, ?, 1)"
                " ON CONFLICT (log, hour) DO UPDATE SET changes = changes + 1",
                [(log.id, hour) for hour in sorted(log.hours)],
            )
            if log.messages or log.bytes:
                self._connection.execute(
                    "UPDATE rooms SET messages = messages + ?, bytes = bytes + ? WHERE id = ?",
                    (log.messages, log.bytes, log.id),
                )
        self._logs.clear()

    # --- inside -----------------------------------------------------------------------------------------------------
    def _log(self, agent: AgentId, room: RoomId) -> _Log:
        log = self._logs.get((agent, room))
        if log is None:
            find = "SELECT id FROM rooms WHERE agent = ? AND room = ?"
            number = self._connection.execute(find, (agent, room)).get
            if number is None:
                self._connection.execute("INSERT INTO rooms (agent, room) VALUES (?, ?)", (agent, room))
                number = self._connection.last_insert_rowid()
            log = self._logs[agent, room] = _Log(int(number))
        return log

    def _place(self, query: str, *bindings: Any) -> _Place | None:
        row: Any = self._connection.execute(query, bindings).fetchone()
        return None if row is None else _Place(*row)

    def _insert(self, log: _Log, row: RoomRow, leads: bool) -> int:
        self._connection.execute(
            _INSERT,
            (
                log.id,
                row.kind,
                leads,
                row.message_id,
                row.sender,
                row.timestamp,
                row.received_at,
                row.content,
                row.format,
                row.reply_to,
                row.thread_id,
                row.references,
                row.target,
                row.digest,
                row.signed,
            ),
        )
        position = int(self._connection.last_insert_rowid())
        self._connection.execute(
            "INSERT INTO room_items (log, timestamp, digest, position, shown) VALUES (?, ?, ?, ?, ?)",
            (log.id, row.timestamp, row.digest, position, leads and row.kind == "chat"),
        )
        log.added.append(Key(row.timestamp, row.digest))
        log.hours.add(hour_of(row.timestamp))
        log.bytes += len(row.signed)
        return position

    def _remove(self, log: _Log, position: int) -> None:
        """Take a message out, not its item; the next of its sender and id leads then."""
        row: Any = self._connection.execute(
            "DELETE FROM room_messages WHERE position = ? RETURNING position, kind, message_id, sender, target,"
            " timestamp, digest, leads, length(signed)",
            (position,),
        ).fetchone()
        place, leads, size = _Place(*row[:-2]), row[-2], row[-1]
        log.bytes -= size
        log.hours.add(hour_of(place.timestamp))
        self._drop_words(place.position)
        if not leads:
            return
        self._unlead(log, place)
        follower = self._place(FOLLOWER, log.id, place.message_id, place.sender)
        if follower is not None:
            self._connection.execute("UPDATE room_messages SET leads = 1 WHERE position = ?", (follower.position,))
            self._show(log, follower, True)
            self._lead(log, follower)

    def _lead(self, log: _Log, place: _Place, content: str | None = None) -> None:
        """Let a message take effect. `content` is its own text if it is new, and so has no words yet."""
        if place.kind != "chat":
            if content is not None:
                self._add_words(log, place.position, place.digest, "")
            self._index_target(log, place)
            return
        log.messages += 1
        if content is None:
            log.reworded.add(place.position)
        elif self._connection.execute(REVISED, (log.id, place.message_id, place.sender)).get:
            self._add_words(log, place.position, place.digest, self._shown_text(place.position))
        else:
            self._add_words(log, place.position, place.digest, content)

    def _unlead(self, log: _Log, place: _Place) -> None:
        """Undo the effect of a message that leads no more, or is here no more."""
        if place.kind != "chat":
            self._index_target(log, place)
            return
        log.messages -= 1
        self._show(log, place, False)
        log.reworded.add(place.position)

    def _show(self, log: _Log, place: _Place, shown: bool) -> None:
        self._connection.execute(
            "UPDATE room_items SET shown = ? WHERE log = ? AND timestamp = ? AND digest = ?",
            (shown and place.kind == "chat", log.id, place.timestamp, place.digest),
        )

    def _index_target(self, log: _Log, place: _Place) -> None:
        target = self._place(LEADER, log.id, place.target, place.sender) if place.target else None
        if target is not None and target.kind == "chat":
            log.reworded.add(target.position)

    def _reword(self, log: _Log, position: int) -> None:
        """Let a message be found by what is shown of it now."""
        row: Any = self._connection.execute(
            "SELECT digest, kind = 'chat' AND leads FROM room_messages WHERE position = ?", (position,)
        ).fetchone()
        if row is not None:
            self._drop_words(position)
            self._add_words(log, position, row[0], self._shown_text(position) if row[1] else "")

    def _shown_text(self, position: int) -> str:
        row: Any = self._connection.execute(SHOWN, (position,)).fetchone()
        return room_row(*row).content

    def _add_words(self, log: _Log, position: int, digest: bytes, content: str) -> None:
        self._connection.execute(
            "INSERT INTO room_words (rowid, log, digest, content) VALUES (?, ?, ?, ?)",
            (position, log_word(log.id), digest_word(digest), content),
        )

    def _drop_words(self, position: int) -> None:
        self._connection.execute("DELETE FROM room_words WHERE rowid = ?", (position,))

    def _forget_hours(self, log: _Log, hour: int) -> None:
        self._connection.execute("DELETE FROM room_hours WHERE log = ? AND hour < ?", (log.id, hour))
        self._connection.execute("DELETE FROM room_batches WHERE log = ? AND hour < ?", (log.id, hour))
        self._connection.execute("DELETE FROM room_days WHERE log = ? AND day < ?", (log.id, hour // DAY_HOURS))
        log.hours = {each for each in log.hours if each >= hour}
