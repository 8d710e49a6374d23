"""Giving back what nothing keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import apsw

GRACE_MS: Final = 3_600_000
"""What was stored or used within an hour stays: somebody may be about to pin it, or to fetch what is above it."""

ROUND: Final = 50_000
"""Blocks that are found at once, some 5 MB: finding them walks all that is pinned."""
REMOVED_AT_ONCE: Final = 64
"""Blocks that go in one commit: 16 MiB of chains to follow, some 20 ms in which nothing else is written."""
FREE_KEPT_BYTES: Final = 16 * 1024 * 1024
"""Free pages that stay in the file, so that what comes next does not make it grow again."""
SHRUNK_AT_ONCE: Final = 512
"""Pages given back in one commit: each may be one that is moved."""

_KEPT: Final = (
    "WITH RECURSIVE kept(digest) AS (SELECT digest FROM pins WHERE expires_at = 0 OR expires_at > ?1"
    " UNION SELECT l.child FROM kept CROSS JOIN block_links AS l ON l.parent = kept.digest)"
)
_LOOSE: Final = (
    " SELECT digest, size FROM blocks WHERE stored_at <= ?2 AND used_at <= ?2"
    " AND digest NOT IN (SELECT digest FROM kept) AND digest > ?3 ORDER BY digest LIMIT ?4"
)
LOOSE: Final = _KEPT + _LOOSE
AGED: Final = (
    "SELECT digest, size FROM blocks WHERE stored_at <= ?2 AND used_at <= ?2 AND (stored_at > ?1 OR used_at > ?1)"
    " AND digest > ?3 AND NOT EXISTS (WITH RECURSIVE above(digest) AS (VALUES (blocks.digest)"
    " UNION SELECT l.parent FROM above CROSS JOIN block_links AS l ON l.child = above.digest)"
    " SELECT 1 FROM above CROSS JOIN pins ON pins.digest = above.digest) ORDER BY digest LIMIT ?4"
)
NEXT_AGING: Final = "SELECT min(max(stored_at, used_at)) FROM blocks WHERE stored_at > ?1 OR used_at > ?1"
STILL_LOOSE: Final = (
    "WITH RECURSIVE above(digest) AS (VALUES (?1)"
    " UNION SELECT l.parent FROM above CROSS JOIN block_links AS l ON l.child = above.digest)"
    " SELECT data FROM blocks WHERE digest = ?1 AND stored_at <= ?2 AND used_at <= ?2 AND NOT EXISTS"
    " (SELECT 1 FROM above CROSS JOIN pins ON pins.digest = above.digest)"
)

BELOW: Final = (
    "WITH RECURSIVE below(digest) AS (VALUES (?1)"
    " UNION SELECT l.child FROM below CROSS JOIN block_links AS l ON l.parent = below.digest)"
    " SELECT b.digest, b.size FROM below CROSS JOIN blocks AS b ON b.digest = below.digest"
)
STILL_UNPINNED: Final = (
    "WITH RECURSIVE above(digest) AS (VALUES (?1)"
    " UNION SELECT l.parent FROM above CROSS JOIN block_links AS l ON l.child = above.digest)"
    " SELECT data FROM blocks WHERE digest = ?1 AND NOT EXISTS"
    " (SELECT 1 FROM above CROSS JOIN pins ON pins.digest = above.digest)"
)


@dataclass(frozen=True, slots=True)
class Collected:
    """What was given back: blocks, their bytes, and pins that had expired."""

    blocks: int
    bytes: int
    pins: int


def find_loose(connection: apsw.Connection, now: int, behind: bytes) -> list[tuple[bytes, int]]:
    """Blocks, by digest from behind one on, that no pin keeps and nobody used of late, with their sizes."""
    rows: Any = connection.execute(LOOSE, (now, now - GRACE_MS, behind, ROUND))
    return list(rows)


def find_aged(connection: apsw.Connection, now: int, behind: bytes, since: int) -> list[tuple[bytes, int]]:
    """The same of those alone whose hour was not over at `since`: it is asked what is above each, and no more. All that
    there are if no pin went since everything was looked at."""
    rows: Any = connection.execute(AGED, (since - GRACE_MS, now - GRACE_MS, behind, ROUND))
    return list(rows)


def next_aging(connection: apsw.Connection, now: int) -> int:
    """Before then no block's hour is over that is not over now."""
    first: int | None = connection.execute(NEXT_AGING, (now - GRACE_MS,)).get
    return (now if first is None else min(first, now)) + GRACE_MS


def last_of_full(found: list[tuple[bytes, int]]) -> bytes | None:
    """Where the next search begins, if there may be more."""
    return found[-1][0] if len(found) == ROUND else None


def note_used(connection: apsw.Connection, digests: Iterable[bytes], now: int) -> None:
    """These were read since the last time."""
    connection.executemany("UPDATE blocks SET used_at = ? WHERE digest = ?", [(now, digest) for digest in digests])


def drop_expired(connection: apsw.Connection, now: int) -> int:
    """Pins that are over. Returns how many."""
    connection.execute("DELETE FROM pins WHERE expires_at > 0 AND expires_at <= ?", (now,))
    return int(connection.changes())


def remove_loose(connection: apsw.Connection, found: Iterable[tuple[bytes, int]], now: int) -> list[int]:
    """Remove blocks that were found loose, unless somebody has pinned, linked or stored one since. Returns the sizes of
    those that went."""
    gone = []
    for digest, size in found:
        data: int | None = connection.execute(STILL_LOOSE, (digest, now - GRACE_MS)).get
        if data is None:
            continue
        remove_block(connection, digest, data)
        if data:
            gone.append(size)
    return gone


def find_below(connection: apsw.Connection, digest: bytes) -> list[tuple[bytes, int]]:
    """A block and all below it, with their sizes."""
    return list(connection.execute(BELOW, (digest,)))


def remove_unpinned(
    connection: apsw.Connection, found: Iterable[tuple[bytes, int]], needed: Callable[[bytes], bool]
) -> list[int]:
    """Remove blocks that no pin keeps and that are not `needed`, however lately they were used. Returns the sizes of
    those that went."""
    gone = []
    for digest, size in found:
        data = connection.execute(STILL_UNPINNED, (digest,)).get
        if data is None or needed(digest):
            continue
        remove_block(connection, digest, int(data))
        gone.append(size)
    return gone


def remove_block(connection: apsw.Connection, digest: bytes, data: int) -> None:
    """Forget a block, its bytes, and what it names."""
    if data:
        connection.execute("DELETE FROM block_data WHERE id = ?", (data,))
    connection.execute("DELETE FROM block_links WHERE parent = ?", (digest,))
    connection.execute("DELETE FROM blocks WHERE digest = ?", (digest,))


def shrink(connection: apsw.Connection) -> bool:
    """Give some free pages back to the disk, beyond those that are kept. Returns whether there are more."""
    page = int(connection.pragma("page_size"))
    spare = int(connection.pragma("freelist_count")) - FREE_KEPT_BYTES // page
    if spare <= 0:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({min(spare, SHRUNK_AT_ONCE)})").fetchall()
    return spare > SHRUNK_AT_ONCE
