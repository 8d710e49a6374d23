"""What the DHT does without being asked: fill the table, tell again what is ours, keep what must not be lost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from nexusd.host.dht.ports import Shelf
from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.providers import Providers
from nexusd_protocols.kad.records import Records, ValidUntil
from nexusd_protocols.kad.renewals import Renewal, Renewals, Sort
from nexusd_protocols.kad.routing_table import RoutingTable

_log = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 600.0
"""Between lookups for the sake of the table (libp2p specs, kad-dht/README.md, "Bootstrap process")."""
SETTLE_SECONDS: Final = 0.5
GROWTH_SECONDS: Final = 10.0
"""A peer that was not known brings others: our own place is looked up soon after the first and, while more come, not
more often than this."""
RENEW_SECONDS: Final = 30.0
"""Between looks at what is due: nobody minds half a minute in 22 hours."""
KEEP_SECONDS: Final = 5.0
"""What others had stored here in the last seconds is lost in a crash; nineteen others have it too."""
SPAWNED: Final = 64
"""Errands at once that nobody waits for; more are left out."""

Tell = Callable[[Renewal], Awaitable[list[PeerId] | None]]


class Upkeep:
    """`tell` tells the peers closest to it what is ours, `look` looks up a key, `online` says whether any peer of the
    table is connected: if none is, it is for others to find one. `valid_until` is when a record's time is over."""

    def __init__(
        self,
        table: RoutingTable,
        records: Records,
        providers: Providers,
        renewals: Renewals,
        shelf: Shelf,
        *,
        tell: Tell,
        look: Callable[[bytes], Awaitable[None]],
        online: Callable[[], bool],
        valid_until: ValidUntil,
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._table = table
        self._records = records
        self._providers = providers
        self._renewals = renewals
        self._shelf = shelf
        self._tell = tell
        self._look = look
        self._online = online
        self._valid_until = valid_until
        self._now = clock
        self._entropy = entropy
        self._own_key = table.own_key
        self._newcomers = trio.Event()
        self._due = trio.Event()
        self._keeping = trio.Lock()
        self._telling: set[tuple[Sort, bytes]] = set()
        self._nursery: trio.Nursery | None = None
        self._spawned = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started once what was kept is back."""
        saved = await self._shelf.load()
        now = self._now()
        self._renewals.restore(saved.own)
        self._records.restore(saved.records, now)
        self._providers.restore(saved.providers, now)
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._refresh)
            self._nursery.start_soon(self._renew)
            self._nursery.start_soon(self._keep_others)
            task_status.started()

    def spawn(self, errand: Callable[[], Awaitable[Any]]) -> None:
        """Run something that nobody waits for, unless there is too much of that."""
        if self._nursery is not None and self._spawned < SPAWNED:
            self._spawned += 1
            self._nursery.start_soon(self._run_errand, errand)

    def newcomer(self) -> None:
        """The table has a peer that it did not have."""
        self._newcomers.set()
        self._renewals.hurry(self._now())
        self._due.set()

    # --- what is ours -----------------------------------------------------------------------------------------------

    async def keep(self, renewal: Renewal) -> Renewal:
        """Have what is ours on disk before anybody hears of it."""
        await self._shelf.keep_own(renewal)
        return renewal

    async def drop(self, sort: Sort, key: bytes) -> bool:
        """Tell of it no more."""
        known = self._renewals.remove(sort, key)
        await self._shelf.drop_own(sort, key)
        return known

    async def tell(self, renewal: Renewal) -> list[PeerId]:
        """Tell it now. Returns who took it. Raises ValueError if others have a better record: ours is dropped."""
        name = (renewal.sort, renewal.key)
        self._telling.add(name)
        try:
            took = await self._tell(renewal)
        finally:
            self._telling.discard(name)
        if took is None:
            if self._is_ours(renewal):  # the better one may be our own next
                await self.drop(renewal.sort, renewal.key)
            raise ValueError("A newer record is known to others")
        after = self._renewals.told(renewal, len(took), self._now())
        if after is not None:
            await self._shelf.keep_own(after)
        return took

    async def _renew(self) -> None:
        while True:
            await self._drop_lapsed()
            for renewal in self._renewals.due(self._now()):
                if (renewal.sort, renewal.key) not in self._telling and self._online():
                    await self._renew_one(renewal)
            with trio.move_on_after(RENEW_SECONDS):
                await self._due.wait()
                await trio.sleep(SETTLE_SECONDS)
            self._due = trio.Event()

    def _is_ours(self, renewal: Renewal) -> bool:
        """Whether it was not replaced meanwhile."""
        return renewal.sort == "provider" or self._renewals.value(renewal.key) == renewal.value

    async def _drop_lapsed(self) -> None:
        """A record of ours whose time is over would be taken by nobody."""
        for renewal in self._renewals.records():
            end = self._valid_until(renewal.key, renewal.value)
            if end is not None and self._now() > end and self._is_ours(renewal):
                try:
                    await self.drop(renewal.sort, renewal.key)
                except OSError as error:
                    _log.warning("a record whose time is over is on disk still: %s", error)

    async def _renew_one(self, renewal: Renewal) -> None:
        try:
            await self.tell(renewal)
        except ValueError as error:
            _log.info("a record of this node is told no more: %s", error)
        except OSError as error:
            _log.warning("when something was told last is not on disk yet: %s", error)

    # --- the table --------------------------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        while True:
            grew = False
            with trio.move_on_after(REFRESH_SECONDS):
                await self._newcomers.wait()
                grew = True
                await trio.sleep(SETTLE_SECONDS)
            self._newcomers = trio.Event()
            if self._online():
                await self._look(self._own_key)
                if not grew:
                    await self._look(self._table.refresh_key(self._entropy))
            await trio.sleep(GROWTH_SECONDS)

    # --- what is others' --------------------------------------------------------------------------------------------

    async def _keep_others(self) -> None:
        while True:
            await trio.sleep(KEEP_SECONDS)
            self._records.expire(self._now())
            self._providers.expire(self._now())
            await self.flush()

    async def flush(self) -> None:
        """Bring to disk what has changed of what is kept for others."""
        async with self._keeping:
            records, providers = self._records.changes(), self._providers.changes()
            try:
                if records or providers:
                    await self._shelf.keep_others(records, providers)
            except BaseException as error:
                self._records.not_kept(key for key, _ in records)
                self._providers.not_kept(name for name, _ in providers)
                if not isinstance(error, OSError):
                    raise
                # a full disk, which the daemon tells of elsewhere: what is others' can wait
                _log.warning("what is kept for others is not on disk yet: %s", error)

    async def _run_errand(self, errand: Callable[[], Awaitable[Any]]) -> None:
        try:
            await errand()
        finally:
            self._spawned -= 1
