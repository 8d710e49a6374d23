"""What agents here pay: one row for each payment, and the sums that budgets are measured by.

A budget is taken in the transaction that looks at it, before anything is signed: of any number of calls at once no
more go through than it allows. What was signed is on disk before it is shown to anybody, and is shown again, not signed
anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import apsw

from nexusd.store.database import Database
from nexusd.store.ledger.purchase_rows import (
    PURCHASE_SELECT,
    purchase_row,
    read_purchase,
    read_spent,
    read_tabs,
    write_purchase,
)
from nexusd.store.paging import Page, PagedQuery
from nexusd.store.settings import NODE
from nexusd_protocols.identity import AgentId
from nexusd_protocols.payments import policy
from nexusd_protocols.payments import purchase as rules
from nexusd_protocols.payments.policy import Ask, Decision, Refuse, Spent
from nexusd_protocols.payments.purchase import Intent, PurchaseRow, PurchaseState, PurchaseStateError, Signed

AT_ONCE: Final = 200
"""Rows that a restart closes in one function."""

STOPPED: Final = "pay.stopped"
"""The kill switch, among the node's settings."""

ALL: Final = PagedQuery(PURCHASE_SELECT + " WHERE agent = ?", purchase_row)
RECEIVED: Final = PagedQuery(PURCHASE_SELECT + " WHERE agent = ? AND receipt <> x''", purchase_row)
WAITING: Final = PURCHASE_SELECT + " WHERE agent = ? AND state = 'waiting' ORDER BY position LIMIT ?"
UNSIGNED: Final = PURCHASE_SELECT + " WHERE state IN ('waiting', 'intended') AND position > 0 ORDER BY position LIMIT ?"
OVERDUE: Final = (
    PURCHASE_SELECT + " WHERE state = 'signed' AND valid_before < ? AND asset LIKE ? ORDER BY valid_before LIMIT ?"
)
DOUBTED: Final = (
    PURCHASE_SELECT + " WHERE state = 'closed' AND key <> '' AND counts > 0 AND asset = ? AND valid_before < ?"
    " ORDER BY valid_before LIMIT ?"
)
FITTING: Final = "SELECT count(*), min(purchase) FROM purchases WHERE purchase >= ? AND purchase < ? AND agent = ?"
_LAST: Final = "\U0010ffff"
"""Behind whatever an id goes on with."""


Judge = Callable[[Spent], Decision]
"""A policy's word, `policy.decide` with all but what is spent. It runs in the writer's thread: pure, and quick."""


@dataclass(frozen=True, slots=True)
class Intended:
    """The budget is taken: sign, then `signed`."""

    row: PurchaseRow


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """The budget is taken, and a person is to decide."""

    row: PurchaseRow


@dataclass(frozen=True, slots=True)
class NotWaiting:
    """Nothing is left to decide: this is what became of it."""

    row: PurchaseRow


@dataclass(frozen=True, slots=True)
class Resumed:
    """It was asked for before, and this is what became of it: what is signed is shown again, not signed anew."""

    row: PurchaseRow


class Purchases:
    """The payments of this node's agents. Steps raise PurchaseStateError for what a purchase's state does not allow,
    and LookupError for an id that is not here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- steps --------------------------------------------------------------------------------------------------------
    async def intend(self, intent: Intent, judge: Judge, *, now: int) -> Intended | NeedsApproval | Resumed | Refuse:
        """Take the budget of a purchase, if `judge` agrees to it. What is refused leaves nothing behind. Raises
        PurchaseStateError for an id that another purchase has."""

        def write(connection: apsw.Connection) -> Intended | NeedsApproval | Resumed | Refuse:
            known = read_purchase(connection, intent.id)
            if known is not None:
                if known.intent != intent:
                    raise PurchaseStateError("another purchase has this id")
                return Resumed(known)
            if _is_stopped(connection):
                return Refuse(policy.STOPPED)
            verdict = judge(read_spent(connection, intent.agent, intent.pay_to, now))
            if isinstance(verdict, Refuse):
                return verdict
            asks = isinstance(verdict, Ask)
            row = PurchaseRow(
                intent=intent,
                state=PurchaseState.WAITING if asks else PurchaseState.INTENDED,
                cost=intent.cost,
                asked_at=now,
                changed_at=now,
            )
            row = write_purchase(connection, None, row)
            return NeedsApproval(row) if asks else Intended(row)

        return await self._database.write(write)

    async def decide(self, id_: str, approve: bool, now: int) -> PurchaseRow | NotWaiting | Refuse:
        """A person approves or rejects what waits."""

        def write(connection: apsw.Connection) -> PurchaseRow | NotWaiting | Refuse:
            row = _existing(connection, id_)
            if row.state is not PurchaseState.WAITING:
                return NotWaiting(row)
            if approve and _is_stopped(connection):
                return Refuse(policy.STOPPED)
            return write_purchase(connection, row, rules.decided(row, approve, now=now))

        return await self._database.write(write)

    async def signed(self, id_: str, what: Signed, now: int) -> PurchaseRow | Refuse:
        """Keep an authorisation before it is shown; a tab: one for more. Refused: paying was stopped meanwhile, and it
        must not be shown."""

        def write(connection: apsw.Connection) -> PurchaseRow | Refuse:
            if _is_stopped(connection):
                return Refuse(policy.STOPPED)
            row = _existing(connection, id_)
            return write_purchase(connection, row, rules.signed(row, what, now=now))

        return await self._database.write(write)

    async def rolled(self, id_: str, what: Signed, judge: Judge, now: int) -> PurchaseRow | Refuse:
        """Keep the authorisation of the next tab of a call before it is shown. Its budget was taken with the call;
        `judge` is asked again, for what all other purchases have spent: a policy may have changed meanwhile. A person
        agreed to the call, or was not asked."""

        def write(connection: apsw.Connection) -> PurchaseRow | Refuse:
            if _is_stopped(connection):
                return Refuse(policy.STOPPED)
            row = _existing(connection, id_)
            spent = read_spent(connection, row.intent.agent, row.intent.pay_to, now, but=row.position)
            verdict = judge(spent)
            if isinstance(verdict, Refuse):
                return verdict
            return write_purchase(connection, row, rules.rolled(row, what, now=now))

        return await self._database.write(write)

    async def spent(
        self, id_: str, *, receipt: bytes = b"", response: bytes = b"", now: int, amount: int | None = None
    ) -> PurchaseRow:
        """It was delivered, or the chain has it, and says that it was `amount`."""
        return await self._step(
            id_, lambda row: rules.spent(row, receipt=receipt, response=response, now=now, amount=amount)
        )

    async def closed(self, id_: str, outcome: str, now: int, *, unused: bool = False) -> PurchaseRow:
        """It came to nothing. What was signed counts as spent until its window has closed, unless it is `unused`: shown
        to nobody, or cancelled or ended by the word of the chain. Without that word, what is spent by now stays so."""
        return await self._step(id_, lambda row: rules.closed(row, outcome, now=now, unused=unused))

    # --- reading ------------------------------------------------------------------------------------------------------
    async def get(self, id_: str) -> PurchaseRow | None:
        """The purchase of that id."""
        return await self._database.read(lambda connection: read_purchase(connection, id_))

    async def fitting(self, agent: AgentId, start: str) -> tuple[int, PurchaseRow | None]:
        """How many purchases of an agent have an id that begins so, and the first of them."""

        def read(connection: apsw.Connection) -> tuple[int, PurchaseRow | None]:
            found: Any = connection.execute(FITTING, (start, start + _LAST, agent)).fetchone()
            count, first = found
            return count, read_purchase(connection, first) if count else None

        return await self._database.read(read)

    async def tabs(self, row: PurchaseRow) -> list[Signed]:
        """All that was signed for a purchase, in order; more than one only of a call with several tabs."""
        return await self._database.read(lambda connection: read_tabs(connection, row))

    async def approvals(self, agent: AgentId, limit: int) -> list[PurchaseRow]:
        """What waits for a person, the oldest first."""
        return await self._rows(WAITING, agent, limit)

    async def overdue(self, now: int, limit: int, *, network: str | None = None) -> list[PurchaseRow]:
        """What was signed, whose window has closed, and of which nobody has said what became: the chain knows. Until it
        is asked it counts as spent. `network`, such as `eip155:8453`: of that one."""
        return await self._rows(OVERDUE, now // 1000, "%" if network is None else f"{network}/%", limit)

    async def doubted(self, now: int, limit: int, *, asset: str) -> list[PurchaseRow]:
        """What was signed, whose window has closed, and of which only the provider, or nobody, says that it came to
        nothing: the chain knows."""
        return await self._rows(DOUBTED, asset, now // 1000, limit)

    async def spent_view(self, agent: AgentId, now: int) -> Spent:
        """What counts as spent now, whoever it went to."""
        return await self._database.read(lambda connection: read_spent(connection, agent, b"", now))

    # --- upkeep -------------------------------------------------------------------------------------------------------
    async def stop(self, stopped: bool) -> None:
        """The kill switch: from its commit on nothing is intended, approved or signed, over restarts too."""

        def write(connection: apsw.Connection) -> None:
            connection.execute(
                "INSERT INTO settings (agent, key, value) VALUES (?, ?, ?)"
                " ON CONFLICT (agent, key) DO UPDATE SET value = excluded.value",
                (NODE, STOPPED, "1" if stopped else ""),
            )

        await self._database.write(write)

    async def stopped(self) -> bool:
        """Whether the kill switch is on."""
        return await self._database.read(_is_stopped)

    async def recover(self, now: int) -> int:
        """At the start: close what was not signed, for nobody waits for it any more. Returns how many."""

        def write(connection: apsw.Connection) -> int:
            found: Any = connection.execute(UNSIGNED, (AT_ONCE,)).fetchall()
            for columns in found:
                row = purchase_row(*columns)
                write_purchase(connection, row, rules.recovered(row, now=now))
            return len(found)

        closed = 0
        while found := await self._database.write(write):
            closed += found
        return closed

    async def _step(self, id_: str, rule: Callable[[PurchaseRow], PurchaseRow]) -> PurchaseRow:
        def write(connection: apsw.Connection) -> PurchaseRow:
            row = _existing(connection, id_)
            return write_purchase(connection, row, rule(row))

        return await self._database.write(write)

    async def _rows(self, query: str, *bindings: Any) -> list[PurchaseRow]:
        return await self._database.read(
            lambda connection: [purchase_row(*columns) for columns in connection.execute(query, bindings)]
        )

    async def list(
        self, agent: AgentId, *, after: int | None = None, before: int | None = None, limit: int, receipts: bool = False
    ) -> Page[PurchaseRow]:
        """A page, oldest first: behind `after`, or up to before `before`, or the newest. `receipts`: of those that have
        one."""
        query = RECEIVED if receipts else ALL
        return await self._database.read(
            lambda connection: query.read(connection, (agent,), after=after, before=before, limit=limit)
        )


def _existing(connection: apsw.Connection, id_: str) -> PurchaseRow:
    row = read_purchase(connection, id_)
    if row is None:
        raise LookupError("no such purchase")
    return row


def _is_stopped(connection: apsw.Connection) -> bool:
    return bool(connection.execute("SELECT value FROM settings WHERE agent = ? AND key = ?", (NODE, STOPPED)).get)
