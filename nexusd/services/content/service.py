"""What the doors, and the other services through ports, ask of content."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from nexusd.agents import Agents
from nexusd.host.ports import BlockExchange, BlockSource, HostError
from nexusd.services.content import reading
from nexusd.services.content.autopin import Autopin
from nexusd.services.content.disk import Disk
from nexusd.services.content.fetcher import Fetcher
from nexusd.services.content.fetching import Fetches
from nexusd.services.content.keeping import CACHE, PINS, USER, Budgets, Keeping
from nexusd.services.content.ports import Names, OpenFile
from nexusd.services.content.putting import Putting
from nexusd.services.content.shelf import Shelf
from nexusd.services.content.uploads import Uploads
from nexusd.services.content.views import collected_view, parse_cid, pin_view, refusal_of, usage_view
from nexusd.services.ports import Emit, Entropy, Resolve, WallClock
from nexusd.services.work import at_leisure
from nexusd.store import Store
from nexusd.store.blocks import Pin
from nexusd.store.errors import StorageError
from nexusd_protocols.content.block import Block, BlockError
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.retention import RetentionClass, expires_at
from nexusd_protocols.content.unixfs import total_size
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import RoomId
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal

log = structlog.get_logger(__name__)

PATIENCE_MS: Final = 600_000
"""Between two walks of all that is pinned: a busy room pins another checkpoint, and lets one go, each minute."""
COLLECT_S: Final = 60.0
"""Between collections: the published figure."""
MEND_S: Final = 30.0
"""Between attempts to have damaged blocks again."""
ROOMS: Final = 4
"""Rooms that are named where messages refer to what was removed."""
MENDED: Final = 64
"""Damaged blocks asked for at a time, and shown."""


class Content:
    """Content of this node. `resolve` takes what a person typed for a peer; `directory` is on the disk that counts."""

    def __init__(
        self,
        *,
        agents: Agents,
        store: Store,
        exchange: BlockExchange,
        names: Names,
        emit: Emit,
        clock: WallClock,
        entropy: Entropy,
        resolve: Resolve,
        budgets: Budgets,
        autopin: bool,
        directory: Path,
    ) -> None:
        self._agents = agents
        self._blocks = store.blocks
        self._log = store.log
        self._names = names
        self._clock = clock
        self._resolve = resolve
        path = store.blocks.database.path
        disk = Disk(directory, path.with_name(f"{path.name}-wal"), lambda: store.blocks.pending_bytes)
        self.room_for: Final = disk.check
        """For other services that write blocks: raises StorageFullError if so many bytes would leave too little."""
        self._shelf = Shelf(store.blocks, disk, exchange, clock)
        self._uploads = Uploads(self._shelf, clock, entropy)
        self._fetches = Fetches(self._shelf, names, emit, clock)
        self._keeping = Keeping(agents, self._shelf, names, budgets, clock)
        self._autopin = Autopin(agents.first.id, self._shelf, names, self._keeping, self._fetches, enabled=autopin)
        putting = Putting(agents, self._shelf, self._uploads, self._keeping, self._announce)
        self.begin = putting.begin
        self.write = putting.write
        self.write_from = putting.write_from
        self.finish = putting.finish
        self.abort = putting.abort
        self.directory = putting.directory
        self._nursery: trio.Nursery | None = None
        self._missed: set[Cid] = set()
        """Damaged blocks that nobody had when they were asked for: each is logged once."""

    async def load(self) -> None:
        """Find what was kept before."""
        await self._keeping.load()
        await self._autopin.load()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetch, collect, mend, until cancelled."""
        async with trio.open_nursery() as self._nursery:
            await self._nursery.start(self._fetches.run)
            self._nursery.start_soon(self._autopin.run)
            self._nursery.start_soon(self._collect_for_ever)
            self._nursery.start_soon(self._mend_for_ever)
            task_status.started()

    # --- for other services, and the exchange -------------------------------------------------------------------------

    def source(self) -> BlockSource:
        """Where the exchange gets blocks for peers."""
        return self._shelf

    async def keep(
        self, agent: AgentId, owner: str, blocks: Sequence[Block], retention: RetentionClass, name: str = ""
    ) -> Cid:
        """Store blocks, the last of which is above the others, and keep that with all below it: on disk when this
        returns. Raises StorageError, of which QuotaExceededError is one."""
        root, size = blocks[-1].cid, sum(len(block.data) for block in blocks)
        await self._keeping.check(agent, owner, root, size)
        await self._shelf.put(blocks)
        await self._keeping.pin(agent, owner, root, retention, name=name, size=size)
        return root

    async def fetch_block(self, cid: Cid, peers: Sequence[PeerId]) -> bytes:
        """A block from here, or from these peers or whoever else has it: verified, and stored before this returns.
        Raises HostError, StorageError."""
        async with Fetcher(self._shelf, self._names, cid, peers) as fetcher:
            try:
                return (await fetcher.block(cid)).data
            except BlockError as error:
                raise HostError(f"{cid} is not what its codec allows: {error}") from error

    def referred(self, room: RoomId, sender: PeerId, references: Sequence[str]) -> None:
        """A message that was kept refers to these. Never waits."""
        self._autopin.referred(room, sender, references)

    @property
    def found_damaged(self) -> int:
        """Blocks that were found damaged since the start."""
        return self._blocks.found_damaged

    # --- getting ------------------------------------------------------------------------------------------------------

    async def read(self, params: schema.ContentReadParams) -> schema.ContentRead | Refusal:
        """A part of a file, or of a block."""
        found: list[bytes] = []

        async def take(pieces: list[bytes]) -> None:
            found.extend(pieces)

        size = await self._read(params, take)
        return size if isinstance(size, Refusal) else schema.ContentRead(data=b"".join(found), size=size)

    async def read_into(self, params: schema.ContentReadIntoParams, file: OpenFile) -> schema.ContentReadInto | Refusal:
        """The same, into a file."""
        at = params.offset

        async def take(pieces: list[bytes]) -> None:
            nonlocal at
            await file.write_at(at, pieces)
            at += sum(map(len, pieces))

        size = await self._read(params, take)
        return size if isinstance(size, Refusal) else schema.ContentReadInto(read=at - params.offset, size=size)

    async def fetch(self, params: schema.ContentFetchParams) -> schema.ContentFetched | Refusal:
        """Fetch all of something and keep it, at least as long as was asked."""
        agent, cid, peers = self._agents.find(params.agent), parse_cid(params.cid), self._peers(params.peers)
        if isinstance(agent, Refusal):
            return agent
        if isinstance(cid, Refusal):
            return cid
        if isinstance(peers, Refusal):
            return peers
        job = self._fetches.join(cid, peers)
        if job is None:
            return Refusal("busy", "Too much is being fetched")
        pins = {pin.owner: pin for pin in await self._blocks.pins_of(cid, PINS) if pin.agent == agent.id}
        wanted = USER not in pins
        if wanted and not _holds(pins.get(CACHE), params.retention, self._clock()):
            # before it is here: what comes must not be collected, should it take days
            await self._keeping.pin(agent.id, CACHE, cid, params.retention, size=job.walk.total)
        try:
            state = await self._fetches.wait(job, params.wait_ms / 1000)
        except (HostError, BlockError) as error:
            if not job.walk.blocks and wanted:
                await self._blocks.unpin(agent.id, CACHE, cid)
            return refusal_of(error)
        if state.done and wanted:
            await self._keeping.pin(agent.id, CACHE, cid, params.retention, size=state.bytes)
        return state

    async def stat(self, params: schema.ContentStatParams) -> schema.ContentStat | Refusal:
        """What a CID names, or a path below it."""
        cid, peers = parse_cid(params.cid), self._peers(params.peers)
        if isinstance(cid, Refusal):
            return cid
        if isinstance(peers, Refusal):
            return peers
        try:
            async with Fetcher(self._shelf, self._names, cid, peers) as fetcher:
                block = await reading.at_path(fetcher, cid, params.path, timeout=params.wait_ms / 1000)
            if isinstance(block, Refusal):
                return block
            work = partial(reading.described, block)
            kind, size, total, entries, note = await at_leisure(len(block.data), work)
        except (HostError, BlockError) as error:
            return refusal_of(error)
        page = reading.page_of(entries[params.skip :])
        return schema.ContentStat(
            cid=str(block.cid),
            kind=kind,
            codec=block.cid.codec_name,
            size=size,
            total_size=total,
            complete=not await self._blocks.missing(block.cid, 1),
            pins=[pin_view(pin) for pin in await self._blocks.pins_of(block.cid, PINS)],
            entries=page,
            more=params.skip + len(page) < len(entries),
            note=note,
        )

    # --- keeping ------------------------------------------------------------------------------------------------------

    async def list(self, params: schema.ContentListParams) -> schema.ContentList | Refusal:
        """What is kept."""
        agent = self._agents.find(params.agent)
        if isinstance(agent, Refusal):
            return agent
        owner = None if params.everything else USER
        page = await self._blocks.pins(agent.id, owner, after=params.after or 0, limit=params.limit)
        last = page.rows[-1].position if page.rows else None
        return schema.ContentList(pins=[pin_view(pin) for pin in page.rows], more=page.more, last=last)

    async def pin(self, params: schema.ContentPinParams) -> schema.ContentPin | Refusal:
        """Keep something from now on, whether it is here or not."""
        agent, cid = self._agents.find(params.agent), parse_cid(params.cid)
        if isinstance(agent, Refusal):
            return agent
        if isinstance(cid, Refusal):
            return cid
        root = await self._blocks.get(cid)
        before = [pin for pin in await self._blocks.pins_of(cid, PINS) if pin.owner == USER and pin.name]
        pin = await self._keeping.pin(
            agent.id,
            USER,
            cid,
            params.retention,
            name=params.name or (before[0].name if before else ""),
            size=0 if root is None else total_size(cid, root.data),
        )
        self._announce(cid)
        return pin_view(pin)

    async def unpin(self, params: schema.ContentParams) -> schema.Done | Refusal:
        """Keep something no longer than others need it."""
        agent, cid = self._agents.find(params.agent), parse_cid(params.cid)
        if isinstance(agent, Refusal):
            return agent
        if isinstance(cid, Refusal):
            return cid
        return schema.Done() if await self._unpin(agent.id, cid) else Refusal("not_pinned", f"{cid} is not kept")

    async def remove(self, params: schema.ContentParams) -> schema.ContentCollected | Refusal:
        """Keep something no longer, and remove at once what nothing else needs."""
        agent, cid = self._agents.find(params.agent), parse_cid(params.cid)
        if isinstance(agent, Refusal):
            return agent
        if isinstance(cid, Refusal):
            return cid
        pins = await self._unpin(agent.id, cid)
        gone = await self._blocks.remove(cid, needed=self._uploads.needs)
        if not pins and not gone.blocks and await self._blocks.size(cid) is None:
            return Refusal("content_not_found", f"{cid} is not here")
        rooms = await self._log.referring(agent.id, PeerId(agent.id), str(cid), ROOMS) if gone.blocks else []
        return schema.ContentCollected(blocks=gone.blocks, bytes=gone.bytes, pins=pins, rooms=list(rooms))

    async def collect(self, params: schema.ContentCollectParams) -> schema.ContentCollected | Refusal:
        """Remove what nothing kept needs."""
        return collected_view(await self._blocks.collect(now=self._collectable(), dry_run=params.dry_run))

    async def show(self) -> schema.StorageShow:
        """What the disk is used for, and what the next collection takes."""
        loose = await self._blocks.collect(now=self._collectable(), dry_run=True)
        return await self.usage(loose.bytes)

    async def usage(self, loose: int = 0) -> schema.StorageShow:
        """The same, without looking at every block."""
        return usage_view(
            await self._blocks.usage(),
            loose=loose,
            damaged=await self._blocks.damaged(MENDED),
            budgets=self._keeping.budgets,
            disk=self._shelf.disk,
            uploads=len(self._uploads),
            fetches=len(self._fetches),
            autopin=self._autopin.enabled,
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _read(
        self, params: schema.ContentReadParams | schema.ContentReadIntoParams, take: reading.Take
    ) -> int | Refusal:
        cid, peers = parse_cid(params.cid), self._peers(params.peers)
        if isinstance(cid, Refusal):
            return cid
        if isinstance(peers, Refusal):
            return peers
        try:
            async with Fetcher(self._shelf, self._names, cid, peers) as fetcher:
                timeout = params.wait_ms / 1000
                return await reading.read(fetcher, cid, params.offset, params.length, take, timeout=timeout)
        except (HostError, BlockError) as error:
            return refusal_of(error)

    def _peers(self, named: Sequence[str]) -> tuple[PeerId, ...] | Refusal:
        found: tuple[PeerId, ...] = ()
        for name in named:
            peer = self._resolve(name)
            if isinstance(peer, Refusal):
                return peer
            found += (peer,)
        return found

    def _announce(self, cid: Cid) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._keeping.provide, cid)

    async def _unpin(self, agent: AgentId, cid: Cid) -> int:
        """Take back what the agent, or a passing use, said about keeping it. Returns how many pins that were."""
        gone = [await self._blocks.unpin(agent, owner, cid) for owner in (USER, CACHE)]
        if any(gone) and self._nursery is not None:
            self._nursery.start_soon(self._keeping.withdraw, cid)
        return sum(gone)

    def _collectable(self) -> int:
        """What the time is for a collection: what was stored since the oldest put began is not kept by anything yet."""
        oldest = self._uploads.oldest()
        return self._clock() if oldest is None else min(oldest, self._clock())

    async def _collect_for_ever(self) -> None:
        while True:
            await trio.sleep(COLLECT_S)
            try:
                gone = await self._blocks.collect(now=self._collectable(), patience_ms=PATIENCE_MS)
                if gone.pins:
                    await self._keeping.withdraw_expired()
            except StorageError as error:
                log.warning("not_collected", error=str(error))
                continue
            if gone.blocks or gone.pins:
                log.info("collected", blocks=gone.blocks, bytes=gone.bytes, pins=gone.pins)

    async def _mend_for_ever(self) -> None:
        """Have damaged blocks again from whoever has them."""
        while True:
            await trio.sleep(MEND_S)
            try:
                for cid in await self._blocks.damaged(MENDED):
                    await self._mend(cid)
            except StorageError as error:
                log.warning("not_mended", error=str(error))

    async def _mend(self, cid: Cid) -> None:
        try:
            await self.fetch_block(cid, ())
        except HostError as error:
            if cid not in self._missed:
                self._missed.add(cid)
                log.warning("block_damaged", cid=str(cid), reason=str(error))
        else:
            self._missed.discard(cid)
            log.info("block_mended", cid=str(cid))


def _holds(pin: Pin | None, retention: RetentionClass, now: int) -> bool:
    """Does a pin hold for at least half of the time that is wanted?"""
    until = expires_at(retention, now)
    return pin is not None and (not pin.expires_at or (until > 0 and pin.expires_at - now > (until - now) // 2))
