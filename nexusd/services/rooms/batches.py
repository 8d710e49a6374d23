"""Catching up by whole batches, each named by its content and had from whoever has it, several at once.

a member names them -> blocks from any members -> taken apart -> each message verified -> on disk
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
import trio

from nexusd.host.ports import BlockExchange, BlockSession, HostError, Topics
from nexusd.services.rooms.intake import Brought, Intake
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.ports import Penalise
from nexusd.services.work import at_leisure
from nexusd_protocols.content.block import BlockError, read_block
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.batch import BatchRef, read_batch
from nexusd_protocols.history.errors import HistoryError
from nexusd_protocols.identity import PeerId

log = structlog.get_logger(__name__)

AT_ONCE: Final = 16
"""Batches under way, of 1 MiB at most."""
BATCH_S: Final = 30.0
"""For one, from whoever has it."""
SOURCES: Final = 8
"""Members who are asked for blocks."""
EMPTY_POINTS: Final = 10
"""For naming a batch that nobody has."""
FAULTY_POINTS: Final = 25
"""For one that is no batch, or not of that hour: who names it has made it so, or never looked."""
FORGED_POINTS: Final = 25


class Batches:
    """Fetches batches."""

    def __init__(self, *, exchange: BlockExchange, topics: Topics, intake: Intake, penalise: Penalise) -> None:
        self._exchange = exchange
        self._topics = topics
        self._intake = intake
        self._penalise = penalise

    async def fetch(self, joined: Joined, source: PeerId, refs: Sequence[BatchRef]) -> int:
        """Have the messages of these batches on disk. `source` named them, and answers for it; all members are asked.
        Returns how many messages were new. Raises RemoteProtocolError, HostError, OSError."""
        wanted = [ref for ref in refs if ref.cid not in joined.fetching]
        if not wanted:
            return 0
        joined.fetching.update(ref.cid for ref in wanted)
        try:
            async with self._exchange.session() as session:
                # the source first: it has them. The others share the work
                session.add_peers([source, *list(self._topics.peers(joined.topic))[:SOURCES]])
                return await self._fetch_all(joined, source, wanted, session)
        finally:
            joined.fetching.difference_update(ref.cid for ref in wanted)

    async def _fetch_all(self, joined: Joined, source: PeerId, refs: Sequence[BatchRef], session: BlockSession) -> int:
        stored = 0
        errors: list[Exception] = []
        todo = iter(refs)

        async def work(scope: trio.CancelScope) -> None:
            nonlocal stored
            for ref in todo:
                try:
                    data = await session.get(ref.cid, timeout=BATCH_S)
                    # while one is committed others are verified, and those that wait share the next commit
                    taken = await self._take(joined, source, ref, data)
                    stored += taken
                except (HostError, RemoteProtocolError, OSError) as error:
                    if isinstance(error, HostError) and source in self._topics.peers(joined.topic):
                        self._penalise(source, "broken_promise", EMPTY_POINTS)
                    errors.append(error)
                    scope.cancel()

        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, len(refs))):
                nursery.start_soon(work, nursery.cancel_scope)
        if errors:
            raise errors[0]
        log.debug("room_batches_taken", room=joined.room, source=source, batches=len(refs), messages=stored)
        return stored

    async def _take(self, joined: Joined, source: PeerId, ref: BatchRef, data: bytes) -> int:
        try:
            block = await at_leisure(len(data), partial(read_block, ref.cid, data))
            batch = await at_leisure(len(data), partial(read_batch, block, room=joined.room))
        except (HistoryError, BlockError) as error:
            self._penalise(source, error.code, FAULTY_POINTS)
            raise RemoteProtocolError(error.code, str(error), penalty=0) from error
        if (batch.hour, batch.part, len(batch.messages)) != (ref.hour, ref.part, ref.count):
            self._penalise(source, "wrong_batch", FAULTY_POINTS)
            raise RemoteProtocolError("wrong_batch", "not what it was said to be", penalty=0)
        taken = await self._intake.take(joined, [Brought(message.encode()) for message in batch.messages])
        if taken.lies:
            # the others of the batch are kept: each verifies by itself
            self._penalise(source, taken.lies[0], FORGED_POINTS * len(taken.lies))
            raise RemoteProtocolError(taken.lies[0], f"{len(taken.lies)} messages", penalty=0)
        return taken.stored
