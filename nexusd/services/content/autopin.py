"""Content that messages of rooms refer to, kept for the room: a little of it, from everybody."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog
import trio

from nexusd.host.ports import DeadlineError, HostError
from nexusd.services.content.fetcher import Fetcher
from nexusd.services.content.fetching import Fetches
from nexusd.services.content.keeping import ROOM, Keeping
from nexusd.services.content.ports import Names
from nexusd.services.content.shelf import Shelf
from nexusd.services.work import at_leisure
from nexusd.store.errors import QuotaExceededError, StorageError
from nexusd_protocols import limits
from nexusd_protocols.content.block import BlockError
from nexusd_protocols.content.cid import DAG_PB, Cid
from nexusd_protocols.content.unixfs import total_size
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import RoomId
from nexusd_protocols.rate import Rates

log = structlog.get_logger(__name__)

REFERENCES_A_MINUTE: Final = 10
"""Messages with references of one sender: the published figure."""
PINS: Final = 10_000
"""Kept so in all rooms together, the oldest making room: the published figure."""
SENDERS: Final = 4096
"""Senders whose rate is remembered."""
WAITING: Final = 256
"""References that wait to be fetched; of more, the newest are left out."""
AT_ONCE: Final = 4
NAME: Final = "referred"
"""What a pin made so is called, to be known by."""
RETENTION: Final = "retained"
FETCH_S: Final = 600.0
WASTED_S: Final = 3600.0
"""How long what came and was not kept is on the disk all the same: the collector's grace."""
LINK_BYTES: Final = 200
"""What a link takes in the database, beside its block: five times what it takes in that."""
FEW_LINKS: Final = 1000
"""Of a file of 256 MB, or a directory as people make them: not counted."""
UNSAID_BYTES: Final = 16 * limits.MIB
"""What is set aside for something that does not say how large it is."""


class Autopin:
    """Fetches and keeps what messages refer to. `run` carries it out."""

    def __init__(
        self, agent: AgentId, shelf: Shelf, names: Names, keeping: Keeping, fetches: Fetches, *, enabled: bool
    ) -> None:
        self.enabled: Final = enabled
        self._agent = agent
        self._shelf = shelf
        self._names = names
        self._keeping = keeping
        self._fetches = fetches
        self._rates: Rates[PeerId] = Rates(REFERENCES_A_MINUTE, REFERENCES_A_MINUTE / 60, most=SENDERS)
        self._pins: OrderedDict[tuple[str, Cid], None] = OrderedDict()
        self._wasted: Counter[int] = Counter()
        """Bytes that came of things that were not kept, by the minute."""
        self._send, self._receive = trio.open_memory_channel[tuple[str, PeerId, Cid]](WAITING)

    async def load(self) -> None:
        """Find what was kept before."""
        after = 0
        while True:
            page = await self._shelf.blocks.pins(self._agent, after=after, limit=limits.PAGE_ROWS)
            for pin in page.rows:
                if pin.owner.startswith(ROOM) and pin.name == NAME:
                    self._pins[pin.owner, pin.cid] = None
            if not page.more:
                return
            after = page.rows[-1].position

    def referred(self, room: RoomId, sender: PeerId, references: Sequence[str]) -> None:
        """A message that was kept refers to these. Never waits."""
        found = [cid for cid in map(_cid, references[: limits.REFERENCES]) if cid is not None]
        if not self.enabled or not found:
            return
        now = trio.current_time()
        if not self._rates.of(sender, now).allows(now):
            return
        for at, cid in enumerate(found):
            try:
                self._send.send_nowait((f"{ROOM}{room}", sender, cid))
            except trio.WouldBlock:
                log.debug("references_left_out", room=room, count=len(found) - at)
                return

    async def run(self) -> None:
        """Fetch what was referred to, until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        async for owner, sender, cid in self._receive.clone():
            try:
                await self._keep(owner, sender, cid)
            except (HostError, BlockError, StorageError) as error:
                log.info("reference_not_kept", owner=owner, cid=str(cid), reason=str(error))

    async def _keep(self, owner: str, sender: PeerId, cid: Cid) -> None:
        if any(pin.expires_at == 0 or pin.owner == owner for pin in await self._shelf.blocks.pins_of(cid, 16)):
            return  # it stays anyhow
        if self._waste() >= self._keeping.budgets.total:
            raise QuotaExceededError("Too much came of late that could not be kept")
        fetched = 0
        try:
            async with Fetcher(self._shelf, self._names, cid, [sender]) as fetcher:
                try:
                    root = await fetcher.block(cid)
                finally:
                    fetched = fetcher.fetched
            size = await at_leisure(len(root.data), partial(total_size, cid, root.data))
            if root.links and cid.codec != DAG_PB:
                size = UNSAID_BYTES
            await self._keeping.pin(self._agent, owner, cid, RETENTION, name=NAME, size=size)
            try:
                job = self._fetches.join(cid, [sender], most=size)
                if job is None:
                    raise HostError("Too much is being fetched")
                try:
                    state = await self._fetches.wait(job, FETCH_S)
                finally:
                    fetched += job.fetcher.fetched + LINK_BYTES * job.links
                if not state.done:
                    raise DeadlineError(f"It did not come in {FETCH_S:g} s")
                if job.links > FEW_LINKS:
                    size += LINK_BYTES * job.links
                    await self._keeping.pin(self._agent, owner, cid, RETENTION, name=NAME, size=size)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await self._shelf.blocks.unpin(self._agent, owner, cid)
                raise
        except (HostError, BlockError, StorageError):
            self._wasted[int(trio.current_time() // 60)] += fetched
            raise
        self._pins[owner, cid] = None
        while len(self._pins) > PINS:
            (oldest_owner, oldest), _ = self._pins.popitem(last=False)
            await self._shelf.blocks.unpin(self._agent, oldest_owner, oldest)

    def _waste(self) -> int:
        """Bytes on the disk that came to be kept for others, and are not."""
        since = int((trio.current_time() - WASTED_S) // 60)
        for minute in [each for each in self._wasted if each < since]:
            del self._wasted[minute]
        return self._wasted.total()


def _cid(text: str) -> Cid | None:
    try:
        return Cid.parse(text)
    except ValueError:
        return None  # a message's id, or what another version refers to
