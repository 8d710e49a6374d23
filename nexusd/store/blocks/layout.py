"""The file that blocks are in."""

from __future__ import annotations

from typing import Final

from nexusd.store.schema import Layout, shipped_migrations

APPLICATION_ID: Final = int.from_bytes(b"nxbl", "big")

PAGE_BYTES: Final = 16 * 1024
"""A block of 256 KiB is then a chain of 16 pages instead of 64; larger pages make small blocks dear, which change half
a dozen of them."""

LOG_PAGES: Final = 1024
"""Of the write-ahead log (16 MiB), before they are copied into the database: a large file is written in few long runs.
"""


def blocks_layout() -> Layout:
    """Freed pages can be given back to the disk. The file is not checked at the start: each block is checked when it is
    read, and what is damaged is had again."""
    return Layout(
        shipped_migrations("nexusd.store.blocks", {}),
        application_id=APPLICATION_ID,
        page_size=PAGE_BYTES,
        shrinks=True,
        log_pages=LOG_PAGES,
        checked_bytes=0,
    )
