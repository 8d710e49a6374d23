"""What is owed to the agents of this node: each authorisation once, from reservation to settlement.

Every step is one transaction that reads the row, applies the rule of `nexusd_protocols.payments.charge`, and writes row
and sums; it returns behind the fsync. So of any number of calls that show one authorisation at once, one reserves it;
and what a balance or an exposure has to cover is summed where nobody can come between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw
import msgspec

from nexusd.store.database import Database
from nexusd.store.ledger import settlements, standings
from nexusd.store.ledger.charge_rows import (
    CHARGE_SELECT,
    charge_row,
    read_charge,
    read_owing,
    write_charge,
)
from nexusd.store.paging import Page, PagedQuery
from nexusd_protocols import limits
from nexusd_protocols.identity import AgentId
from nexusd_protocols.payments import charge as rules
from nexusd_protocols.payments.charge import (
    Charge,
    Exposure,
    Known,
    Refused,
    Reservation,
    Reserved,
    Result,
    State,
    key_parts,
)
from nexusd_protocols.payments.transaction import Transaction

AT_ONCE: Final = 200
"""Rows that recovery and forgetting write in one function, so that others are not kept waiting."""
RELEASED_KEPT: Final = 1024
"""Charges that came to nothing, the newest: they bound attempts and can be looked at, and nothing is lost with them.
One peer makes eighty a second."""

ALL: Final = PagedQuery(CHARGE_SELECT + " WHERE agent = ?", charge_row)
AT_WORK: Final = CHARGE_SELECT + " WHERE (working = 1 OR state = 'reserved') AND position > ? ORDER BY position LIMIT ?"
LEFT_RESERVED: Final = (
    CHARGE_SELECT + " WHERE (working = 1 OR state = 'reserved') AND position > 0 AND +state = 'reserved'"
    " AND +valid_before < ? ORDER BY position LIMIT ?"
)
TO_FORGET: Final = (
    "SELECT position, state FROM charges WHERE (state = 'released' OR result_kept = 1) AND valid_before < ?"
    " ORDER BY valid_before LIMIT ?"
)
_ASSET: Final = "substr(key, 1, length(key) - 106)"  # before a payer and a nonce
_GIVEN: Final = "(SELECT value FROM json_each(?))"
UNASKED: Final = (
    CHARGE_SELECT + " WHERE state IN ('due', 'submitted') AND valid_before < ? AND "
    f"{_ASSET} NOT IN {_GIVEN} ORDER BY valid_before LIMIT ?"
)
ASKED_AT_LAST: Final = (
    CHARGE_SELECT + f" WHERE agent = ? AND state = 'lost' AND reason = ? AND {_ASSET} IN {_GIVEN} LIMIT ?"
)
TO_DROP: Final = (
    "SELECT position FROM charges WHERE agent = ? AND state = 'released' ORDER BY position DESC LIMIT -1 OFFSET ?"
)
OF_CALL: Final = CHARGE_SELECT + " WHERE request = ? AND tab = 1"
TOTALS: Final = "SELECT key, state, amount FROM charges WHERE agent = ?"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start found half done: reservations whose work was not delivered, and owed work that broke off."""

    released: int
    interrupted: int


@dataclass(frozen=True, slots=True)
class Total:
    """Charges of an agent in one asset and state."""

    asset: str
    state: State
    charges: int
    amount: int


class Ledger:
    """The charges of this node. Steps raise ChargeStateError for what a charge's state does not allow, and LookupError
    for a key that is not here: both are this program's fault."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- the gate's steps ---------------------------------------------------------------------------------------------
    async def reserve(
        self, entry: Reservation, *, now: int, balance: int | None, exposure: Exposure
    ) -> Reserved | Known | Refused:
        """Take an authorisation for a call. Known: it was taken for the same call, and this is what became of it.
        `balance` is the payer's, None if there is no chain to ask; what it and `exposure` have to cover is summed here.
        Raises ValueError for a key that is none."""

        def write(connection: apsw.Connection) -> Reserved | Known | Refused:
            known = read_charge(connection, entry.key, data=True)
            answer = rules.reserve(
                known, entry, now=now, balance=balance, owing=read_owing(connection, entry), exposure=exposure
            )
            if isinstance(answer, Reserved):
                return Reserved(write_charge(connection, known, answer.charge))
            return answer

        return await self._database.write(write)

    async def due(
        self,
        key: str,
        *,
        amount: int,
        result: Result | None = None,
        receipt: bytes = b"",
        now: int,
        input_: bytes = b"",
    ) -> Charge:
        """The charge point. With a result that is stored too; a larger one than `limits.PAYMENT_RESULT_BYTES` by its
        digest and size. Without, output begins, for the input of that digest. What comes back says whether it is
        owed: it may have been lost meanwhile."""

        def rule(row: Charge) -> Charge:
            return rules.due(row, amount=amount, result=result, receipt=receipt, now=now, input_=input_)

        return await self._step(key, rule)

    async def finish(
        self, key: str, *, result: Result, receipt: bytes, now: int, last: str = "", unused: bool = False
    ) -> Charge:
        """Result and receipt of what is due already; shuts a tab, and `last`, the newest of those of its call, which is
        not charged if it is `unused`."""
        end = rules.waive if unused else rules.shut

        def write(connection: apsw.Connection) -> Charge:
            if last:
                newest = _existing(connection, last)
                write_charge(connection, newest, end(newest, now=now))
            row = _existing(connection, key)
            return write_charge(connection, row, rules.finish(row, result=result, receipt=receipt, now=now))

        return await self._database.write(write)

    async def interrupt(self, key: str, *, now: int) -> Charge:
        """What is owed broke off through our fault; closes a tab."""
        return await self._step(key, lambda row: rules.interrupt(row, now=now))

    async def release(self, key: str, reason: str, now: int) -> Charge:
        """Nothing was handed over, and nothing is owed. Of so many the newest are kept: whoever shows one of the others
        again begins anew, and signing and giving up costs a caller nothing."""

        def write(connection: apsw.Connection) -> Charge:
            row = _existing(connection, key)
            released = write_charge(connection, row, rules.release(row, reason=reason, now=now))
            bindings = row.entry.agent, RELEASED_KEPT
            dropped: Any = connection.execute(TO_DROP, bindings).fetchall()
            connection.executemany("DELETE FROM charges WHERE position = ?", dropped)
            return released

        return await self._database.write(write)

    async def grow(
        self, key: str, amount: int, signature: bytes, now: int, *, balance: int | None, exposure: Exposure
    ) -> Charge | Refused:
        """A tab: the same nonce, signed for more."""

        def write(connection: apsw.Connection) -> Charge | Refused:
            row = _existing(connection, key)
            grown = rules.grow(
                row,
                amount=amount,
                signature=signature,
                now=now,
                balance=balance,
                owing=read_owing(connection, row.entry),
                exposure=exposure,
            )
            return grown if isinstance(grown, Refused) else write_charge(connection, row, grown)

        return await self._database.write(write)

    async def lower(self, key: str, amount: int, signature: bytes, now: int) -> Charge:
        """A tab, at its end: the same nonce, signed for less."""
        return await self._step(key, lambda row: rules.lower(row, amount=amount, signature=signature, now=now))

    async def roll(
        self, key: str, entry: Reservation, *, now: int, balance: int | None, exposure: Exposure
    ) -> Reserved | Known | Refused:
        """A tab is shut, and the next one of its call is due, if there is room for it. Refused, the first is shut all
        the same: it is settled, which makes room."""

        def write(connection: apsw.Connection) -> Reserved | Known | Refused:
            row, known = _existing(connection, key), read_charge(connection, entry.key)
            owing = read_owing(connection, entry)
            old, answer = rules.roll(row, known, entry, now=now, balance=balance, owing=owing, exposure=exposure)
            write_charge(connection, row, old)
            return Reserved(write_charge(connection, known, answer.charge)) if isinstance(answer, Reserved) else answer

        return await self._database.write(write)

    # --- settlement ---------------------------------------------------------------------------------------------------
    async def next_due(self, now: int, limit: int, *, network: str | None = None) -> Sequence[Charge]:
        """What is due or submitted and not postponed, the first to end first, without the data of results; of more than
        `limit` what is submitted before the rest. A tab that still grows is left out until its end is
        `limits.PAYMENT_SETTLING_S` away."""
        return await self._database.read(lambda connection: settlements.charges_due(connection, network, now, limit))

    async def submitted(
        self,
        keys: str | Sequence[str],
        transaction: Transaction,
        now: int,
        *,
        signatures: Sequence[bytes] | None = None,
    ) -> list[Charge]:
        """Keep a transaction that is about to be sent, the first or another, and what it settles: all or nothing.
        `signatures` are those that it carries; where more was signed for a tab meanwhile it is not kept, and must not
        be sent: the tabs are shut, and what comes back is to be settled."""
        names = [keys] if isinstance(keys, str) else list(keys)

        def write(connection: apsw.Connection) -> list[Charge]:
            rows = [_existing(connection, key) for key in names]
            if signatures is not None and [row.entry.signature for row in rows] != list(signatures):
                return [write_charge(connection, row, rules.shut(row, now=now)) for row in rows]
            settlements.put_transaction(connection, transaction, [row.position for row in rows], now)
            return [
                write_charge(connection, row, rules.submitted(row, transaction=transaction.hash, now=now))
                for row in rows
            ]

        return await self._database.write(write)

    async def settled(self, key: str, transaction: str, block: int, now: int) -> Charge:
        """The chain has it, by whatever transaction."""

        def write(connection: apsw.Connection) -> Charge:
            row = _existing(connection, key)
            settled = write_charge(connection, row, rules.settled(row, transaction=transaction, block=block, now=now))
            standings.forgive(connection, row.position)
            return settled

        return await self._database.write(write)

    async def lost(self, key: str, reason: str, now: int, *, by_payer: bool = False) -> Charge:
        """It will never be paid; `by_payer`: through its doing, which counts against it. Its result, which nobody gets,
        is dropped: losing costs a payer nothing, and would fill the disk."""

        def write(connection: apsw.Connection) -> Charge:
            row = _existing(connection, key)
            lost = write_charge(connection, row, rules.lost(row, reason=reason, now=now))
            _drop_result(connection, row.position)
            if by_payer:
                standings.blame(connection, lost)
            return lost

        return await self._database.write(write)

    async def reopened(self, key: str, reason: str, now: int) -> Charge:
        """The chain took a settlement back."""
        return await self._step(key, lambda row: rules.reopened(row, reason=reason, now=now))

    async def postpone(self, key: str, until: int) -> None:
        """Leave it out of `next_due` until then, or until something becomes of it."""
        await self._database.write(
            lambda connection: connection.execute("UPDATE charges SET next_at = ? WHERE key = ?", (until, key))
        )

    async def transactions(self, key: str) -> list[Transaction]:
        """Those that were made to settle a charge, the newest last."""
        return await self._database.read(lambda connection: settlements.transactions_of(connection, key))

    async def account_transactions(
        self, network: str, account: str, from_nonce: int, limit: int
    ) -> Sequence[Transaction]:
        """Those of an account from that account nonce on, in its order, whatever became of their charges."""
        return await self._database.read(
            lambda connection: settlements.account_transactions(connection, network, account, from_nonce, limit)
        )

    async def unsure(self, network: str, limit: int) -> Sequence[Charge]:
        """What was settled, and not `sure` yet, the lowest block first: to be looked at again, for chains
        reorganise."""
        return await self._database.read(lambda connection: settlements.charges_unsure(connection, network, limit))

    async def sure(self, keys: Sequence[str]) -> None:
        """These were seen settled in blocks that nothing can undo."""
        await self._database.write(lambda connection: settlements.mark_sure(connection, keys))

    # --- reading ------------------------------------------------------------------------------------------------------
    async def row(self, key: str) -> Charge | None:
        """The charge of a key, with its result if that is kept."""
        return await self._database.read(lambda connection: read_charge(connection, key, data=True))

    async def of_call(self, request: bytes) -> list[Charge]:
        """The tabs of a call by the digest of its request, in order, without the data of its result."""

        def read(connection: apsw.Connection) -> list[Charge]:
            found: Any = connection.execute(OF_CALL, (request,))
            return sorted((charge_row(*row) for row in found), key=lambda charge: charge.entry.number)

        return await self._database.read(read)

    async def totals(self, agent: AgentId) -> list[Total]:
        """Sums per asset and state of an agent. Reads all its charges."""

        def read(connection: apsw.Connection) -> list[Total]:
            found: dict[tuple[str, str], tuple[int, int]] = {}
            for key, state, amount in connection.execute(TOTALS, (agent,)):
                name = key_parts(key).asset_id, state
                charges, total = found.get(name, (0, 0))
                found[name] = charges + 1, total + int(amount)
            return [Total(asset, State(state), *sums) for (asset, state), sums in sorted(found.items())]

        return await self._database.read(read)

    # --- upkeep -------------------------------------------------------------------------------------------------------
    async def recover(self, now: int) -> Recovered:
        """At the start, before anything is reserved: what was reserved is released, for it was not handed over; what is
        owed stays owed, and may be asked for again. An error or a crash leaves part of it, for the next start."""
        released = interrupted = after = 0

        def write(connection: apsw.Connection) -> list[Charge]:
            columns: Any = connection.execute(AT_WORK, (after, AT_ONCE)).fetchall()
            rows = [charge_row(*row) for row in columns]
            for row in rows:
                write_charge(connection, row, rules.recovered(row, now=now))
            return rows

        while rows := await self._database.write(write):
            after = rows[-1].position
            found = sum(row.state is State.RESERVED for row in rows)
            released += found
            interrupted += len(rows) - found
        return Recovered(released, interrupted)

    async def forget(self, now: int) -> int:
        """Drop the keys of released charges, and kept results, whose authorisation ended more than
        `limits.PAYMENT_KEY_MARGIN_MS` ago; from then on its time alone refuses it. What is reserved so long after was
        not released, for the disk was full then. What was charged stays in the books. Returns how many charges it
        dropped something of."""
        before = (now - limits.PAYMENT_KEY_MARGIN_MS) // 1000
        await self._each(
            lambda row: rules.release(row, reason="not delivered", now=now), LEFT_RESERVED, before, AT_ONCE
        )

        def write(connection: apsw.Connection) -> int:
            rows: Any = connection.execute(TO_FORGET, (before, AT_ONCE)).fetchall()
            for position, state in rows:
                _drop_result(connection, position)
                if state == State.RELEASED:
                    connection.execute("DELETE FROM charges WHERE position = ?", (position,))
            return len(rows)

        forgotten = 0
        while found := await self._database.write(write):
            forgotten += found
        return forgotten

    async def give_up(self, asked: Iterable[str], now: int) -> int:
        """Lose what is owed in other assets than `asked`, which are those that there is a node for, once its
        authorisation ended more than `limits.PAYMENT_KEY_MARGIN_MS` ago: nothing else ends that it counts against what
        may be owed. Its payer is not blamed. Returns how many charges."""
        before = (now - limits.PAYMENT_KEY_MARGIN_MS) // 1000
        return await self._each(
            lambda row: rules.lost(row, reason=rules.UNASKED, now=now), UNASKED, before, _json(asked), AT_ONCE
        )

    async def take_up(self, agent: AgentId, asked: Iterable[str], now: int) -> int:
        """What was given up so for want of a node that there is now is due again: it says what became of each. Returns
        how many charges."""
        return await self._each(
            lambda row: rules.reopened(row, reason="", now=now),
            ASKED_AT_LAST,
            agent,
            rules.UNASKED,
            _json(asked),
            AT_ONCE,
        )

    async def _each(self, rule: Callable[[Charge], Charge], query: str, *bindings: Any) -> int:
        """Step all that a query finds, some at a time, until it finds no more. Returns how many."""

        def write(connection: apsw.Connection) -> int:
            columns: Any = connection.execute(query, bindings).fetchall()
            rows = [charge_row(*row) for row in columns]
            for row in rows:
                write_charge(connection, row, rule(row))
            return len(rows)

        stepped = 0
        while found := await self._database.write(write):
            stepped += found
        return stepped

    async def _step(self, key: str, rule: Callable[[Charge], Charge]) -> Charge:
        def write(connection: apsw.Connection) -> Charge:
            row = _existing(connection, key)
            return write_charge(connection, row, rule(row))

        return await self._database.write(write)

    async def list(
        self, agent: AgentId, *, after: int | None = None, before: int | None = None, limit: int
    ) -> Page[Charge]:
        """A page of an agent's charges, oldest first, without the data of results: behind `after`, or up to before
        `before`, or the newest."""
        return await self._database.read(
            lambda connection: ALL.read(connection, (agent,), after=after, before=before, limit=limit)
        )


def _drop_result(connection: apsw.Connection, position: int) -> None:
    connection.execute("DELETE FROM charge_results WHERE charge = ?", (position,))
    connection.execute("UPDATE charges SET result_kept = 0 WHERE position = ?", (position,))


def _json(values: Iterable[str]) -> str:
    """For `json_each`."""
    return msgspec.json.encode(list(values)).decode()


def _existing(connection: apsw.Connection, key: str) -> Charge:
    charge = read_charge(connection, key)
    if charge is None:
        raise LookupError("no such charge")
    return charge
