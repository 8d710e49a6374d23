"""Blocks, by the hash of their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import apsw
import trio

from nexusd.store.blocks import collection
from nexusd.store.blocks.collection import Collected
from nexusd.store.blocks.layout import PAGE_BYTES
from nexusd.store.blocks.pins import OF_ROOT, Pin, drop_pin, pin_row, put_pin, read_pins
from nexusd.store.blocks.searches import Searches
from nexusd.store.blocks.usage import Pinned, Usage, free_bytes, read_owners, read_usage
from nexusd.store.database import Database
from nexusd.store.paging import Page
from nexusd_protocols.content.block import Block, BlockError, read_block
from nexusd_protocols.content.cid import DAG_CBOR, DAG_JSON, DAG_PB, Cid
from nexusd_protocols.identity import AgentId

COMMIT_BYTES: Final = 4 * 1024 * 1024
"""Of the blocks of one function in the writer; more are put in several."""
PUTS: Final = 8
"""Such functions that wait for the writer: they may meet in one commit, and are held in memory until it is done."""
USED: Final = 65_536
"""Blocks that are remembered as used until the next collection; of more than that some may go too early."""

LINKING: Final = (DAG_PB, DAG_CBOR, DAG_JSON)
"""Codecs in which a block can name others."""
_NEEDS_LINKS: Final = f"IN ({', '.join(map(str, LINKING))})"
_BELOW: Final = (
    "WITH RECURSIVE below(digest, codec, version) AS (VALUES (?, ?, ?)"
    " UNION SELECT l.child, l.codec, l.version FROM below CROSS JOIN block_links AS l ON l.parent = below.digest)"
)

FIND: Final = "SELECT data, codec FROM blocks WHERE digest = ?"
_NOT_HERE: Final = (
    " SELECT below.codec, below.digest, below.version FROM below"
    " LEFT JOIN blocks AS b ON b.digest = below.digest AND b.data <> 0 AND (b.codec {} OR NOT below.codec {})"
    " WHERE b.digest IS NULL LIMIT ?"
)
MISSING: Final = _BELOW + _NOT_HERE.format(_NEEDS_LINKS, _NEEDS_LINKS)
DAMAGED: Final = "SELECT codec, digest, version FROM blocks WHERE data = 0 ORDER BY digest LIMIT ?"


class Blocks:
    """All agents' blocks, each once, and their pins."""

    def __init__(self, database: Database) -> None:
        self.database: Final = database
        self._puts = trio.CapacityLimiter(PUTS)
        self._used: dict[bytes, None] = {}
        self._searches = Searches()
        self.found_damaged = 0
        """Blocks that were damaged when they were read, since the opening."""

    # --- blocks -----------------------------------------------------------------------------------------------------
    async def put(self, blocks: Sequence[Block], *, now: int) -> int:
        """Store blocks, and return how many were not here. All are on disk when it returns; a crash or an error may
        leave the first of them. What a `Block` is was checked when it was made, and is checked again by `get`."""
        new = 0
        for part in _parts(blocks):
            async with self._puts:
                new += await self.database.write(partial(_put, blocks=part, now=now))
        self._searches.stored(now)
        return new

    async def renew(self, cids: Iterable[Cid], *, now: int) -> set[Cid]:
        """Have those of them that are here count as stored now, and say which they are."""
        asked = tuple(cids)

        def write(connection: apsw.Connection) -> set[Cid]:
            here = {cid for cid in asked if _is_here(connection, cid)}
            connection.executemany(
                "UPDATE blocks SET stored_at = ? WHERE digest = ?", [(now, cid.digest) for cid in here]
            )
            return here

        found = await self.database.write(write)
        self._searches.stored(now)
        return found

    async def get(self, cid: Cid, *, links: bool = True) -> Block | None:
        """The block, checked against its name, or None if it is not here. One that is damaged is dropped, counted and
        listed as damaged, and is not here. Without `links` nobody looks for any, which may be 45,000 and take a second
        of a reader."""
        data, fault = await self.database.read(lambda connection: _get(connection, cid, links))
        if fault is not None:
            await self.database.write(lambda connection: _drop_damaged(connection, cid.digest, fault))
            self.found_damaged += 1
            return None
        if data is None:
            return None
        if len(self._used) < USED:
            self._used[cid.digest] = None
        return data

    async def has(self, cids: Iterable[Cid]) -> set[Cid]:
        """Those of them that are here, with their links if they have any."""
        asked = tuple(cids)

        def read(connection: apsw.Connection) -> set[Cid]:
            return {cid for cid in asked if _is_here(connection, cid)}

        return await self.database.read(read)

    async def size(self, cid: Cid) -> int | None:
        """Its bytes, or None if it is not here."""
        return (await self.sizes([cid])).get(cid)

    async def sizes(self, cids: Iterable[Cid]) -> dict[Cid, int]:
        """The bytes of those of them that are here."""
        asked = tuple(cids)
        query = "SELECT size FROM blocks WHERE digest = ? AND data <> 0"

        def read(connection: apsw.Connection) -> dict[Cid, int]:
            found: Any = ((cid, connection.execute(query, (cid.digest,)).get) for cid in asked)
            return {cid: int(size) for cid, size in found if size is not None}

        return await self.database.read(read)

    async def missing(self, root: Cid, limit: int) -> list[Cid]:
        """Some of those that are not here of a block and all below it, as far as that is known; none if all are."""
        bindings = (root.digest, root.codec, root.version, limit)
        return await self.database.read(lambda connection: _cids(connection.execute(MISSING, bindings)))

    async def damaged(self, limit: int) -> list[Cid]:
        """Blocks that were found damaged and have not been put again."""
        return await self.database.read(lambda connection: _cids(connection.execute(DAMAGED, (limit,))))

    # --- pins -------------------------------------------------------------------------------------------------------
    async def pin(self, pin: Pin, *, now: int) -> None:
        """Keep a block and all below it, here already or not. A pin of the same agent, owner and CID is replaced;
        `position`, and a `created_at` of 0, are given here."""
        await self.database.write(lambda connection: put_pin(connection, pin, now))

    async def unpin(self, agent: AgentId, owner: str, cid: Cid) -> bool:
        """Returns whether there was such a pin. What it kept goes with a later collection, if nothing else keeps it."""

        def write(connection: apsw.Connection) -> bool:
            self._searches.unpinned = True  # here, in the order of what is written
            return drop_pin(connection, agent, owner, cid)

        return await self.database.write(write)

    async def pins(
        self, agent: AgentId | None = None, owner: str | None = None, *, after: int = 0, limit: int
    ) -> Page[Pin]:
        """A page of pins, the oldest first, behind position `after`: all, an agent's, or those of one of its owners."""
        return await self.database.read(lambda connection: read_pins(connection, agent, owner, after, limit))

    async def pins_of(self, cid: Cid, limit: int) -> list[Pin]:
        """Pins on the block itself, not on what is above it."""

        def read(connection: apsw.Connection) -> list[Pin]:
            rows: Any = connection.execute(OF_ROOT, (cid.digest, limit))
            return [pin_row(*columns) for columns in rows]

        return await self.database.read(read)

    # --- all of it --------------------------------------------------------------------------------------------------
    async def collect(self, *, now: int, dry_run: bool = False, patience_ms: int = 0) -> Collected:
        """Drop pins that have expired, then blocks that no pin keeps and nobody stored or used within the last hour,
        and give the room back to the disk. In many small commits, each of which makes sure again that nothing kept
        goes. To find what pins kept that went is to walk all that is pinned: within `patience_ms` of the last walk it
        waits. `dry_run` only says what would go."""
        if dry_run:
            return await self.database.read(lambda connection: self._would_collect(connection, now))
        used, self._used = self._used, {}
        searches, unpinned = self._searches, False

        def begin(connection: apsw.Connection) -> int:
            nonlocal unpinned
            collection.note_used(connection, used, now)
            expired = collection.drop_expired(connection, now)
            unpinned = unpinned or searches.unpinned or expired > 0
            searches.unpinned = False
            return expired

        gone: list[int] = []
        try:
            pins = await self.database.write(begin)
            search = searches.next(now, unpinned=unpinned, patience_ms=patience_ms)
            behind: bytes | None = None if search is None else b""
            while search is not None and behind is not None:
                found = await self.database.read(partial(search, now=now, behind=behind))
                for start in range(0, len(found), collection.REMOVED_AT_ONCE):
                    part = found[start : start + collection.REMOVED_AT_ONCE]
                    unused = [(digest, size) for digest, size in part if digest not in self._used]
                    gone += await self.database.write(partial(collection.remove_loose, found=unused, now=now))
                behind = collection.last_of_full(found)
            if search is not None:
                next_at = await self.database.read(lambda connection: collection.next_aging(connection, now))
                searches.done(now, next_at, whole=search is collection.find_loose)
        except BaseException:
            searches.unpinned = True  # whatever was not looked at is found by looking at everything
            raise
        while await self.database.write(collection.shrink):
            pass
        return Collected(len(gone), sum(gone), pins)

    async def remove(self, root: Cid, *, needed: Callable[[bytes], bool]) -> Collected:
        """Remove a block and all below it, but for what a pin keeps, and digests that are `needed` without one: the
        writer asks. In many small commits, each of which makes sure that nothing kept goes."""
        found = await self.database.read(lambda connection: collection.find_below(connection, root.digest))
        gone: list[int] = []
        for start in range(0, len(found), collection.REMOVED_AT_ONCE):
            part = found[start : start + collection.REMOVED_AT_ONCE]
            gone += await self.database.write(partial(collection.remove_unpinned, found=part, needed=needed))
        while await self.database.write(collection.shrink):
            pass
        return Collected(len(gone), sum(gone), 0)

    async def usage(self) -> Usage:
        """What is kept, and for whom."""
        return await self.database.read(read_usage)

    async def owners(self) -> dict[str, Pinned]:
        """What is kept for whom, as `Usage.by_owner`."""
        return await self.database.read(read_owners)

    @property
    def pending_bytes(self) -> int:
        """What the log holds that the file is still to grow by, at most."""
        return self.database.log_pages * PAGE_BYTES

    async def free_bytes(self) -> int:
        """What of the file waits to be used again."""
        return await self.database.read(free_bytes)

    def _would_collect(self, connection: apsw.Connection, now: int) -> Collected:
        expired = "SELECT count(*) FROM pins WHERE expires_at > 0 AND expires_at <= ?"
        pins = int(connection.execute(expired, (now,)).get)
        sizes: list[int] = []
        behind: bytes | None = b""
        while behind is not None:
            found = collection.find_loose(connection, now, behind)
            sizes += [size for digest, size in found if digest not in self._used]
            behind = collection.last_of_full(found)
        return Collected(len(sizes), sum(sizes), pins)


def _parts(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Runs of blocks of at most COMMIT_BYTES, or of one block."""
    part: list[Block] = []
    size = 0
    for block in blocks:
        if part and size + len(block.data) > COMMIT_BYTES:
            yield part
            part, size = [], 0
        part.append(block)
        size += len(block.data)
    if part:
        yield part


def _put(connection: apsw.Connection, blocks: list[Block], now: int) -> int:
    new = 0
    for block in blocks:
        cid = block.cid
        known: Any = connection.execute(FIND, (cid.digest,)).fetchone()
        data, codec = known or (0, cid.codec)
        if data:
            connection.execute("UPDATE blocks SET stored_at = ? WHERE digest = ?", (now, cid.digest))
            if not block.links or codec in LINKING:
                continue  # else its bytes came first, under a name that says nothing of links
        else:
            new += 1
            connection.execute("INSERT INTO block_data (data) VALUES (?)", (block.data,))
            data = connection.last_insert_rowid()
        connection.execute(
            "INSERT OR REPLACE INTO blocks (digest, codec, version, size, data, stored_at, used_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (cid.digest, cid.codec, cid.version, len(block.data), data, now, now),
        )
        connection.executemany(
            "INSERT OR REPLACE INTO block_links (parent, place, child, codec, version) VALUES (?, ?, ?, ?, ?)",
            [(cid.digest, at, link.digest, link.codec, link.version) for at, link in enumerate(block.links)],
        )
    return new


_UNREADABLE: Final = "unreadable"
_WRONG: Final = "wrong"


def _get(connection: apsw.Connection, cid: Cid, links: bool) -> tuple[Block | None, str | None]:
    """The block, or what is wrong with it."""
    known: Any = connection.execute(FIND, (cid.digest,)).fetchone()
    if known is None or not known[0]:
        return None, None
    try:
        data: Any = connection.execute("SELECT data FROM block_data WHERE id = ?", (known[0],)).get
    except apsw.CorruptError:
        return None, _UNREADABLE
    if data is None or not cid.verifies(data):
        return None, _WRONG
    if cid.codec not in LINKING or not links:
        return Block(cid, data), None
    try:
        return read_block(cid, data), None
    except BlockError:
        return None, None  # sound bytes, of which this name says what they are not


def _drop_damaged(connection: apsw.Connection, digest: bytes, fault: str) -> None:
    """Unless it was put again since. What cannot be read is left where it is: to remove it is to follow it."""
    known: Any = connection.execute(FIND, (digest,)).fetchone()
    if known is None or not known[0]:
        return
    if fault == _WRONG:
        data: Any = connection.execute("SELECT data FROM block_data WHERE id = ?", (known[0],)).get
        if data is not None and Cid(known[1], digest).verifies(data):
            return
        connection.execute("DELETE FROM block_data WHERE id = ?", (known[0],))
    connection.execute("UPDATE blocks SET data = 0 WHERE digest = ?", (digest,))


def _is_here(connection: apsw.Connection, cid: Cid) -> bool:
    known: Any = connection.execute(FIND, (cid.digest,)).fetchone()
    return known is not None and bool(known[0]) and (cid.codec not in LINKING or known[1] in LINKING)


def _cids(rows: Any) -> list[Cid]:
    return [Cid(codec, digest, version) for codec, digest, version in rows]
