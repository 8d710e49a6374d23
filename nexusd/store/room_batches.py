"""Which batches a log has been sealed into, and which hours are to be sealed, or sealed anew. The batches themselves
are blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import apsw

from nexusd.store.database import Database
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.day import DayRef
from nexusd_protocols.identity import AgentId
from nexusd_protocols.ids import RoomId

DIRTY: Final = (
    "SELECT h.hour FROM rooms CROSS JOIN room_hours AS h ON h.log = rooms.id AND h.sealed <> h.changes"
    " WHERE rooms.agent = ? AND rooms.room = ? AND h.hour < ? ORDER BY h.hour LIMIT ?"
)
SIGNED: Final = (
    "SELECT m.signed FROM rooms CROSS JOIN room_items AS i ON i.log = rooms.id"
    " CROSS JOIN room_messages AS m ON m.position = i.position"
    " WHERE rooms.agent = ?1 AND rooms.room = ?2 AND i.timestamp >= ?3 * 3600000"
    " AND i.timestamp < (?3 + 1) * 3600000 ORDER BY i.timestamp, i.digest"
)
PLACES: Final = (
    "SELECT i.digest, i.timestamp, length(m.signed) FROM rooms CROSS JOIN room_items AS i ON i.log = rooms.id"
    " CROSS JOIN room_messages AS m ON m.position = i.position"
    " WHERE rooms.agent = ?1 AND rooms.room = ?2 AND i.timestamp >= ?3 * 3600000"
    " AND i.timestamp < (?3 + 1) * 3600000"
)
REFS: Final = (
    "SELECT b.hour, b.part, b.cid, b.messages FROM rooms CROSS JOIN room_batches AS b ON b.log = rooms.id"
    " WHERE rooms.agent = ? AND rooms.room = ? AND b.hour >= ? AND b.hour < ? ORDER BY b.hour, b.part LIMIT ?"
)
DAYS: Final = (
    "SELECT d.day, d.cid, d.messages FROM rooms CROSS JOIN room_days AS d ON d.log = rooms.id"
    " WHERE rooms.agent = ? AND rooms.room = ? ORDER BY d.day"
)


@dataclass(frozen=True, slots=True)
class HourOfLog:
    """All signed messages of an hour, in room order, and the state of the hour that they are."""

    signed: list[bytes]
    changes: int


@dataclass(frozen=True, slots=True)
class PlacesOfHour:
    """Where the messages of an hour are and how long each is, in the order of their digests, and the state of the hour
    that they are. Packed, because somebody may say a million things in an hour: see `place_of`."""

    packed: list[bytes]
    changes: int


class Place(NamedTuple):
    """Of one message; `size` in bytes of what was signed."""

    timestamp: int
    digest: bytes
    size: int


def _packed(digest: bytes, timestamp: int, size: int) -> bytes:
    return digest + timestamp.to_bytes(8, "big") + size.to_bytes(4, "big")


def place_of(packed: bytes) -> Place:
    """One of `PlacesOfHour.packed`."""
    return Place(int.from_bytes(packed[32:40], "big"), packed[:32], int.from_bytes(packed[40:], "big"))


class RoomBatches:
    """Each log's batches, days and head."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def dirty_hours(self, agent: AgentId, room: RoomId, closed_before: int, limit: int) -> list[int]:
        """The hours (unix hours) below `closed_before` whose batches are not those of what is held now, the oldest
        first."""

        def read(connection: apsw.Connection) -> list[int]:
            return [hour for (hour,) in connection.execute(DIRTY, (agent, room, closed_before, limit))]

        return await self._database.read(read)

    async def signed_of_hour(self, agent: AgentId, room: RoomId, hour: int) -> HourOfLog:
        """What is to go into the batches of an hour, all of it in memory."""

        def read(connection: apsw.Connection) -> HourOfLog:
            signed = [row[0] for row in connection.execute(SIGNED, (agent, room, hour))]
            return HourOfLog(signed, _changes(connection, agent, room, hour))

        return await self._database.read(read)

    async def places_of_hour(self, agent: AgentId, room: RoomId, hour: int) -> PlacesOfHour:
        """What is to go into the batches of an hour, to be read part by part."""

        def read(connection: apsw.Connection) -> PlacesOfHour:
            rows: Any = connection.execute(PLACES, (agent, room, hour))
            packed = [
                digest + timestamp.to_bytes(8, "big") + size.to_bytes(4, "big") for digest, timestamp, size in rows
            ]
            packed.sort()
            return PlacesOfHour(packed, _changes(connection, agent, room, hour))

        return await self._database.read(read)

    async def save_batches(
        self, agent: AgentId, room: RoomId, hour: int, changes: int, refs: Sequence[BatchRef]
    ) -> list[Cid]:
        """Store which batches an hour was sealed into, in place of the last ones, and return those of these that are
        batches of the hour no more. `changes` is that of `signed_of_hour`: if the hour has changed since, it stays
        dirty, as it does with 0, until `save_days` says otherwise. Their blocks must be on disk before."""
        rows = [(ref.part, ref.cid.encode(), ref.count) for ref in refs]

        def write(connection: apsw.Connection) -> list[Cid]:
            log = _log(connection, agent, room)
            old: Any = connection.execute(
                "DELETE FROM room_batches WHERE log = ? AND hour = ? RETURNING cid", (log, hour)
            ).fetchall()
            connection.executemany(
                "INSERT INTO room_batches (log, hour, part, cid, messages) VALUES (?, ?, ?, ?, ?)",
                [(log, hour, *row) for row in rows],
            )
            connection.execute("UPDATE room_hours SET sealed = ? WHERE log = ? AND hour = ?", (changes, log, hour))
            kept = {cid for _, cid, _ in rows}
            return [Cid.decode(cid) for (cid,) in old if cid not in kept]

        return await self._database.write(write)

    async def batch_refs(
        self, agent: AgentId, room: RoomId, *, from_hour: int = 0, to_hour: int = 1 << 40, limit: int
    ) -> list[BatchRef]:
        """The first batches of hours from `from_hour` up to before `to_hour`, by hour and part; of a dirty hour, those
        that it was sealed into last."""

        def read(connection: apsw.Connection) -> list[BatchRef]:
            rows = connection.execute(REFS, (agent, room, from_hour, to_hour, limit))
            return [BatchRef(hour, part, Cid.decode(cid), count) for hour, part, cid, count in rows]

        return await self._database.read(read)

    async def save_days(
        self,
        agent: AgentId,
        room: RoomId,
        days: Sequence[DayRef],
        head: Cid | None = None,
        *,
        sealed: Mapping[int, int] | None = None,
    ) -> None:
        """Store the objects of days, each in place of the last one of its day (of a day without messages, none), and
        the checkpoint above them. Their blocks must be on disk before. `sealed` are hours whose batches are in them,
        each with the `changes` that they were made of: those are not dirty any more unless they have changed since."""

        def write(connection: apsw.Connection) -> None:
            log = _log(connection, agent, room)
            connection.executemany(
                "DELETE FROM room_days WHERE log = ? AND day = ?", [(log, day.day) for day in days if not day.count]
            )
            connection.executemany(
                "INSERT OR REPLACE INTO room_days (log, day, cid, messages) VALUES (?, ?, ?, ?)",
                [(log, day.day, day.cid.encode(), day.count) for day in days if day.count],
            )
            connection.executemany(
                "UPDATE room_hours SET sealed = ? WHERE log = ? AND hour = ?",
                [(changes, log, hour) for hour, changes in (sealed or {}).items()],
            )
            if head is not None:
                connection.execute("UPDATE rooms SET head = ? WHERE id = ?", (head.encode(), log))

        await self._database.write(write)

    async def days(self, agent: AgentId, room: RoomId) -> list[DayRef]:
        """The objects of all days, in order."""

        def read(connection: apsw.Connection) -> list[DayRef]:
            return [DayRef(day, Cid.decode(cid), count) for day, cid, count in connection.execute(DAYS, (agent, room))]

        return await self._database.read(read)

    async def head(self, agent: AgentId, room: RoomId) -> Cid | None:
        """The newest checkpoint, if one was made."""

        def read(connection: apsw.Connection) -> Cid | None:
            raw = connection.execute("SELECT head FROM rooms WHERE agent = ? AND room = ?", (agent, room)).get
            return Cid.decode(raw) if raw else None

        return await self._database.read(read)


def _log(connection: apsw.Connection, agent: AgentId, room: RoomId) -> int:
    """Raises LookupError for a room that was never here."""
    log = connection.execute("SELECT id FROM rooms WHERE agent = ? AND room = ?", (agent, room)).get
    if log is None:
        raise LookupError(f"nothing is kept of {room}")
    return int(log)


def _changes(connection: apsw.Connection, agent: AgentId, room: RoomId, hour: int) -> int:
    changes = connection.execute(
        "SELECT h.changes FROM rooms JOIN room_hours AS h ON h.log = rooms.id AND h.hour = ?3"
        " WHERE rooms.agent = ?1 AND rooms.room = ?2",
        (agent, room, hour),
    ).get
    return int(changes or 0)
