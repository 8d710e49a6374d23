"""Whole things fetched: a job for each, for as long as somebody waits for it.

    Walk -> is it here? -> else 32 at once from several peers -> stored -> Walk

What came stays, so that a job that is begun again continues. A job whose last waiter is gone ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
import trio

from nexusd.host.ports import DeadlineError, HostError, NotFoundError
from nexusd.services.content.fetcher import Fetcher, first_of
from nexusd.services.content.ports import Names
from nexusd.services.content.shelf import Shelf
from nexusd.services.ports import Emit, LiveEvent, WallClock
from nexusd.services.work import at_leisure
from nexusd.store.errors import QuotaExceededError
from nexusd_protocols import limits
from nexusd_protocols.content.block import Block, BlockError
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.content.walk import Step, Walk, steps_below
from nexusd_protocols.identity import PeerId
from nexusd_protocols.rpc.schema import ContentFetched

log = structlog.get_logger(__name__)

JOBS: Final = 64
"""Things fetched at once."""
LOOKED_AT: Final = 256
"""Blocks looked for in the store in one go."""
LINGER_S: Final = 10.0
"""How long a job goes on without anybody who waits: a program asks again and again."""
STALL_S: Final = 60.0
"""How long a job that has begun to come goes on without a block: peers restart, and laptops change networks."""
NOWHERE_S: Final = 20.0
"""The same, where nobody who is asked has the next block: a daemon is back from a restart by then."""
RETRY_S: Final = 2.0
TELL_S: Final = 0.25
"""Between two events of progress."""


@dataclass(eq=False, slots=True)
class Job:
    """One thing that is being fetched. `error` says why it was given up."""

    cid: Cid
    walk: Walk
    fetcher: Fetcher
    most: int | None
    waiters: int = 0
    left_at: float = 0.0
    links: int = 0
    """In all of its blocks."""
    done: bool = False
    error: Exception | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    last_block: float = 0.0
    last_told: float = 0.0

    def state(self) -> ContentFetched:
        """How far it is."""
        return ContentFetched(
            cid=str(self.cid),
            done=self.done,
            blocks=self.walk.blocks,
            bytes=self.walk.bytes,
            fetched=self.fetcher.fetched,
            total=self.walk.total,
            peers=self.fetcher.peers,
        )


class Fetches:
    """All jobs. `run` carries them out."""

    def __init__(self, shelf: Shelf, names: Names, emit: Emit, clock: WallClock) -> None:
        self._shelf = shelf
        self._names = names
        self._emit = emit
        self._clock = clock
        self._jobs: dict[Cid, Job] = {}
        self._nursery: trio.Nursery | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry jobs out until cancelled."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def join(self, cid: Cid, peers: Iterable[PeerId], *, most: int | None = None) -> Job | None:
        """The job that fetches this, begun if there is none; None if too many are under way. `most` bytes are fetched
        by a job that is begun with it. Whoever joins `wait`s, or the job goes on for a while only."""
        assert self._nursery is not None
        job = self._jobs.get(cid)
        if job is None or job.scope.cancel_called:
            if len(self._jobs) >= JOBS:
                return None
            job = Job(cid, Walk(cid), Fetcher(self._shelf, self._names, cid), most, left_at=trio.current_time())
            self._jobs[cid] = job
            self._nursery.start_soon(self._carry_out, job)
            self._nursery.start_soon(self._watch, job)
        job.fetcher.add_peers(peers)
        return job

    async def wait(self, job: Job, seconds: float) -> ContentFetched:
        """Wait until a job has ended, but not longer. Raises what made it fail: HostError, BlockError, StorageError."""
        job.waiters += 1
        try:
            with trio.move_on_after(seconds):
                await job.ended.wait()
        finally:
            job.waiters -= 1
            job.left_at = trio.current_time()
        if job.error is not None:
            raise job.error
        return job.state()

    async def _watch(self, job: Job) -> None:
        """End a job that nobody has waited for of late."""
        while not job.ended.is_set():
            with trio.move_on_at(job.left_at + LINGER_S if not job.waiters else trio.current_time() + LINGER_S):
                await job.ended.wait()
            if not job.waiters and trio.current_time() >= job.left_at + LINGER_S:
                job.scope.cancel()
                return

    # --- one job ----------------------------------------------------------------------------------------------------

    async def _carry_out(self, job: Job) -> None:
        job.last_block = trio.current_time()
        try:
            with job.scope:
                async with job.fetcher:
                    await self._fetch_all(job)
                job.done = True
            if job.scope.cancelled_caught:
                job.error = DeadlineError("Nobody waited for it any more")
        except* (HostError, BlockError, OSError) as group:
            job.error = first_of(group)
            log.info("fetch_failed", cid=str(job.cid), reason=str(job.error))
        finally:
            if self._jobs.get(job.cid) is job:
                del self._jobs[job.cid]
            job.ended.set()
            if job.done:
                self._tell(job, "fetched")

    async def _fetch_all(self, job: Job) -> None:
        send, receive = trio.open_memory_channel[Step](0)
        changed = trio.Event()

        def took() -> None:
            nonlocal changed
            changed.set()
            changed = trio.Event()

        async with trio.open_nursery() as nursery:
            for _ in range(limits.BITSWAP_UNDER_WAY):
                nursery.start_soon(self._work, job, receive.clone(), took)
            receive.close()
            async with send:
                while not job.walk.done:
                    steps = job.walk.next(LOOKED_AT)
                    for step in await self._missing(job, steps):
                        await send.send(step)
                    self._tell(job, "progress")
                    if not steps and not job.walk.done:
                        await changed.wait()

    async def _missing(self, job: Job, steps: Sequence[Step]) -> list[Step]:
        """Those of the blocks that are not here; of the others the walk is told."""
        here = await self._shelf.blocks.has([step.cid for step in steps]) if steps else set()
        missing: list[Step] = []
        for step in steps:
            block: Block | None = None
            if step.cid not in here:
                missing.append(step)
            elif step.is_leaf and step.size:
                job.walk.skip(step)
            elif (block := await self._shelf.blocks.get(step.cid)) is None:
                missing.append(step)
            else:
                await self._go_below(job, block)
        return missing

    async def _work(self, job: Job, steps: trio.MemoryReceiveChannel[Step], took: Callable[[], None]) -> None:
        async with steps:
            async for step in steps:
                block = await self._persist(job, step.cid)
                job.last_block = trio.current_time()
                await self._go_below(job, block)
                if job.most is not None and job.fetcher.fetched > job.most:
                    raise QuotaExceededError(f"{job.cid} has more than the {job.most} bytes that may be kept")
                took()

    @staticmethod
    async def _go_below(job: Job, block: Block) -> None:
        below = await at_leisure(len(block.data), partial(steps_below, block))
        job.links += len(below)
        job.walk.take(block, below)

    async def _persist(self, job: Job, cid: Cid) -> Block:
        """A block, from whoever has it, tried again while others come. Raises what `Fetcher.fetch` does."""
        while True:
            try:
                return await job.fetcher.fetch(cid)
            except (NotFoundError, DeadlineError) as error:
                patience = NOWHERE_S if isinstance(error, NotFoundError) else STALL_S
                if not job.walk.blocks or trio.current_time() - job.last_block > patience:
                    raise
            await trio.sleep(RETRY_S)
            await job.fetcher.search(again=True)

    def _tell(self, job: Job, what: str) -> None:
        now = trio.current_time()
        if what != "progress" or now - job.last_told >= TELL_S:
            job.last_told = now
            self._emit(LiveEvent(kind="content", type=what, at=self._clock(), data=job.state()))
