"""The record of calls, made and answered: the event feed hears that one began, the disk how it ended."""

from __future__ import annotations

from typing import Final, Literal

import structlog
import trio

from nexusd.services.ports import Emit, LiveEvent, WallClock
from nexusd.store import Store
from nexusd.store.invocations import InvocationRow
from nexusd_protocols.identity import AgentId, PeerId

log = structlog.get_logger(__name__)

GATHER_SECONDS: Final = 0.05
"""How long what ended waits for more to end: a commit costs a fsync and two changes of threads, as much as a small
call's own work, and nobody was told that the record is on the disk."""

UPKEEP_S: Final = 3600.0
"""How often what is old is folded and dropped."""


class Record:
    """Neither side of a call waits for the disk; calls that end together share a commit."""

    def __init__(self, store: Store, emit: Emit, clock: WallClock) -> None:
        self._store = store
        self._emit = emit
        self._clock = clock
        self._ended: list[tuple[AgentId, InvocationRow]] = []
        self._some = trio.Event()
        self._hurry = trio.Event()
        self._written = trio.Event()
        self._writing = False
        self._over = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write, until cancelled, and then what has ended by then. Calls may end only while this runs."""
        task_status.started()
        try:
            while True:
                await self._some.wait()
                with trio.move_on_after(GATHER_SECONDS):
                    await self._hurry.wait()
                await self._write()
        finally:
            await self._write()
            self._over = True
            self._written.set()

    async def tidy(self) -> None:
        """Keep it bounded, until cancelled: calls cost whoever makes them nothing."""
        while True:
            try:
                await self._store.metering.fold(self._clock())
                await self._store.invocations.forget()
            except OSError as error:
                log.error("calls_not_forgotten", error=str(error))
            await trio.sleep(UPKEEP_S)

    async def _write(self) -> None:
        """Write down what has ended. Not cancelled: nobody else has it."""
        self._some = trio.Event()
        rows, self._ended = self._ended, []
        if not rows:
            return
        self._writing = True
        try:
            with trio.CancelScope(shield=True):
                await self._keep(rows)
        finally:
            self._writing = False
            self._written.set()

    async def _keep(self, rows: list[tuple[AgentId, InvocationRow]]) -> None:
        """Write these down together. One that the store cannot hold costs itself alone: what is in it is partly the
        other side's word, and this daemon goes on without it."""
        try:
            await self._store.invocations.record_all(rows)
        except OSError as error:
            log.error("calls_not_recorded", invocations=[row.invocation for _, row in rows], error=str(error))
        except Exception:
            if len(rows) == 1:
                log.exception("call_not_recorded", invocation=rows[0][1].invocation)
                return
            for row in rows:
                await self._keep([row])

    def began(self, invocation: str, direction: Literal["in", "out"], peer: PeerId, capability: str) -> None:
        """A call is under way."""
        data = {"invocation": invocation, "direction": direction, "peer": peer, "capability": capability}
        self._emit(LiveEvent(kind="invoke", type="started", at=self._clock(), data=data, peer=peer))

    def ended(self, agent: AgentId, row: InvocationRow) -> None:
        """A call of this agent's is over: have it written down."""
        self._ended.append((agent, row))
        self._some.set()

    async def written(self) -> None:
        """Wait until all that ended is on the disk, or nothing more will be."""
        self._hurry.set()
        while (self._ended or self._writing) and not self._over:
            self._written = trio.Event()
            await self._written.wait()
