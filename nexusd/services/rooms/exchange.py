"""One comparison with one member: what either lacks is exchanged. (specs/chat-sync.md)

    open -> compare, again and again -> what is lacking here: wanted, or fetched as batches -> verified, on disk
                                     -> what is lacking there: put

The member is believed nothing: each message verifies by itself. Who offers what it does not give, or gives what nobody
signed, pays for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import structlog
import trio

from nexusd.host.ports import Channel, HostError, Streams
from nexusd.services.ports import Entropy, WallClock
from nexusd.services.rooms.batches import Batches
from nexusd.services.rooms.intake import Brought, Intake
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.ports import Penalise
from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.chatsync.frames import (
    PROTOCOL,
    Compare,
    Head,
    Headed,
    Open,
    Opened,
    Put,
    Refused,
    Took,
    Want,
)
from nexusd_protocols.chatsync.index import EMPTY, Index, Item, Key, Summary
from nexusd_protocols.chatsync.ranges import MAX_KEY, Ranges
from nexusd_protocols.chatsync.reconcile import CUTS, Initiator, common_range, random_cuts
from nexusd_protocols.chatsync.stream import Delivered, InitiatorEvent, Request, SyncInitiator, Undelivered
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import LimitExceededError, RemoteProtocolError
from nexusd_protocols.history import checkpoint
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS, closed_before
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.identity import PeerId

log = structlog.get_logger(__name__)

ANSWER_S: Final = 20.0
"""For a member's next frame: an index of a million messages on a slow disk, and a line that others use too."""
PUT_BYTES: Final = limits.SYNC_FRAME_BYTES - 64 * limits.KIB
"""Messages of one frame; the rest is for what is around them."""
BROKEN_POINTS: Final = 1
"""For each message that was offered and is not there: it may just have been forgotten. The machine ends too many."""
FORGED_POINTS: Final = 25
"""For what nobody signed, or is of another room: no honest member has it."""
GIVEN: Final = 1024
"""Messages put in one session. Who lacks more asks for itself and gets whole batches; so does who is far behind: to
push at it what it is just fetching would cost both twice."""
LONG_S: Final = 30.0
"""After so long a fetch of batches the member has given us up: what is left is for another session."""
HEAD_BATCHES: Final = 100_000
"""Batches looked at to name the checkpoint over a part of history: ten million messages."""
HEAD_TRIES: Final = 4
HEAD_PAUSE_S: Final = 3.0
"""With the next look of its sealing in between."""
NOWHERE: Final = Key(0, b"")

T = TypeVar("T")
_CHANNEL = Channel[InitiatorEvent, Request]


class SyncRefusedError(HostError):
    """The member does not compare now, or not this room."""


@dataclass(slots=True)
class Exchanged:
    """What a comparison came to. `received` are on disk here, `sent` there; `complete`: nothing was left for another.
    `lower`, `upper`, `summary` are the common range and what was known in it at the end, `equal` whether neither
    lacked anything by then; `head` is its newest checkpoint, and `sealed` whether it names the closed
    hours of the range by the same checkpoint as we do (None: not asked)."""

    received: int = 0
    sent: int = 0
    complete: bool = True
    equal: bool = False
    lower: Key = NOWHERE
    upper: Key = NOWHERE
    summary: Summary = EMPTY
    head: Cid | None = None
    sealed: bool | None = None


class Exchange:
    """Compares rooms with members."""

    def __init__(
        self,
        *,
        streams: Streams,
        store: Store,
        intake: Intake,
        batches: Batches,
        clock: WallClock,
        entropy: Entropy,
        penalise: Penalise,
    ) -> None:
        self._streams = streams
        self._store = store
        self._intake = intake
        self._batches = batches
        self._clock = clock
        self._entropy = entropy
        self._penalise = penalise

    async def run(
        self, joined: Joined, peer: PeerId, *, rounds: int = 1, seal: Callable[[], Awaitable[object]] | None = None
    ) -> Exchanged:
        """Compare, and exchange what differs; up to `rounds` times, until nothing does. With `seal`, which has our
        closed hours sealed, compare the checkpoints over the common range too: sums can be steered by who has much
        time, and hashes cannot. Raises HostError, RemoteProtocolError, and OSError where the disk is full."""
        found = Exchanged()
        channel: _CHANNEL = await self._streams.open(peer, [PROTOCOL], lambda _: SyncInitiator(), replayable=True)
        async with channel:
            opened = await self._ask(channel, Open(joined.room, joined.horizon(self._clock())), Opened)
            found.head = opened.head
            for _ in range(rounds):
                now = self._clock()
                found.lower, found.upper = common_range(now, joined.horizon(now), opened.horizon)
                if not found.lower < found.upper:
                    found.equal = True
                    break
                known = await self._read(joined, count_known)
                given = GIVEN if opened.count + GIVEN >= known else 0
                session = _Session(self, joined, channel, found, given)
                try:
                    if await session.compare():
                        found.equal = True
                        break
                except LimitExceededError as error:
                    log.debug("room_sync_to_be_continued", room=joined.room, peer=peer, limit=error.limit)
                    found.complete = False
                    break
            if seal is not None and found.equal:
                found.sealed = await self._same_objects(channel, joined, found, seal)
            await channel.close_write()
        found.summary = await self._read(joined, lambda index: index.summary(found.lower, found.upper))
        return found

    async def fetch(self, joined: Joined, peer: PeerId, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """What the member has of these messages, by digest: nothing else is known of them. Raises HostError,
        RemoteProtocolError."""
        found: dict[bytes, bytes] = {}
        channel: _CHANNEL = await self._streams.open(peer, [PROTOCOL], lambda _: SyncInitiator(), replayable=True)
        async with channel:
            await self._ask(channel, Open(joined.room, joined.horizon(self._clock())), Opened)
            for at in range(0, len(digests), limits.SYNC_WANTS):
                await channel.send(Want(tuple(digests[at : at + limits.SYNC_WANTS])), timeout=ANSWER_S)
                while not isinstance(event := await channel.receive(timeout=ANSWER_S), Undelivered):
                    found |= dict(self._expect(event, Delivered).messages)
            await channel.close_write()
        return found

    async def _same_objects(
        self, channel: _CHANNEL, joined: Joined, found: Exchanged, seal: Callable[[], Awaitable[object]]
    ) -> bool | None:
        first = -(-found.lower.timestamp // HOUR_MS)
        last = min(closed_before(self._clock()), first + limits.SYNC_HEAD_HOURS)
        if first >= last:
            return None
        for again in range(HEAD_TRIES):
            if again:
                await trio.sleep(HEAD_PAUSE_S)  # it may be sealing what it has just got
            await seal()
            ours = await head_over(self._store, joined, first, last)
            if (await self._ask(channel, Head(first, last), Headed)).head == ours.head:
                return True
        return False

    async def _ask(self, channel: _CHANNEL, request: Request, answer: type[T]) -> T:
        await channel.send(request, timeout=ANSWER_S)
        return self._expect(await channel.receive(timeout=ANSWER_S), answer)

    @staticmethod
    def _expect(event: InitiatorEvent | None, answer: type[T]) -> T:
        if isinstance(event, Refused):
            raise SyncRefusedError(event.code)
        if not isinstance(event, answer):
            raise SyncRefusedError("the member ended it")
        return event

    async def _read(self, joined: Joined, fn: Callable[[Index], T]) -> T:
        return await self._store.log.read_index(joined.agent.id, joined.room, fn)


async def head_over(store: Store, joined: Joined, first: int, last: int) -> Headed:
    """The checkpoint over the hours from `first` on and before `last`, as they were sealed last; of too many none."""
    refs = await store.batches.batch_refs(
        joined.agent.id, joined.room, from_hour=first, to_hour=last, limit=HEAD_BATCHES + 1
    )
    if len(refs) > HEAD_BATCHES:
        return Headed(None, 0)
    try:
        tree = await trio.to_thread.run_sync(checkpoint.tree, joined.room, refs)
    except HistoryError:
        return Headed(None, 0)  # a day that is too full for its object
    return Headed(None, 0) if tree is None else Headed(tree.head.cid, tree.count)


def count_known(index: Index) -> int:
    """Of all messages, and tombstones."""
    return index.summary(NOWHERE, MAX_KEY).count


class _Session:
    """From the first question about ranges to the last message."""

    def __init__(self, exchange: Exchange, joined: Joined, channel: _CHANNEL, found: Exchanged, given: int) -> None:
        self._x = exchange
        self._joined = joined
        self._channel = channel
        self._found = found
        self._machine = Initiator(max_haves=given)
        self._given_left = given
        self._needs: dict[bytes, int] = {}
        self._haves: list[bytes] = []

    async def compare(self) -> bool:
        """Returns whether neither lacked anything. Tombstones that one has and the other does not are no difference:
        anybody may have brought something to one member alone. Raises as `Exchange.run`, and LimitExceededError when a
        session is used up."""
        lower, upper = self._found.lower, self._found.upper
        random = self._x._entropy(8 * CUTS)
        numbers = [int.from_bytes(random[at : at + 8], "big") for at in range(0, len(random), 8)]

        def open_(index: Index) -> Ranges:
            return self._machine.open(index, lower, upper, random_cuts(index, lower, upper, numbers))

        request: Ranges | None = await self._x._read(self._joined, open_)
        differed = False
        while request is not None:
            answer = await self._x._ask(self._channel, Compare(request), Compare)
            step = await self._x._read(self._joined, partial(self._machine.handle, answer.ranges))
            differed |= bool(step.needs or step.haves or step.batches)
            await self._take(step.needs, step.batches)
            self._haves += step.haves
            self._given_left -= len(step.haves)
            await self._flush(limits.SYNC_WANTS)
            request = step.request
        await self._flush(1)
        # what is left to give, the other side takes when it asks
        self._found.complete &= self._machine.complete or self._given_left <= 0
        return not differed and self._machine.complete and self._machine.all_noted

    async def _take(self, needs: Sequence[Item], batches: Sequence[BatchRef]) -> None:
        for item in needs:
            self._needs[item.digest] = item.timestamp
        if batches:
            began = trio.current_time()
            self._found.received += await self._x._batches.fetch(self._joined, self._channel.peer, batches)
            if trio.current_time() - began > LONG_S:
                raise LimitExceededError("time", "batches took their time")

    async def _flush(self, least: int) -> None:
        """Fetch and give what has come together, if it is so much."""
        while len(self._needs) >= least:
            part = dict(list(self._needs.items())[: limits.SYNC_WANTS])
            self._needs = dict(list(self._needs.items())[limits.SYNC_WANTS :])
            await self._want(part)
        if len(self._haves) >= least:
            haves, self._haves = self._haves, []
            for at in range(0, len(haves), limits.SYNC_WANTS):
                await self._give(haves[at : at + limits.SYNC_WANTS])

    async def _want(self, needs: dict[bytes, int]) -> None:
        await self._channel.send(Want(tuple(needs)), timeout=ANSWER_S)
        while True:
            event = await self._channel.receive(timeout=ANSWER_S)
            if isinstance(event, Undelivered):
                if event.digests:
                    self._blame("broken_promise", BROKEN_POINTS * len(event.digests))
                return
            delivered = self._x._expect(event, Delivered)
            taken = await self._x._intake.take(
                self._joined, [Brought(raw, needs[digest]) for digest, raw in delivered.messages]
            )
            self._found.received += taken.stored
            if taken.lies:
                self._blame(taken.lies[0], FORGED_POINTS * len(taken.lies))
                raise RemoteProtocolError(taken.lies[0], f"{len(taken.lies)} messages", penalty=0)

    async def _give(self, digests: Sequence[bytes]) -> None:
        joined = self._joined
        signed = await self._x._store.log.signed(joined.agent.id, joined.room, digests)
        part: list[bytes] = []
        size = 0
        for raw in signed.values():
            if part and size + len(raw) > PUT_BYTES:
                await self._put(part)
                part, size = [], 0
            part.append(raw)
            size += len(raw)
        if part:
            await self._put(part)

    async def _put(self, messages: Sequence[bytes]) -> None:
        took = await self._x._ask(self._channel, Put(tuple(messages)), Took)
        self._found.sent += took.stored

    def _blame(self, reason: str, points: int) -> None:
        log.info("room_sync_faulty", room=self._joined.room, peer=self._channel.peer, reason=reason, points=points)
        self._x._penalise(self._channel.peer, reason, points)
