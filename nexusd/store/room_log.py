"""The log of each room: what was said in it.

Each message is kept as it was signed (canonical protobuf, named by its SHA-256) beside the fields that are shown, so
that history can be verified and handed on without trusting whoever stored it. Room order is (timestamp, digest), the
same on every host that holds the same messages.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import apsw

from nexusd.store.database import Database
from nexusd.store.paging import Appended, Page, take_page
from nexusd.store.room_index import SqlIndex
from nexusd.store.room_rows import COLUMNS, REVISED, REVISIONS, SIGNED_SELECT, RoomRow, room_row
from nexusd.store.room_scribe import scribe
from nexusd.store.room_search import match_digest, match_in, search_terms
from nexusd.store.room_spans import END
from nexusd_protocols.chatsync.index import Index, Key
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import MessageId, RoomId

T = TypeVar("T")

EXPIRED_AT_ONCE: Final = 500
"""Messages forgotten in one commit: some 50 ms in which nothing else is written."""
VERSIONS: Final = 500
"""Texts of one message that are listed."""

_IN_ROOM: Final = (
    " FROM rooms CROSS JOIN room_items AS i ON i.log = rooms.id AND i.shown = 1"
    " CROSS JOIN room_messages AS m ON m.position = i.position"
)
_LEADING: Final = " FROM rooms CROSS JOIN room_messages AS m ON m.log = rooms.id AND m.leads = 1 AND m.kind = 'chat'"
_ORDER: Final = " ORDER BY m.timestamp, m.digest LIMIT ?"
_OF: Final = " WHERE rooms.agent = ? AND rooms.room = ?"


def _history(source: str, key: str, also: str = "") -> tuple[str, str]:
    """Forward and backward, between two places."""
    within = f" AND ({key}) > (?, ?) AND ({key}) < (?, ?)"
    select = COLUMNS + source + REVISIONS + _OF + also + within
    forward = key.replace(",", " ASC,") + " ASC"
    backward = key.replace(",", " DESC,") + " DESC"
    return f"{select} ORDER BY {forward} LIMIT ?", f"{select} ORDER BY {backward} LIMIT ?"


_KEY: Final = "m.timestamp, m.digest"
HISTORY: Final = _history(_IN_ROOM, "i.timestamp, i.digest")
BY_SENDER: Final = _history(_LEADING, _KEY, " AND m.sender = ?")
IN_THREAD: Final = _history(_LEADING, _KEY, " AND m.thread_id = ? AND m.thread_id <> ''")
BY_SENDER_IN_THREAD: Final = _history(_LEADING, _KEY, " AND m.thread_id = ? AND m.thread_id <> '' AND +m.sender = ?")

REFERRING: Final = (
    "SELECT DISTINCT rooms.room"
    + _LEADING
    + REVISIONS
    + " WHERE rooms.agent = ? AND m.sender = ? AND r.position IS NULL AND instr(m.refs, ?) LIMIT ?"
)

PLACE: Final = (
    "SELECT m.timestamp, m.digest FROM room_messages AS m JOIN rooms ON rooms.id = m.log"
    " WHERE m.position = ? AND rooms.agent = ? AND rooms.room = ?"
)
SEARCH: Final = (
    COLUMNS
    + " FROM room_words CROSS JOIN room_messages AS m ON m.position = room_words.rowid"
    + REVISED
    + " WHERE room_words MATCH ? AND room_words.rowid < ? ORDER BY room_words.rowid DESC LIMIT ?"
)
_LEADING_OF: Final = SIGNED_SELECT + _OF + " AND m.message_id = ? AND m.leads = 1"
_FOLLOWING_OF: Final = SIGNED_SELECT + _OF + " AND m.message_id = ? AND m.leads = 0"
LEADING_OF: Final = _LEADING_OF + _ORDER
FOLLOWING_OF: Final = _FOLLOWING_OF + _ORDER
_BY: Final = " AND m.sender = ?"
LEADING_BY: Final = _LEADING_OF + _BY + _ORDER
FOLLOWING_BY: Final = _FOLLOWING_OF + _BY + _ORDER
REVISIONS_OF: Final = SIGNED_SELECT + _OF + " AND m.target = ? AND m.target <> '' AND m.leads = 1" + _BY + _ORDER
SIGNED: Final = (
    "SELECT m.signed FROM room_words CROSS JOIN room_messages AS m ON m.position = room_words.rowid AND m.digest = ?2"
    " JOIN rooms ON rooms.id = m.log WHERE room_words MATCH ?1 AND rooms.agent = ?3 AND rooms.room = ?4"
)
SIGNED_AT: Final = (
    "SELECT m.signed FROM rooms CROSS JOIN room_items AS i ON i.log = rooms.id AND i.timestamp = ? AND i.digest = ?"
    " CROSS JOIN room_messages AS m ON m.position = i.position WHERE rooms.agent = ? AND rooms.room = ?"
)

KNOWN: Final = (
    "SELECT 1 FROM rooms CROSS JOIN room_items AS i ON i.log = rooms.id AND i.timestamp = ? AND i.digest = ?"
    " WHERE rooms.agent = ? AND rooms.room = ?"
)
BURIED_FOR: Final = (
    "SELECT i.timestamp, i.digest FROM rooms CROSS JOIN room_items AS i ON i.log = rooms.id AND i.position = 0"
    " WHERE rooms.agent = ? AND rooms.room = ? AND i.reason = ?"
)
MEASURE: Final = (
    "SELECT bytes, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'room_messages'), 0) FROM rooms"
    " WHERE agent = ? AND room = ?"
)
TOMBSTONES: Final = (
    "SELECT count(*) FROM rooms CROSS JOIN room_items AS i ON i.log = rooms.id AND i.position = 0"
    " WHERE rooms.agent = ? AND rooms.room = ?"
)


class RoomLog:
    """Each agent's logs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- writing ----------------------------------------------------------------------------------------------------
    async def append(self, agent: AgentId, row: RoomRow, *, now: int) -> Appended | None:
        """Add a message to the agent's log of `row.room`, with its event. None if that digest is known, or buried.

        Two messages with one sender and id are both kept, and the one with the lower digest is shown: the other has
        no event, and the cursor 0. `row.position` is ignored."""
        (appended,) = await self.append_many([(agent, row)], now=now)
        return appended

    async def append_many(self, rows: Iterable[tuple[AgentId, RoomRow]], *, now: int) -> list[Appended | None]:
        """Add many messages at once, all or none of them on disk: for each what `append` would return."""
        batch = tuple(rows)

        def write(connection: apsw.Connection) -> list[Appended | None]:
            with scribe(connection) as writing:
                return [writing.append(agent, row, now) for agent, row in batch]

        return await self._database.write(write)

    async def bury(
        self, agent: AgentId, room: RoomId, items: Sequence[tuple[int, bytes]], reason: str, *, now: int
    ) -> None:
        """Leave tombstones in the places (timestamp, digest) of messages that are to go, so that nobody brings them
        again. What is buried stays so."""

        def write(connection: apsw.Connection) -> None:
            with scribe(connection) as writing:
                for timestamp, digest in items:
                    writing.bury(agent, room, timestamp, digest, reason, now)

        await self._database.write(write)

    async def refuse(
        self, agent: AgentId, room: RoomId, items: Sequence[tuple[int, bytes]], reason: str, *, now: int
    ) -> int:
        """Leave tombstones in the places (timestamp, digest) of messages that were not taken, and return how many.
        What is here stays: it was taken once, and whoever brings it again does not take it away."""

        def write(connection: apsw.Connection) -> int:
            with scribe(connection) as writing:
                return sum(
                    writing.bury(agent, room, timestamp, digest, reason, now, held=False) for timestamp, digest in items
                )

        return await self._database.write(write)

    async def mend(self, agent: AgentId, room: RoomId, items: Sequence[tuple[int, bytes, bytes]]) -> int:
        """Put (timestamp, digest, signed) in the places of what was found damaged, and return how many had one."""

        def write(connection: apsw.Connection) -> int:
            with scribe(connection) as writing:
                return sum(writing.mend(agent, room, *item) for item in items)

        return await self._database.write(write)

    async def forgive(self, agent: AgentId, room: RoomId, reason: str) -> int:
        """Take all tombstones of that reason away, and return how many: what was refused may come now. Reads all that
        is known of the room; in many commits, and what a crash leaves stays buried."""

        def find(connection: apsw.Connection) -> list[tuple[int, bytes]]:
            return list(connection.execute(BURIED_FOR, (agent, room, reason)))

        def write(connection: apsw.Connection, part: list[tuple[int, bytes]]) -> int:
            with scribe(connection) as writing:
                return sum(writing.forgive(agent, room, timestamp, digest, reason) for timestamp, digest in part)

        found = await self._database.read(find)
        forgiven = 0
        for start in range(0, len(found), EXPIRED_AT_ONCE):
            forgiven += await self._database.write(partial(write, part=found[start : start + EXPIRED_AT_ONCE]))
        return forgiven

    async def expire(self, agent: AgentId, room: RoomId, horizon: int) -> int:
        """Forget all that is dated before `horizon` (unix milliseconds): messages, tombstones, batches. Returns how
        many items went. In many commits, the oldest first; what a crash leaves goes the next time."""

        def write(connection: apsw.Connection) -> int:
            with scribe(connection) as writing:
                return writing.expire(agent, room, horizon, EXPIRED_AT_ONCE)

        total = 0
        while True:
            expired = await self._database.write(write)
            total += expired
            if expired < EXPIRED_AT_ONCE:
                return total

    # --- reading ----------------------------------------------------------------------------------------------------
    async def history(
        self,
        agent: AgentId,
        room: RoomId,
        *,
        after: int | None = None,
        before: int | None = None,
        since: int | None = None,
        until: int | None = None,
        author: PeerId | None = None,
        thread: str | None = None,
        limit: int,
    ) -> Page[RoomRow]:
        """A page of the chat, in room order: the first messages behind the one at position `after` (0: from the
        beginning), or the last ones before the one at `before`, or the newest. `since` and `until` are dates, the
        second not included. Raises LookupError if there is no message at one of the positions."""
        if limit < 1:
            raise ValueError("a page has at least one row")
        (forward, backward), also = _filtered(author, thread)

        def read(connection: apsw.Connection) -> Page[RoomRow]:
            lower, upper = Key(-1 if since is None else since, b""), END if until is None else Key(until, b"")
            if after:
                lower = max(lower, _place(connection, agent, room, after))
            if before is not None:
                upper = min(upper, _place(connection, agent, room, before))
            query = backward if after is None else forward
            page = take_page(
                connection.execute(query, (agent, room, *also, *lower, *upper, limit + 1)), limit, room_row
            )
            if after is None:
                page.rows.reverse()
            return page

        return await self._database.read(read)

    async def search(
        self, agent: AgentId, room: RoomId, query: str, *, limit: int, before: int | None = None
    ) -> Page[RoomRow]:
        """A page of the messages whose text, as it is shown now, has all the words of a query, the latest to arrive
        last: the newest, or those that came before position `before`. Raises ValueError for a query without words, or
        too long a one."""
        if limit < 1:
            raise ValueError("a page has at least one row")
        terms = search_terms(query)

        def read(connection: apsw.Connection) -> Page[RoomRow]:
            log = connection.execute("SELECT id FROM rooms WHERE agent = ? AND room = ?", (agent, room)).get
            match = match_in(int(log or 0), terms)
            rows = connection.execute(SEARCH, (match, END.timestamp if before is None else before, limit + 1))
            page = take_page(rows, limit, room_row)
            page.rows.reverse()
            return page

        return await self._database.read(read)

    async def versions(
        self, agent: AgentId, room: RoomId, message_id: MessageId, *, sender: PeerId | None = None
    ) -> list[RoomRow]:
        """All that is kept of a message, each as it was signed, in room order: what was said under this id (by one
        `sender`, or by whoever did; the leading one of each first), and its senders' edits and retractions. At most
        VERSIONS; whoever is not asked about takes none of them."""
        queries, by = ((LEADING_OF, FOLLOWING_OF), ()) if sender is None else ((LEADING_BY, FOLLOWING_BY), (sender,))

        def read(connection: apsw.Connection) -> list[RoomRow]:
            found: list[RoomRow] = []
            for query in queries:
                rows = connection.execute(query, (agent, room, message_id, *by, VERSIONS - len(found)))
                found += [room_row(*columns) for columns in rows]
            senders = dict.fromkeys(row.sender for row in found if row.kind == "chat")
            found = [row for row in found if row.sender in senders]
            for each in senders:
                rows = connection.execute(REVISIONS_OF, (agent, room, message_id, each, VERSIONS - len(found)))
                found += [room_row(*columns) for columns in rows]
            return found

        return await self._database.read(read)

    async def referring(self, agent: AgentId, sender: PeerId, reference: str, limit: int) -> list[RoomId]:
        """Rooms in which a sender refers to something, in what is not taken back. Reads all that the sender said."""

        def read(connection: apsw.Connection) -> list[RoomId]:
            bindings = (agent, sender, json.dumps(reference), limit)
            return [RoomId(str(room)) for (room,) in connection.execute(REFERRING, bindings)]

        return await self._database.read(read)

    async def signed(self, agent: AgentId, room: RoomId, digests: Iterable[bytes]) -> dict[bytes, bytes]:
        """The signed messages of those digests that are here, each in canonical form. Some 60 µs each."""
        wanted = [(digest, (match_digest(digest), digest, agent, room)) for digest in digests]
        return await self._database.read(partial(_signed, query=SIGNED, wanted=wanted))

    async def signed_at(self, agent: AgentId, room: RoomId, items: Iterable[tuple[int, bytes]]) -> dict[bytes, bytes]:
        """As `signed`, by date and digest: ten times as fast."""
        wanted = [(digest, (timestamp, digest, agent, room)) for timestamp, digest in items]
        return await self._database.read(partial(_signed, query=SIGNED_AT, wanted=wanted))

    async def read_index(self, agent: AgentId, room: RoomId, fn: Callable[[Index], T]) -> T:
        """Run `fn` in a thread on the log as it is at one moment."""
        return await self._database.read(lambda connection: fn(SqlIndex(connection, agent, room)))

    async def count(self, agent: AgentId, room: RoomId) -> int:
        """Messages that history shows, those too of which only a retraction is left."""
        return await self._figure("SELECT messages FROM rooms WHERE agent = ? AND room = ?", agent, room)

    async def log_bytes(self, agent: AgentId, room: RoomId) -> int:
        """Bytes of all signed messages. On the disk they take about three times as much, words and indexes included."""
        return await self._figure("SELECT bytes FROM rooms WHERE agent = ? AND room = ?", agent, room)

    async def measure(self, agent: AgentId, room: RoomId) -> tuple[int, int]:
        """`log_bytes`, and the highest position of any message: what comes later is behind it."""

        def read(connection: apsw.Connection) -> tuple[int, int]:
            row: Any = connection.execute(MEASURE, (agent, room)).fetchone()
            return row or (0, 0)

        return await self._database.read(read)

    async def tombstones(self, agent: AgentId, room: RoomId) -> int:
        """How many there are. Reads all that is known of the room."""
        return await self._figure(TOMBSTONES, agent, room)

    async def knows(self, agent: AgentId, room: RoomId, timestamp: int, digest: bytes) -> bool:
        """Whether a message of that date and digest is here, or buried."""
        bindings = (timestamp, digest, agent, room)
        return await self._database.read(lambda connection: connection.execute(KNOWN, bindings).get is not None)

    async def _figure(self, query: str, agent: AgentId, room: RoomId) -> int:
        return await self._database.read(lambda connection: int(connection.execute(query, (agent, room)).get or 0))


def _signed(
    connection: apsw.Connection, query: str, wanted: Sequence[tuple[bytes, tuple[Any, ...]]]
) -> dict[bytes, bytes]:
    found = {}
    for digest, bindings in wanted:
        signed: Any = connection.execute(query, bindings).get
        if signed is not None:
            found[digest] = signed
    return found


def _filtered(author: PeerId | None, thread: str | None) -> tuple[tuple[str, str], tuple[str, ...]]:
    if thread is not None:
        return (IN_THREAD, (thread,)) if author is None else (BY_SENDER_IN_THREAD, (thread, author))
    return (HISTORY, ()) if author is None else (BY_SENDER, (author,))


def _place(connection: apsw.Connection, agent: AgentId, room: RoomId, position: int) -> Key:
    """Where the message at a position is in room order."""
    row: Any = connection.execute(PLACE, (position, agent, room)).fetchone()
    if row is None:
        raise LookupError(f"no message of this room at position {position}")
    return Key(*row)
