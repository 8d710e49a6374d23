"""Members who compare with us: what they ask is answered from the log, and what they put is verified and kept.

Nothing is remembered between two questions. How much one member may ask is bounded by the machine, how many ask at once
here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import structlog
import trio

from nexusd.host.ports import Channel, Streams
from nexusd.services.ports import WallClock
from nexusd.services.rooms.exchange import FORGED_POINTS, PUT_BYTES, count_known, head_over
from nexusd.services.rooms.intake import Brought, Intake
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.ports import Penalise
from nexusd.store import Store
from nexusd_protocols.chatsync.frames import (
    PROTOCOL,
    Compare,
    Head,
    Messages,
    Open,
    Opened,
    Put,
    Refused,
    Took,
    Want,
)
from nexusd_protocols.chatsync.index import Index
from nexusd_protocols.chatsync.reconcile import answer
from nexusd_protocols.chatsync.stream import Answer, Request, SyncResponder
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import PeerId
from nexusd_protocols.rate import Rate

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
"""Members who compare with us at once. Each may have a frame of 1.25 MiB under way in each direction."""
AT_ONCE_EACH: Final = 2
COMPARISONS: Final = (120.0, 1.0)
"""Of one member: so many in a burst, and a second. In 256 rooms it begins four a second by itself at most, and news may
bring more."""
MEMBERS: Final = 1024
"""Of whom it is remembered how much they asked."""
WORK_S: Final = (60.0, 0.1)
"""Seconds that looking things up for one member, and taking what it puts, may take: so many at once, and a second. Ten
thousand differences in a million messages take five; who asks for more has every range asked about that there is."""
HEADS: Final = 8
"""Checkpoints named in one comparison, each of which may be made of 100,000 batches. One is enough to compare."""
IDLE_S: Final = 60.0
"""Between two questions of one member, which verifies and stores a thousand batches meanwhile. A longer pause costs it
another session."""
SEND_S: Final = 30.0
TAKE_S: Final = 0.0002
"""Of that for each message that is put: to decode, verify, read and commit one takes 140 µs and more of the loop."""
READ_AT_ONCE: Final = 32
"""Messages read from disk together, so that 256 of the largest are never in memory at once."""


T = TypeVar("T")
_CHANNEL = Channel[Request, Answer]


@dataclass(slots=True)
class _Asked:
    """What one member has asked for."""

    comparisons: Rate
    work: Rate


class Answering:
    """Serves chat-sync 2.0.0."""

    def __init__(
        self,
        *,
        streams: Streams,
        store: Store,
        intake: Intake,
        clock: WallClock,
        penalise: Penalise,
        find: Callable[[str], Joined | None],
        served: Callable[[Joined, PeerId, bool], None],
    ) -> None:
        """`find` is a room that is kept here, `served` is told who compared and whether that brought something."""
        self._streams = streams
        self._store = store
        self._intake = intake
        self._clock = clock
        self._penalise = penalise
        self._find = find
        self._served = served
        self._busy: Counter[PeerId] = Counter()
        self._asked: dict[PeerId, _Asked] = {}
        self._looking = trio.Lock()
        """One look into a log at a time, so that the others who read the database find it free."""

    def start(self) -> None:
        """Be asked from now on."""
        self._streams.handle(PROTOCOL, lambda _: SyncResponder(), self._receive)

    async def _receive(self, channel: _CHANNEL) -> None:
        request = await channel.receive(timeout=SEND_S)
        if not isinstance(request, Open):
            return
        joined = self._find(request.room)
        if joined is None:
            await channel.send(Refused("not_here"), timeout=SEND_S)
            return
        if not self._of(channel.peer).comparisons.allows(trio.current_time()):
            self._penalise(channel.peer, "too_many_comparisons", 1)
            await channel.send(Refused("busy"), timeout=SEND_S)
            return
        if self._busy.total() >= AT_ONCE or self._busy[channel.peer] >= AT_ONCE_EACH:
            await channel.send(Refused("busy"), timeout=SEND_S)
            return
        self._busy[channel.peer] += 1
        try:
            await self._serve(channel, joined)
        finally:
            self._busy[channel.peer] -= 1
            if not self._busy[channel.peer]:
                del self._busy[channel.peer]

    def _of(self, peer: PeerId) -> _Asked:
        now = trio.current_time()
        asked = self._asked.pop(peer, None) or _Asked(Rate(*COMPARISONS, now), Rate(*WORK_S, now))
        self._asked[peer] = asked
        if len(self._asked) > MEMBERS:
            del self._asked[next(iter(self._asked))]
        return asked

    async def _look(self, channel: _CHANNEL, joined: Joined, fn: Callable[[Index], T]) -> T:
        """Ask the log, on the member's account. Raises RemoteProtocolError `too_much_work`."""

        def timed(index: Index) -> tuple[T, float]:
            began = time.perf_counter()
            return fn(index), time.perf_counter() - began

        async with self._looking:
            found, seconds = await self._store.log.read_index(joined.agent.id, joined.room, timed)
        await self._charge(channel, seconds)
        return found

    async def _charge(self, channel: _CHANNEL, seconds: float) -> None:
        """Raises RemoteProtocolError `too_much_work` where that is more than the member may have."""
        if self._of(channel.peer).work.turn(trio.current_time(), seconds) > 0:
            self._penalise(channel.peer, "too_much_work", 10)
            await channel.send(Refused("busy"), timeout=SEND_S)
            raise RemoteProtocolError("too_much_work", f"over {WORK_S[0]:g} s", penalty=0)

    async def _serve(self, channel: _CHANNEL, joined: Joined) -> None:
        agent, room = joined.agent.id, joined.room
        head = await self._store.batches.head(agent, room)
        known = await self._look(channel, joined, count_known)
        await channel.send(Opened(joined.horizon(self._clock()), head, known), timeout=SEND_S)
        brought = heads = 0
        try:
            while True:
                request = None
                with trio.move_on_after(IDLE_S):
                    request = await channel.receive()
                match request:
                    case Compare(ranges=ranges):
                        said = await self._look(channel, joined, partial(answer, ranges))
                        await channel.send(Compare(said), timeout=SEND_S)
                    case Want(digests=digests):
                        await self._deliver(channel, joined, digests)
                    case Put(messages=messages):
                        stored = await self._take(channel, joined, messages)
                        brought += stored
                    case Head(first=first, last=last):
                        heads += 1
                        named = await head_over(self._store, joined, first, last) if heads <= HEADS else None
                        await channel.send(named or Refused("busy"), timeout=SEND_S)
                    case _:
                        break
        finally:
            self._served(joined, channel.peer, brought > 0)

    async def _deliver(self, channel: _CHANNEL, joined: Joined, digests: Sequence[bytes]) -> None:
        """In frames as they fill; only what is not here is named."""
        part: list[bytes] = []
        size = 0
        absent: list[bytes] = []
        for at in range(0, len(digests), READ_AT_ONCE):
            some = digests[at : at + READ_AT_ONCE]
            signed = await self._store.log.signed(joined.agent.id, joined.room, some)
            absent += [digest for digest in some if digest not in signed]
            for raw in signed.values():
                if part and size + len(raw) > PUT_BYTES:
                    await channel.send(Messages(tuple(part), (), last=False), timeout=SEND_S)
                    part, size = [], 0
                part.append(raw)
                size += len(raw)
        await channel.send(Messages(tuple(part), tuple(absent), last=True), timeout=SEND_S)

    async def _take(self, channel: _CHANNEL, joined: Joined, messages: Sequence[bytes]) -> int:
        await self._charge(channel, TAKE_S * len(messages))
        try:
            taken = await self._intake.take(joined, [Brought(raw) for raw in messages])
        except OSError as error:
            log.warning("room_messages_not_stored", room=joined.room, peer=channel.peer, error=str(error))
            await channel.send(Refused("storage_full"), timeout=SEND_S)
            return 0
        if taken.lies:
            log.info("room_sync_faulty", room=joined.room, peer=channel.peer, reason=taken.lies[0])
            self._penalise(channel.peer, taken.lies[0], FORGED_POINTS * len(taken.lies))
            await channel.send(Refused(taken.lies[0]), timeout=SEND_S)
            return taken.stored
        await channel.send(Took(taken.stored + taken.known, tuple(taken.refused)), timeout=SEND_S)
        return taken.stored
