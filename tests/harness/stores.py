"""New stores for tests that are not about making one: copies of one that was made once."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nexusd.store import Store
from nexusd.store.store import blocks_path

_made: list[tuple[bytes, bytes]] = []
"""The two files of a store that is empty."""


async def place(path: Path) -> None:
    """Put an empty store there, if there is none."""
    if path.exists():  # noqa: ASYNC240 - small, and on a disk of our own
        return
    if not _made:
        with tempfile.TemporaryDirectory() as directory:
            new = Path(directory) / "new.sqlite"
            async with Store.open(new):
                pass
            _made.append((new.read_bytes(), blocks_path(new).read_bytes()))
    for file, content in zip((path, blocks_path(path)), _made[0], strict=True):
        file.touch(mode=0o600)
        file.write_bytes(content)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    """As `Store.open`, and a new one in a quarter of the time."""
    await place(path)
    async with Store.open(path) as store:
        yield store
