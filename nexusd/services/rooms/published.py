"""History for the published network: `/nexus/chat-sync/1.1.0`, with batches and checkpoints of version 1.

Those are made when somebody asks, of batches that were verified, and are to be had as content for an hour at least.
They carry no signatures of authors, so we ask nobody for them ourselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from nexusd.host.ports import Channel, Streams
from nexusd.services.ports import WallClock
from nexusd.services.rooms.joined import Joined
from nexusd.store import Store
from nexusd_protocols.chatsync.published import PROTOCOL, Ask, PublishedProvider, Tell
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.history import v1
from nexusd_protocols.history.batch import BatchRef, read_batch
from nexusd_protocols.identity import Signer
from nexusd_protocols.room import message as wire

log = structlog.get_logger(__name__)

BATCHES: Final = 1000
"""The newest of a room that are offered: 100,000 messages, some seconds of work the first time."""
KEPT_MS: Final = 1_800_000
"""After so long everything is put again: the collector takes what nobody pinned once it lay unused for an hour."""
PUT_AT_ONCE: Final = 32
ANSWER_S: Final = 30.0
_FOR_EVER: Final = 1 << 53


@dataclass(slots=True)
class _Rendered:
    """Of one room: for each batch what it became, None where it had no chat message."""

    batches: dict[Cid, Cid | None] = field(default_factory=dict)
    head: Cid | None = None
    made_at: int = 0
    offered: tuple[Cid, ...] = ()
    chain: tuple[Cid, ...] = ()


class Published:
    """Serves chat-sync 1.1.0."""

    def __init__(
        self, *, streams: Streams, store: Store, clock: WallClock, find: Callable[[str], Joined | None]
    ) -> None:
        self._streams = streams
        self._store = store
        self._clock = clock
        self._find = find
        self._rendered: dict[Joined, _Rendered] = {}
        self._rendering = trio.Lock()
        """One after the other: it is work for whoever is curious."""

    def start(self) -> None:
        """Be asked from now on."""
        self._streams.handle(PROTOCOL, lambda _: PublishedProvider(), self._receive)

    async def _receive(self, channel: Channel[Ask, Tell]) -> None:
        request = await channel.receive(timeout=ANSWER_S)
        if request is None:
            return
        joined = self._find(request.room)
        if joined is None:
            await channel.send(Tell(), timeout=ANSWER_S)
        else:
            async with self._rendering:
                rendered = await self._render(joined)
            await channel.send(_told(rendered, request), timeout=ANSWER_S)
        await channel.close_write()

    async def _render(self, joined: Joined) -> _Rendered:
        agent, room = joined.agent.id, joined.room
        self._rendered = {key: value for key, value in self._rendered.items() if self._find(key.room) is key}
        rendered = self._rendered.setdefault(joined, _Rendered())
        head = await self._store.batches.head(agent, room)
        now = self._clock()
        if head == rendered.head and now - rendered.made_at < KEPT_MS:
            return rendered
        refs = (await self._store.batches.batch_refs(agent, room, limit=1 << 30))[-BATCHES:]
        fresh = now - rendered.made_at >= KEPT_MS
        before = {} if fresh else rendered.batches
        batches: dict[Cid, Cid | None] = {}
        made: list[Block] = []
        for ref in refs:
            if ref.cid in before:
                batches[ref.cid] = before[ref.cid]
                continue
            block = await self._render_batch(joined, ref)
            batches[ref.cid] = None if block is None else block.cid
            made += [] if block is None else [block]
            if len(made) >= PUT_AT_ONCE:
                await self._store.blocks.put(made, now=now)
                made = []
        named = [(ref.hour, cid) for ref in refs if (cid := batches[ref.cid]) is not None]
        chain = v1.render_checkpoints(room, named, joined.agent.signer)
        await self._store.blocks.put([*made, *chain], now=now)
        rendered.batches, rendered.head, rendered.made_at = batches, head, now if fresh else rendered.made_at
        rendered.offered, rendered.chain = tuple(cid for _, cid in named), tuple(block.cid for block in chain)
        return rendered

    async def _render_batch(self, joined: Joined, ref: BatchRef) -> Block | None:
        block = await self._store.blocks.get(ref.cid)
        if block is None:
            return None  # damaged: `room verify` tells
        return await trio.to_thread.run_sync(_rendered, joined, ref, block, joined.agent.signer)


def _rendered(joined: Joined, ref: BatchRef, block: Block, signer: Signer) -> Block | None:
    batch = read_batch(block, room=joined.room)
    read = [wire.read(joined.topic, message.data, message.sender, _FOR_EVER) for message in batch.messages]
    messages = [message for message in read if isinstance(message, wire.RoomMessage)]
    return v1.render_batch(joined.room, ref.hour, ref.cid, messages, signer, joined.retention)


def _told(rendered: _Rendered, request: Ask) -> Tell:
    """Those behind the checkpoint that the member knows, the oldest first. Its last one may have grown since."""
    behind: Sequence[Cid] = rendered.offered
    if request.since is not None and request.since in rendered.chain:
        behind = behind[(rendered.chain.index(request.since) + 1) * v1.CHECKPOINT_BATCHES :]
    latest = rendered.chain[-1] if rendered.chain else None
    return Tell(latest, tuple(behind[: request.max_batches]))
