"""What a CID names: what it is, where a path leads, and its bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import trio

from nexusd.host.ports import HostError
from nexusd.services.content.fetcher import Fetcher, first_of
from nexusd.services.work import at_leisure
from nexusd_protocols import limits, ndjson
from nexusd_protocols.content.block import Block, BlockError
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.range_reader import RangeReader
from nexusd_protocols.content.unixfs import Directory, Inner, Leaf, read_node, total_size
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import ContentEntry, ContentKind

Take = Callable[[list[bytes]], Awaitable[None]]
"""Takes the next pieces, in their order."""

AHEAD: Final = 16
"""Blocks read at a time: 4 MiB of ours."""
NAMES: Final = 64
"""Directories in one path."""
PAGE_BYTES: Final = limits.MIB
"""Entries of a directory in one answer."""

_KINDS: Final[dict[str, ContentKind]] = {"json": "json", "dag-json": "dag-json", "dag-cbor": "dag-cbor"}


async def at_path(fetcher: Fetcher, root: Cid, path: str, *, timeout: float) -> Block | Refusal:
    """The block that a path below a root leads to. Raises what `Fetcher.block` does."""
    block = await fetcher.block(root, timeout=timeout)
    names = [name for name in path.split("/") if name]
    if len(names) > NAMES:
        return Refusal("bad_content", f"A path has at most {NAMES} names")
    for name in names:
        node = await at_leisure(len(block.data), partial(read_node, block.cid, block.data))
        if not isinstance(node, Directory):
            return Refusal("bad_content", f"{block.cid} is no directory: nothing is called {name!r} in it")
        found = next((entry for entry in node.entries if entry.name == name), None)
        if found is None:
            return Refusal("bad_content", f"Nothing in {block.cid} is called {name!r}")
        block = await fetcher.block(found.cid, timeout=timeout)
    return block


async def read(
    fetcher: Fetcher,
    root: Cid,
    offset: int,
    length: int,
    take: Take,
    *,
    timeout: float,
) -> int | Refusal:
    """Give `take` the bytes of a file from `offset`, or of a block that is no file, piece by piece, and return how many
    there are in all. Raises what `Fetcher.block` does, and BlockError for a file whose nodes lie."""
    first = await fetcher.block(root, timeout=timeout)
    node = read_node(root, first.data)
    if isinstance(node, Directory):
        return Refusal("bad_content", f"{root} is a directory: read what is in it")
    if not isinstance(node, Leaf | Inner):
        await take([first.data[offset : offset + length]])
        return len(first.data)
    reader = RangeReader(root, offset, offset + length)
    reader.wanted(1)
    await take(reader.take(root, first.data))
    while not reader.done:
        pieces: list[bytes] = []
        for block in await _all(fetcher, reader.wanted(AHEAD), timeout):
            pieces += reader.take(block.cid, block.data)
        await take(pieces)
    assert reader.size is not None
    return reader.size


async def _all(fetcher: Fetcher, cids: list[Cid], timeout: float) -> list[Block]:
    """Several blocks at once. Raises the first error."""
    found: dict[Cid, Block] = {}

    async def get(cid: Cid) -> None:
        found[cid] = await fetcher.block(cid, timeout=timeout)

    failed: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            for cid in cids:
                nursery.start_soon(get, cid)
    except* (HostError, BlockError, OSError) as group:
        failed = first_of(group)
    if failed is not None:
        raise failed
    return [found[cid] for cid in cids]


def described(block: Block) -> tuple[ContentKind, int, int, list[ContentEntry], str]:
    """Kind, size, bytes of all blocks, entries and a note, of a block that something begins with. Raises BlockError."""
    node = read_node(block.cid, block.data)
    total = total_size(block.cid, block.data)
    match node:
        case Leaf():
            return "file", len(node.data), total, [], ""
        case Inner():
            return "file", node.size, total, [], ""
        case Directory():
            entries = [ContentEntry(name=entry.name, cid=str(entry.cid), size=entry.size) for entry in node.entries]
            return "directory", len(block.data), total, entries, ""
        case _:
            kind = _KINDS.get(block.cid.codec_name, "other")
            return kind, len(block.data), total, [], node.reason if kind == "other" else ""


def page_of(entries: Sequence[ContentEntry]) -> list[ContentEntry]:
    """As many as fit into one answer: names are any text, of which JSON may make six times as much."""
    page: list[ContentEntry] = []
    size = 0
    for entry in entries:
        size += len(ndjson.encode(entry))
        if page and size > PAGE_BYTES:
            break
        page.append(entry)
    return page
