"""Content that a client puts, piece by piece. It outlives the client's connection, so that a put can be resumed.

pieces -> FileBuilder -> blocks -> store (committed before the piece is answered) -> CID and pin
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio

from nexusd.services.content.shelf import Shelf
from nexusd.services.ports import Entropy, WallClock
from nexusd_protocols import limits, ndjson
from nexusd_protocols.content import json_blocks
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.retention import RetentionClass
from nexusd_protocols.content.unixfs import FileBuilder, total_size
from nexusd_protocols.identity import AgentId
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import ContentPut

UPLOADS: Final = 256
"""Puts under way. Each holds up to 1.3 MiB, and some kilobytes mostly; and a digest for each block: 1/2000 of what is
put."""
IDLE_MS: Final = 3_600_000
"""A put that nobody went on with for so long is forgotten; its blocks go with a later collection."""
AHEAD_BYTES: Final = 4 * limits.MIB
"""How far ahead bytes may come, on another connection, of those before them."""
TURN_S: Final = 10.0
"""How long they wait for those."""
REMEMBERED: Final = 10_000
"""Puts that were finished with a key, so that a directory that is put again need not be sent again."""


class FileSink:
    """A file, cut into leaves."""

    def __init__(self) -> None:
        self._builder = FileBuilder()

    def feed(self, data: bytes) -> list[Block]:
        """The blocks that are complete."""
        return self._builder.feed(data)

    def finish(self) -> tuple[list[Block], Cid, int]:
        """The last blocks, the CID, bytes of content."""
        return self._builder.finish()


class JsonSink:
    """JSON for one block."""

    def __init__(self) -> None:
        self._text = bytearray()

    def feed(self, data: bytes) -> list[Block]:
        """Nothing yet. Raises ValueError for more than a block holds."""
        if len(self._text) + len(data) > limits.BLOCK_BYTES:
            raise ValueError(f"JSON of one block has at most {limits.BLOCK_BYTES} bytes")
        self._text += data
        return []

    def finish(self) -> tuple[list[Block], Cid, int]:
        """The block. Raises ValueError for what is no JSON."""
        try:
            value = ndjson.value(bytes(self._text))
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from error
        block = json_blocks.block_of(value)
        return [block], block.cid, len(block.data)


@dataclass(eq=False, slots=True, kw_only=True)
class Upload:
    """A put under way. `pending` blocks are built and not stored yet, because the disk had no room; `digests` are
    those of all its blocks."""

    id: str
    agent: AgentId
    key: str
    name: str
    retention: RetentionClass
    staged: bool
    sink: FileSink | JsonSink
    began: int
    touched: int
    written: int = 0
    pending: list[Block] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    ended: tuple[Cid, int] | None = None
    lock: trio.Lock = field(default_factory=trio.Lock)
    moved: trio.Event = field(default_factory=trio.Event)


class Uploads:
    """All puts under way."""

    def __init__(self, shelf: Shelf, clock: WallClock, entropy: Entropy) -> None:
        self._shelf = shelf
        self._clock = clock
        self._entropy = entropy
        self._by_id: dict[str, Upload] = {}
        self._by_key: dict[tuple[AgentId, str], Upload] = {}
        self._finished: OrderedDict[tuple[AgentId, str], ContentPut] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def oldest(self) -> int | None:
        """When the oldest one began: what was stored since then is needed, though nothing keeps it yet."""
        return min((upload.began for upload in self._by_id.values()), default=None)

    def needs(self, digest: bytes) -> bool:
        """Whether one under way has such a block, which nothing else may keep. Any thread may ask."""
        return any(digest in upload.digests for upload in tuple(self._by_id.values()))

    def find(self, agent: AgentId, number: str) -> Upload | Refusal:
        """A put by its id."""
        upload = self._by_id.get(number)
        return Refusal("upload_unknown") if upload is None or upload.agent != agent else upload

    async def finished(self, agent: AgentId, key: str) -> ContentPut | None:
        """What a put with this key came to, if that is still here."""
        put = self._finished.get((agent, key)) if key else None
        if put is not None and await self._shelf.blocks.missing(Cid.parse(put.cid), 1):
            return None
        return put

    def begin(
        self, agent: AgentId, *, key: str, name: str, retention: RetentionClass, staged: bool, json: bool
    ) -> Upload | Refusal:
        """Begin a put, or go on with the one of this key."""
        now = self._clock()
        self._forget_idle(now)
        upload = self._by_key.get((agent, key)) if key else None
        if upload is not None:
            upload.touched = now
            upload.name, upload.retention, upload.staged = name, retention, staged
            return upload
        if len(self._by_id) >= UPLOADS:
            return Refusal("busy", f"{UPLOADS} puts are under way")
        upload = Upload(
            id=self._entropy(12).hex(),
            agent=agent,
            key=key,
            name=name,
            retention=retention,
            staged=staged,
            sink=JsonSink() if json else FileSink(),
            began=now,
            touched=now,
        )
        self._by_id[upload.id] = upload
        if key:
            self._by_key[agent, key] = upload
        return upload

    async def write(self, upload: Upload, offset: int, data: bytes) -> int | Refusal:
        """Take the next bytes, or those behind the ones that are on their way: how many there are now. What is answered
        is on disk, but for the part of a leaf. Raises StorageError: then they are not on disk; `written` says whether
        they were taken, to be stored with the next."""
        with trio.move_on_after(TURN_S):
            while upload.written < offset <= upload.written + AHEAD_BYTES:
                await upload.moved.wait()
        try:
            async with upload.lock:
                return await self._take(upload, offset, data)
        finally:
            upload.moved.set()
            upload.moved = trio.Event()

    async def _take(self, upload: Upload, offset: int, data: bytes) -> int | Refusal:
        upload.touched = self._clock()
        if upload.ended is not None or offset != upload.written:
            return Refusal("bad_offset", f"The next byte is {upload.written}", {"written": upload.written})
        await self._store(upload)
        try:
            upload.pending += await trio.to_thread.run_sync(upload.sink.feed, data)
        except ValueError as error:
            return Refusal("too_large", str(error))
        upload.written += len(data)
        await self._store(upload)
        return upload.written

    async def finish(self, upload: Upload) -> tuple[Cid, int, int] | Refusal:
        """Store the rest: CID, bytes of content, bytes of all blocks. Raises StorageError; it may be asked again."""
        async with upload.lock:
            upload.touched = self._clock()
            if upload.ended is None:
                try:
                    last, cid, size = await trio.to_thread.run_sync(upload.sink.finish)
                except ValueError as error:
                    return Refusal("bad_content", str(error))
                upload.pending += last
                upload.ended = cid, size
            await self._store(upload)
            cid, size = upload.ended
            root = await self._shelf.blocks.get(cid)
            if root is None:
                return Refusal("upload_unknown", "What was stored of it is gone: put it again")
            return cid, size, total_size(cid, root.data)

    def forget(self, upload: Upload, put: ContentPut | None = None) -> None:
        """A put is over. `put` is what it came to."""
        self._by_id.pop(upload.id, None)
        if not upload.key:
            return
        self._by_key.pop((upload.agent, upload.key), None)
        if put is not None:
            self._finished[upload.agent, upload.key] = put
            if len(self._finished) > REMEMBERED:
                self._finished.popitem(last=False)

    async def _store(self, upload: Upload) -> None:
        if upload.pending:
            # before they are stored: a removal that comes after finds them here
            upload.digests.update(block.cid.digest for block in upload.pending)
            await self._shelf.put(upload.pending)
            upload.pending.clear()

    def _forget_idle(self, now: int) -> None:
        for upload in [each for each in self._by_id.values() if now - each.touched > IDLE_MS]:
            self.forget(upload)
