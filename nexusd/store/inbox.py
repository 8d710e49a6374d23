"""Direct messages, received and sent, in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import apsw

from nexusd.store.database import Database
from nexusd.store.event_log import add_event
from nexusd.store.paging import Appended, Page, PagedQuery
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import MessageId

Direction = Literal["in", "out"]
SentStatus = Literal["stored", "unconfirmed", "failed"]
DmStatus = Literal["received", "sending", "stored", "unconfirmed", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DmRow:
    """A direct message. `peer` is the other end; `sender` the peer or the agent itself."""

    peer: PeerId
    direction: Direction
    message_id: MessageId
    sender: AgentId
    timestamp: int
    content: str
    format: str
    status: DmStatus
    position: int = 0

    @property
    def size(self) -> int:
        """What it counts against PAGE_CHARS."""
        return len(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingDm:
    """A direct message as it came. `sender` is the peer's agent (None: the peer itself)."""

    agent: AgentId
    peer: PeerId
    message_id: MessageId
    content: str
    format: str
    sender: AgentId | None = None


DM_SELECT: Final = (
    "SELECT position, peer, direction, message_id, sender, timestamp, content, format, status FROM direct_messages"
)


def dm_row(
    position: int,
    peer: str,
    direction: Direction,
    message_id: str,
    sender: str,
    timestamp: int,
    content: str,
    format_: str,
    status: DmStatus,
) -> DmRow:
    """A row from the columns of DM_SELECT."""
    return DmRow(
        position=position,
        peer=PeerId(peer),
        direction=direction,
        message_id=MessageId(message_id),
        sender=AgentId(sender),
        timestamp=timestamp,
        content=content,
        format=format_,
        status=status,
    )


ALL: Final = PagedQuery(DM_SELECT + " WHERE agent = ?", dm_row)
WITH_PEER: Final = PagedQuery(DM_SELECT + " WHERE agent = ? AND peer = ?", dm_row)

RECENT: Final = 100
"""Messages of a conversation that are looked at: whoever has not been answered in so many is not being talked to."""
CORRESPONDENTS: Final = (
    # from one peer to the next by the index, not through a million messages
    "WITH RECURSIVE found(peer) AS ("
    " SELECT min(peer) FROM direct_messages WHERE agent = ?1"
    " UNION ALL SELECT (SELECT min(peer) FROM direct_messages WHERE agent = ?1 AND peer > found.peer)"
    " FROM found WHERE found.peer IS NOT NULL"
    ") SELECT peer FROM found WHERE peer IS NOT NULL AND 'out' IN"
    " (SELECT direction FROM direct_messages WHERE agent = ?1 AND peer = found.peer ORDER BY position DESC LIMIT ?2)"
    " LIMIT ?3"
)


class Inbox:
    """Each agent's direct messages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def receive(
        self,
        agent: AgentId,
        *,
        peer: PeerId,
        message_id: MessageId,
        content: str,
        format: str,  # noqa: A002 - the field's name on the wire and everywhere
        now: int,
        sender: AgentId | None = None,
        timestamp: int | None = None,
    ) -> Appended | None:
        """Store what a peer sent, with its event. None if there is one of that sender and id already: it may be
        acknowledged again. `sender` is the peer's agent (default: the peer itself), `timestamp` its word (default:
        now, since the first version of the protocol carries none)."""
        author = AgentId(peer) if sender is None else sender
        columns = (peer, "in", message_id, author, now if timestamp is None else timestamp, content, format, "received")
        return await self._database.write(lambda connection: _receive(connection, agent, columns, now))

    async def receive_all(self, messages: Sequence[IncomingDm], *, now: int) -> list[Appended | None]:
        """Store several, in their order and in one commit: all of them or none. Each as `receive`."""
        rows = [
            (m.agent, (m.peer, "in", m.message_id, m.sender or m.peer, now, m.content, m.format, "received"))
            for m in messages
        ]
        return await self._database.write(
            lambda connection: [_receive(connection, agent, columns, now) for agent, columns in rows]
        )

    async def begin_send(
        self,
        agent: AgentId,
        *,
        peer: PeerId,
        message_id: MessageId,
        content: str,
        format: str,  # noqa: A002 - the field's name on the wire and everywhere
        now: int,
    ) -> int:
        """Store an outgoing message as 'sending', before anything of it leaves, and return its position. Raises
        ValueError if the agent sent one of that id before."""
        columns = (peer, "out", message_id, agent, now, content, format, "sending")

        def write(connection: apsw.Connection) -> int:
            position = _insert(connection, agent, columns)
            if position is None:
                raise ValueError(f"a message with id {message_id} was sent before")
            return position

        return await self._database.write(write)

    async def finish_send(self, agent: AgentId, position: int, status: SentStatus, *, now: int) -> int:
        """Say what became of an outgoing message, and return the cursor of the event that tells it. Raises LookupError
        if the agent sent nothing at that position."""

        def write(connection: apsw.Connection) -> int:
            peer = connection.execute(
                "UPDATE direct_messages SET status = ? WHERE position = ? AND agent = ? AND direction = 'out'"
                " RETURNING peer",
                (status, position, agent),
            ).get
            if peer is None:
                raise LookupError(f"no outgoing message at position {position}")
            return _event(connection, agent, peer, position, now)

        return await self._database.write(write)

    async def fail_unfinished(self, agent: AgentId, *, now: int) -> int:
        """Mark what a crash left as 'sending' as failed, each with its event, and return how many there were. Call it
        before anything is sent."""

        def write(connection: apsw.Connection) -> int:
            left: Any = connection.execute(
                "SELECT position, peer FROM direct_messages WHERE agent = ? AND status = 'sending' ORDER BY position",
                (agent,),
            ).fetchall()
            for position, peer in left:
                connection.execute("UPDATE direct_messages SET status = 'failed' WHERE position = ?", (position,))
                _event(connection, agent, peer, position, now)
            return len(left)

        return await self._database.write(write)

    async def correspondents(self, agent: AgentId, limit: int) -> set[PeerId]:
        """Peers that the agent has written to lately."""

        def read(connection: apsw.Connection) -> set[PeerId]:
            return {PeerId(peer) for (peer,) in connection.execute(CORRESPONDENTS, (agent, RECENT, limit))}

        return await self._database.read(read)

    async def list(
        self,
        agent: AgentId,
        *,
        peer: PeerId | None = None,
        after: int | None = None,
        before: int | None = None,
        limit: int,
    ) -> Page[DmRow]:
        """A page, oldest first, of one conversation or of all: behind `after`, or up to before `before`, or the
        newest."""
        query, bindings = (ALL, (agent,)) if peer is None else (WITH_PEER, (agent, peer))
        return await self._database.read(
            lambda connection: query.read(connection, bindings, after=after, before=before, limit=limit)
        )


def _receive(connection: apsw.Connection, agent: AgentId, columns: tuple[object, ...], now: int) -> Appended | None:
    position = _insert(connection, agent, columns)
    if position is None:
        return None
    return Appended(position, _event(connection, agent, str(columns[0]), position, now))


def _insert(connection: apsw.Connection, agent: AgentId, columns: tuple[object, ...]) -> int | None:
    connection.execute(
        "INSERT INTO direct_messages (agent, peer, direction, message_id, sender, timestamp, content, format, status)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (agent, sender, message_id, direction) DO NOTHING",
        (agent, *columns),
    )
    return int(connection.last_insert_rowid()) if connection.changes() else None


def _event(connection: apsw.Connection, agent: AgentId, peer: str, position: int, at: int) -> int:
    return add_event(connection, agent=agent, kind="dm", type_="message", at=at, peer=peer, ref=position)
