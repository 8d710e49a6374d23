"""What was called, by whom, and what it cost: one row for each finished invocation, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import apsw

from nexusd.store.database import Database
from nexusd.store.event_log import add_event
from nexusd.store.ledger.metering import add_to_meter
from nexusd.store.paging import Page, PagedQuery
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.invoke.frames import Code
from nexusd_protocols.payments import faults

NOT_BEGUN: Final = frozenset(
    {
        Code.NOT_FOUND,
        Code.FORBIDDEN,
        Code.BUSY,
        Code.PAYMENT_REQUIRED,
        Code.PAYMENT_TIMEOUT,
        Code.PAYMENT_INVALID,
        "invalid_params",
        "payment_required",
        "payment_refused",
        "payment_rejected",
        "no_wallet",
        "wallet_locked",
        *faults.CODES,
    }
)
"""Outcomes of a call that its provider would not begin, or that was not paid for; unless something came of it first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationRow:
    """A finished invocation. `in`: the peer called us. Bytes are those that really went. `outcome` is 'ok', or the
    word of the error table. `payment` names what paid it: a charge's key (in) or a purchase's id (out); `amount`, in
    the smallest unit of `asset`, is what was charged; `units` of `unit` (see `terms.Unit`) are what the price counts.
    Amount and units are 0 of a call that was made again: its payment is counted with the first that is recorded."""

    invocation: str
    direction: Literal["in", "out"]
    peer: PeerId
    capability: CapabilityName
    started_at: int
    duration_ms: int
    input_bytes: int
    output_bytes: int
    outcome: str
    position: int = 0
    payment: str = ""
    asset: str = ""
    amount: int = 0
    units: int = 0
    unit: str = ""

    @property
    def begun(self) -> bool:
        """Whether it was worked on. What only asked for a price was not, nor what the provider refused."""
        return bool(self.payment or self.output_bytes) or self.outcome not in NOT_BEGUN

    @property
    def size(self) -> int:
        """What it counts against PAGE_CHARS."""
        return 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over the invocations of one capability with one peer, in one direction."""

    peer: PeerId
    capability: CapabilityName
    direction: Literal["in", "out"]
    calls: int
    failed: int
    input_bytes: int
    output_bytes: int
    duration_ms: int
    last_at: int


INVOCATION_SELECT: Final = (
    "SELECT position, invocation, direction, peer, capability, started_at, duration_ms, input_bytes, output_bytes,"
    " outcome, payment, asset, amount, units, unit FROM invocations"
)


def invocation_row(
    position: int,
    invocation: str,
    direction: Literal["in", "out"],
    peer: str,
    capability: str,
    started_at: int,
    duration_ms: int,
    input_bytes: int,
    output_bytes: int,
    outcome: str,
    payment: str,
    asset: str,
    amount: str,
    units: int,
    unit: str,
) -> InvocationRow:
    """A row from the columns of INVOCATION_SELECT."""
    return InvocationRow(
        position=position,
        invocation=invocation,
        direction=direction,
        peer=PeerId(peer),
        capability=CapabilityName(capability),
        started_at=started_at,
        duration_ms=duration_ms,
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        outcome=outcome,
        payment=payment,
        asset=asset,
        amount=int(amount),
        units=units,
        unit=unit,
    )


KEPT: Final = 100_000
"""Calls that are kept one by one, some 60 MB with their events: a day of one a second."""
AT_ONCE: Final = 200
"""Rows that are dropped in one function, so that others are not kept waiting."""
NEWEST: Final = "SELECT max(position) FROM invocations"
UNPAID: Final = (
    "SELECT position FROM invocations WHERE position > ? AND position <= ? AND payment = '' ORDER BY position LIMIT ?"
)
FORGET_EVENT: Final = "DELETE FROM events WHERE kind = 'invoke' AND ref = ?"

ALL: Final = PagedQuery(INVOCATION_SELECT + " WHERE agent = ?", invocation_row)

USAGE: Final = (
    "SELECT peer, capability, direction, count(*), sum(outcome <> 'ok'), sum(input_bytes), sum(output_bytes),"
    " sum(duration_ms), max(started_at) FROM invocations WHERE agent = ?"
    " GROUP BY peer, capability, direction ORDER BY peer, capability, direction"
)


def _is_counted(connection: apsw.Connection, agent: AgentId, row: InvocationRow) -> bool:
    if not row.payment:
        return False
    query = "SELECT 1 FROM invocations WHERE payment = ? AND payment <> '' AND agent = ? AND direction = ? LIMIT 1"
    return connection.execute(query, (row.payment, agent, row.direction)).get is not None


def _record(connection: apsw.Connection, agent: AgentId, row: InvocationRow) -> int:
    if _is_counted(connection, agent, row):
        row = replace(row, amount=0, units=0)
    connection.execute(
        "INSERT INTO invocations (agent, invocation, direction, peer, capability, started_at, duration_ms,"
        " input_bytes, output_bytes, outcome, payment, asset, amount, units, unit)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            agent,
            row.invocation,
            row.direction,
            row.peer,
            row.capability,
            row.started_at,
            row.duration_ms,
            row.input_bytes,
            row.output_bytes,
            row.outcome,
            row.payment,
            row.asset,
            str(row.amount),
            row.units,
            row.unit,
        ),
    )
    position = int(connection.last_insert_rowid())
    add_to_meter(
        connection,
        agent,
        peer=row.peer,
        capability=row.capability,
        direction=row.direction,
        at=row.started_at,
        begun=row.begun,
        failed=row.outcome != "ok",
        input_bytes=row.input_bytes,
        output_bytes=row.output_bytes,
        duration_ms=row.duration_ms,
        asset=row.asset,
        unit=row.unit,
        units=row.units,
        amount=row.amount,
    )
    return add_event(
        connection,
        agent=agent,
        kind="invoke",
        type_="finished",
        at=row.started_at + row.duration_ms,
        peer=row.peer,
        ref=position,
    )


class Invocations:
    """Each agent's record of calls."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._forgot = 0
        """What stands up to there is to be kept."""

    async def forget(self, kept: int = KEPT) -> int:
        """Drop those that were not paid for, with their events, but the newest `kept` calls of all agents: the meters
        know what they came to. What was paid for stays: it says what is counted already. Returns how many."""

        def write(connection: apsw.Connection) -> tuple[int, int]:
            end = (connection.execute(NEWEST).get or 0) - kept
            rows: Any = connection.execute(UNPAID, (self._forgot, end, AT_ONCE)).fetchall()
            positions = [position for (position,) in rows]
            for position in positions:
                connection.execute(FORGET_EVENT, (position,))
                connection.execute("DELETE FROM invocations WHERE position = ?", (position,))
            return len(positions), positions[-1] if positions else max(self._forgot, end)

        forgot = 0
        while True:
            found, self._forgot = await self._database.write(write)
            forgot += found
            if not found:
                return forgot

    async def record(self, agent: AgentId, row: InvocationRow) -> int:
        """Store a finished invocation with its event, count it on the meter, and return the event's cursor.
        `row.position` is ignored."""
        (cursor,) = await self.record_all([(agent, row)])
        return cursor

    async def record_all(self, rows: Sequence[tuple[AgentId, InvocationRow]]) -> list[int]:
        """The same of several, all of them or none."""
        return await self._database.write(lambda connection: [_record(connection, *each) for each in rows])

    async def summary(self, agent: AgentId) -> list[Usage]:
        """Sums per peer, capability and direction."""

        def read(connection: apsw.Connection) -> list[Usage]:
            return [
                Usage(PeerId(peer), CapabilityName(capability), *sums)
                for peer, capability, *sums in connection.execute(USAGE, (agent,))
            ]

        return await self._database.read(read)

    async def list(
        self, agent: AgentId, *, after: int | None = None, before: int | None = None, limit: int
    ) -> Page[InvocationRow]:
        """A page, oldest first: behind `after`, or up to before `before`, or the newest."""
        return await self._database.read(
            lambda connection: ALL.read(connection, (agent,), after=after, before=before, limit=limit)
        )
