"""What is kept, and for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import apsw

from nexusd_protocols.content.retention import RetentionClass


@dataclass(frozen=True, slots=True)
class Pinned:
    """Pins, and the bytes that their makers say they keep. What two pins keep is counted twice."""

    pins: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """`bytes` are those of blocks, `file_bytes` what the file takes, of which `free_bytes` wait to be used again.
    `damaged` blocks were lost to the disk and not had again yet."""

    blocks: int
    bytes: int
    damaged: int
    file_bytes: int
    free_bytes: int
    by_class: dict[RetentionClass, Pinned] = field(default_factory=dict)
    by_owner: dict[str, Pinned] = field(default_factory=dict)


BLOCKS: Final = "SELECT count(*), coalesce(sum(size), 0) FROM blocks WHERE data <> 0"
DAMAGED: Final = "SELECT count(*) FROM blocks WHERE data = 0"
BY_CLASS: Final = "SELECT retention, count(*), sum(size) FROM pins GROUP BY retention"
BY_OWNER: Final = "SELECT owner, count(*), sum(size) FROM pins GROUP BY owner"


def read_usage(connection: apsw.Connection) -> Usage:
    """As of now."""
    blocks: Any = connection.execute(BLOCKS).fetchone()
    page = int(connection.pragma("page_size"))
    by_class: Any = connection.execute(BY_CLASS)
    classes = {name: Pinned(pins, size) for name, pins, size in by_class}
    return Usage(
        blocks=blocks[0],
        bytes=blocks[1],
        damaged=int(connection.execute(DAMAGED).get),
        file_bytes=page * int(connection.pragma("page_count")),
        free_bytes=free_bytes(connection),
        by_class=classes,
        by_owner=read_owners(connection),
    )


def read_owners(connection: apsw.Connection) -> dict[str, Pinned]:
    """What is kept for whom."""
    rows: Any = connection.execute(BY_OWNER)
    return {name: Pinned(pins, size) for name, pins, size in rows}


def free_bytes(connection: apsw.Connection) -> int:
    """Of pages that are in no use."""
    return int(connection.pragma("page_size")) * int(connection.pragma("freelist_count"))
