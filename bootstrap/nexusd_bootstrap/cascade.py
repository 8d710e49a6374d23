"""All sources at once: one channel of candidates, and no source that takes another down.

    source -> \\
    source ->  >- bounded channel -> deduplicate -> bounded channel -> candidates
    source -> /
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import structlog
import trio

from nexusd_bootstrap.candidate import Candidate
from nexusd_bootstrap.source import Source
from nexusd_protocols.identity import PeerId

log = structlog.get_logger(__name__)

State = Literal["waiting", "running", "done", "failed"]

WINDOW_S: Final = 5.0
"""The same peer at the same addresses is handed on once in this time, however many sources find it."""
CAPACITY: Final = 64
"""Candidates that wait to be taken. Sources wait when nobody takes them; a source loses nothing by it."""
REMEMBERED: Final = 1024
"""Candidates remembered for deduplication, the oldest forgotten first."""
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 300.0
"""A source that failed is run again after 1 s, then 2 s, up to 5 min: what broke it may take a reboot of a router."""
STEADY_S: Final = 60.0
"""A source that ran this long had recovered: the next failure begins at the first delay again."""


@dataclass(slots=True)
class SourceStatus:
    """One source for `nexus status`. `detail` is for a person; `found` counts candidates before deduplication."""

    name: str
    state: State
    detail: str
    found: int
    failures: int


class Cascade:
    """Runs sources together. Take what they find from `candidates`."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        window_s: float = WINDOW_S,
        capacity: int = CAPACITY,
        remembered: int = REMEMBERED,
    ) -> None:
        self._sources = tuple(sources)
        self._status = [SourceStatus(source.name, "waiting", "", 0, 0) for source in self._sources]
        self._window_s = window_s
        self._remembered = remembered
        self._recent: OrderedDict[tuple[PeerId, frozenset[str]], float] = OrderedDict()
        self._out, self.candidates = trio.open_memory_channel[Candidate](capacity)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run every source until cancelled. Says `started` at once: a source may take its time."""
        async with self._out, trio.open_nursery() as nursery:
            for source, status in zip(self._sources, self._status, strict=True):
                send, receive = trio.open_memory_channel[Candidate](0)
                nursery.start_soon(self._pump, receive, status)
                nursery.start_soon(self._supervise, source, status, send)
            task_status.started()
            # sources that are done do not end the channel: whoever reads it reads on until we are cancelled
            await trio.sleep_forever()

    def describe(self) -> list[SourceStatus]:
        """Each source, as it is now."""
        for source, status in zip(self._sources, self._status, strict=True):
            if status.state in ("running", "done"):
                status.detail = source.describe()
        return list(self._status)

    async def _supervise(self, source: Source, status: SourceStatus, found: trio.MemorySendChannel[Candidate]) -> None:
        delay = FIRST_RETRY_S
        async with found:
            while True:
                began = trio.current_time()
                status.state = "running"
                try:
                    # a clone: a source may close the channel it is given
                    async with found.clone() as own:
                        await source.run(own)
                except Exception as error:
                    # the boundary that keeps one source's fault from the others: whatever it is, it is logged here
                    if trio.current_time() - began >= STEADY_S:
                        delay = FIRST_RETRY_S
                    status.state, status.detail = "failed", f"{type(error).__name__}: {error}"
                    status.failures += 1
                    log.warning("source_failed", source=source.name, retry_s=delay, error=status.detail)
                else:
                    status.state, status.detail = "done", source.describe()
                    log.debug("source_done", source=source.name)
                    return
                await trio.sleep(delay)
                delay = min(LONGEST_RETRY_S, delay * 2)

    async def _pump(self, receive: trio.MemoryReceiveChannel[Candidate], status: SourceStatus) -> None:
        async with receive:
            async for candidate in receive:
                status.found += 1
                if self._is_new(candidate):
                    await self._out.send(candidate)

    def _is_new(self, candidate: Candidate) -> bool:
        key = (candidate.peer, frozenset(candidate.addresses))
        now = trio.current_time()
        last = self._recent.get(key)
        if last is not None and now - last < self._window_s:
            return False
        self._recent[key] = now
        self._recent.move_to_end(key)
        if len(self._recent) > self._remembered:
            self._recent.popitem(last=False)
        return True
