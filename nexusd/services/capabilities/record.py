"""The record of calls, made and answered: the event feed hears that one began, the disk how it ended."""

from __future__ import annotations

from typing import Literal

import structlog
import trio

from nexusd.services.ports import Emit, LiveEvent, WallClock
from nexusd.store import Store
from nexusd.store.invocations import InvocationRow
from nexusd_protocols.identity import AgentId, PeerId

log = structlog.get_logger(__name__)


class Record:
    """Neither side of a call waits for the disk; calls that end together share a commit."""

    def __init__(self, store: Store, emit: Emit, clock: WallClock) -> None:
        self._store = store
        self._emit = emit
        self._clock = clock
        self._writing = 0
        self._written = trio.Event()
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write, until cancelled. Calls may end only while this runs."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def began(self, invocation: str, direction: Literal["in", "out"], peer: PeerId, capability: str) -> None:
        """A call is under way."""
        data = {"invocation": invocation, "direction": direction, "peer": peer, "capability": capability}
        self._emit(LiveEvent(kind="invoke", type="started", at=self._clock(), data=data, peer=peer))

    def ended(self, agent: AgentId, row: InvocationRow) -> None:
        """A call of this agent's is over: have it written down."""
        assert self._nursery is not None
        self._writing += 1
        self._nursery.start_soon(self._write, agent, row)

    async def _write(self, agent: AgentId, row: InvocationRow) -> None:
        try:
            await self._store.invocations.record(agent, row)
        except OSError as error:
            log.error("call_not_recorded", invocation=row.invocation, error=str(error))
        finally:
            self._writing -= 1
            self._written.set()

    async def written(self) -> None:
        """Wait until all that ended is on the disk."""
        while self._writing:
            self._written = trio.Event()
            await self._written.wait()
