"""History for the published network: `/nexus/chat-sync/1.1.0`, with batches and checkpoints of version 1.

Those are made when somebody asks, of batches that were verified, and are to be had as content for an hour at least.
They carry no signatures of authors, so we ask nobody for them ourselves. Whoever asks may be anybody: a question has so
much made and no more, the oldest first, and the next one finds that made and goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog
import trio

from nexusd.host.ports import Channel, Streams
from nexusd.services.ports import WallClock
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.ports import Penalise, RoomFor
from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.chatsync.published import PROTOCOL, Ask, PublishedProvider, Tell
from nexusd_protocols.content.block import Block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.history import v1
from nexusd_protocols.history.batch import BatchRef, read_batch
from nexusd_protocols.identity import PeerId, Signer
from nexusd_protocols.rate import Rate, Rates
from nexusd_protocols.room import message as wire

log = structlog.get_logger(__name__)

BATCHES: Final = 1000
"""The newest of a room that are offered: 100,000 messages."""
ROOM_BYTES: Final = 64 * limits.MIB
"""And no more than so much of them: twice what 100,000 ordinary messages take."""
ALL_BYTES: Final = 256 * limits.MIB
"""Of all rooms that were asked about of late."""
AT_ONCE: Final = v1.CHECKPOINT_BATCHES
"""Made for one question: a full checkpoint of them, a third of a second of work."""
AT_ONCE_BYTES: Final = 16 * limits.MIB
WRITTEN_BYTES: Final = (64.0 * limits.MIB, 16.0 * limits.KIB)
"""Made in all: so many at once, and a second. An hour that changes has its batches made again, and what they became
before lies there for an hour."""
QUESTIONS: Final = (30.0, 0.2)
"""Of one peer: so many in a burst, and a second. Beyond them it is told what there is."""
PEERS: Final = 1024
"""Of whom it is remembered how much they asked."""
KEPT_MS: Final = 1_800_000
"""After so long all is stored again, as far as it is still there by its name alone: the collector takes what nobody
pinned once it lay unused for an hour."""
LATELY_MS: Final = 2 * KEPT_MS
"""A room that nobody asked about for so long takes nothing from the others."""
PUT_AT_ONCE_BYTES: Final = 4 * limits.MIB
ANSWER_S: Final = 30.0
_FOR_EVER: Final = 1 << 53


class _Made(NamedTuple):
    """What a batch became, None where it had no chat message, and its bytes."""

    cid: Cid | None
    size: int


@dataclass(slots=True)
class _Rendered:
    """Of one room. `whole`: nothing is left to be made under this `head`."""

    batches: dict[Cid, _Made] = field(default_factory=dict)
    head: Cid | None = None
    whole: bool = False
    made_at: int = 0
    offered: tuple[Cid, ...] = ()
    chain: tuple[Cid, ...] = ()

    @property
    def size(self) -> int:
        return sum(made.size for made in self.batches.values())


class Published:
    """Serves chat-sync 1.1.0."""

    def __init__(
        self,
        *,
        streams: Streams,
        store: Store,
        clock: WallClock,
        find: Callable[[str], Joined | None],
        penalise: Penalise,
        room_for: RoomFor,
    ) -> None:
        self._streams = streams
        self._store = store
        self._clock = clock
        self._find = find
        self._penalise = penalise
        self._room_for = room_for
        self._rendered: dict[Joined, _Rendered] = {}
        self._rendering = trio.Lock()
        """One after the other: it is work for whoever is curious."""
        self._written = Rate(*WRITTEN_BYTES, trio.current_time())
        self._asked: Rates[PeerId] = Rates(*QUESTIONS, most=PEERS)

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
            now = trio.current_time()
            if self._asked.of(channel.peer, now).allows(now):
                async with self._rendering:
                    await self._render(joined)
            else:
                self._penalise(channel.peer, "too_many_comparisons", 1)
            await channel.send(_told(self._rendered.get(joined) or _Rendered(), request), timeout=ANSWER_S)
        await channel.close_write()

    async def _render(self, joined: Joined) -> None:
        """Make some of what is missing. Where the disk is full, what was there before stays on offer."""
        self._rendered = {key: value for key, value in self._rendered.items() if self._find(key.room) is key}
        rendered = self._rendered.setdefault(joined, _Rendered())
        head = await self._store.batches.head(joined.agent.id, joined.room)
        now = self._clock()
        if rendered.whole and head == rendered.head and now - rendered.made_at < KEPT_MS:
            return
        try:
            if now - rendered.made_at >= KEPT_MS:
                await self._renew(rendered, now)
            await self._go_on(joined, rendered, head, now)
        except OSError as error:
            log.warning("room_history_not_rendered", room=joined.room, error=str(error))

    async def _renew(self, rendered: _Rendered, now: int) -> None:
        """Have what is still there lie as long again, and forget what is not."""
        named = [*rendered.chain, *(made.cid for made in rendered.batches.values() if made.cid is not None)]
        there = await self._store.blocks.renew(named, now=now)
        rendered.batches = {
            source: made for source, made in rendered.batches.items() if made.cid is None or made.cid in there
        }
        if len(there) < len(set(named)):
            rendered.whole, rendered.chain = False, ()
            rendered.offered = tuple(itertools.takewhile(there.__contains__, rendered.offered))
        rendered.made_at = now

    async def _go_on(self, joined: Joined, rendered: _Rendered, head: Cid | None, now: int) -> None:
        refs = await self._offered(joined, rendered, now)
        rendered.batches = {ref.cid: made for ref in refs if (made := rendered.batches.get(ref.cid)) is not None}
        waiting: list[tuple[Cid, _Made, Block]] = []
        count = total = held = 0

        async def put() -> None:
            nonlocal held
            await self._put([block for _, _, block in waiting], now)
            rendered.batches.update((source, made) for source, made, _ in waiting)
            waiting.clear()
            held = 0

        named: list[tuple[int, Cid]] = []
        whole = True
        for ref in refs:
            if (made := rendered.batches.get(ref.cid)) is None:
                if count >= AT_ONCE or total >= AT_ONCE_BYTES or self._written.turn(trio.current_time(), 0) > 0:
                    whole = False  # what is behind it waits too: a chain of checkpoints grows at its end
                    break
                source = await self._store.blocks.get(ref.cid)
                count += 1
                if source is None:
                    continue  # damaged: `room verify` tells
                block = await trio.to_thread.run_sync(_rendered, joined, ref, source, joined.agent.signer)
                if block is None:
                    made = rendered.batches[ref.cid] = _Made(None, 0)
                else:
                    made = _Made(block.cid, len(block.data))
                    waiting.append((ref.cid, made, block))
                    held, total = held + made.size, total + made.size
                    if held >= PUT_AT_ONCE_BYTES:
                        await put()
            if made.cid is not None:
                named.append((ref.hour, made.cid))
        await put()
        chain = v1.render_checkpoints(joined.room, named, joined.agent.signer)
        await self._put([block for block in chain if block.cid not in rendered.chain], now)
        rendered.head, rendered.whole = head, whole
        rendered.offered, rendered.chain = tuple(cid for _, cid in named), tuple(block.cid for block in chain)

    async def _put(self, blocks: Sequence[Block], now: int) -> None:
        """Raises OSError where the disk has no room for them."""
        if size := sum(len(block.data) for block in blocks):
            self._room_for(size)
            self._written.turn(trio.current_time(), size)
            await self._store.blocks.put(blocks, now=now)

    async def _offered(self, joined: Joined, rendered: _Rendered, now: int) -> list[BatchRef]:
        """The newest that there is room for. What is not made yet counts as its batch does, which says more."""
        others = sum(
            each.size for key, each in self._rendered.items() if key is not joined and now - each.made_at < LATELY_MS
        )
        left = min(ROOM_BYTES, ALL_BYTES - others)
        refs = (await self._store.batches.batch_refs(joined.agent.id, joined.room, limit=1 << 30))[-BATCHES:]
        sizes = await self._store.blocks.sizes(ref.cid for ref in refs if ref.cid not in rendered.batches)
        found: list[BatchRef] = []
        for ref in reversed(refs):
            made = rendered.batches.get(ref.cid)
            left -= made.size if made is not None else sizes.get(ref.cid, 0)
            if left < 0:
                break
            found.append(ref)
        return found[::-1]


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
