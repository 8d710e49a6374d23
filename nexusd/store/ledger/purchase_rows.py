"""Purchases as rows, and what was spent of a budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import apsw

from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.policy import Spent
from nexusd_protocols.payments.purchase import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Intent,
    PurchaseRow,
    PurchaseState,
    Signed,
)

PURCHASE_SELECT: Final = (
    "SELECT position, purchase, agent, peer, capability, request, asset, pay_to, amount, cost, tab, note, state, key,"
    " payer, signed, valid_after, valid_before, nonce, salt, signature, payload, receipt, response, outcome, asked_at,"
    " changed_at, until, counts, tabs, before FROM purchases"
)
BY_ID: Final = PURCHASE_SELECT + " WHERE purchase = ?"
_SUMS: Final = "SELECT " + ", ".join(
    f"CAST(total({each}) AS INTEGER)" for each in ("counts * (asked_at > ?2)", "counts", "counts * (pay_to = ?3)")
)
"""Of an hour, a day, and a payee's day: exact up to 2^53 millionths, and no error where `sum` would leave 64 bits."""
SPENT: Final = (
    _SUMS + ", sum(asked_at > ?4) FROM purchases WHERE agent = ?5 AND asked_at > ?6 AND until > ?1 AND position <> ?7"
)
RETURNED: Final = _SUMS + " FROM purchases WHERE agent = ?4 AND asked_at > ?5 AND until <= ?1"
TABS: Final = (
    "SELECT key, payer, signed, valid_after, valid_before, nonce, salt, signature FROM purchase_tabs"
    " WHERE purchase = ? ORDER BY number"
)
PAID_BEFORE: Final = "SELECT 1 FROM purchases WHERE agent = ? AND pay_to = ? AND state = 'spent' LIMIT 1"
_INSERT: Final = (
    "INSERT INTO purchases (purchase, agent, peer, capability, request, asset, pay_to, amount, cost, tab, note,"
    " asked_at, state, counts, until, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE: Final = (
    "UPDATE purchases SET state = ?, counts = ?, until = ?, changed_at = ?, receipt = ?, response = ?, outcome = ?"
    " WHERE position = ?"
)
_SIGN: Final = (
    "UPDATE purchases SET key = ?, payer = ?, signed = ?, valid_after = ?, valid_before = ?, nonce = ?, salt = ?,"
    " signature = ?, payload = ?, tabs = ?, before = ? WHERE position = ?"
)
_PUT_TAB: Final = (
    "INSERT INTO purchase_tabs (purchase, number, key, payer, signed, valid_after, valid_before, nonce, salt,"
    " signature) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def purchase_row(
    position: int,
    purchase: str,
    agent: str,
    peer: str,
    capability: str,
    request: bytes,
    asset: str,
    pay_to: bytes,
    amount: str,
    cost: int,
    tab: int,
    note: str,
    state: str,
    key: str,
    payer: bytes,
    value: str,
    valid_after: int,
    valid_before: int,
    nonce: bytes,
    salt: bytes,
    signature: bytes,
    payload: bytes,
    receipt: bytes,
    response: bytes,
    outcome: str,
    asked_at: int,
    changed_at: int,
    until: int,
    counts: int,
    tabs: int,
    before: str,
) -> PurchaseRow:
    """A purchase from the columns of PURCHASE_SELECT."""
    signed = None
    if key:
        authorization = Authorization(
            from_=Address(payer),
            to=Address(pay_to),
            value=int(value),
            valid_after=valid_after,
            valid_before=valid_before,
            nonce=nonce,
        )
        signed = Signed(key=key, authorization=authorization, signature=signature, salt=salt, payload=payload)
    return PurchaseRow(
        intent=Intent(
            id=purchase,
            agent=AgentId(agent),
            peer=PeerId(peer),
            capability=CapabilityName(capability),
            request=request,
            asset=asset,
            pay_to=Address(pay_to),
            amount=int(amount),
            cost=cost,
            tab=bool(tab),
            note=note,
        ),
        state=PurchaseState(state),
        cost=counts,
        until=until,
        signed=signed,
        tabs=tabs,
        before=int(before),
        receipt=receipt,
        response=response,
        outcome=outcome,
        asked_at=asked_at,
        changed_at=changed_at,
        position=position,
    )


def read_purchase(connection: apsw.Connection, id_: str) -> PurchaseRow | None:
    """The purchase of that id."""
    columns: Any = connection.execute(BY_ID, (id_,)).fetchone()
    return None if columns is None else purchase_row(*columns)


def write_purchase(connection: apsw.Connection, before: PurchaseRow | None, after: PurchaseRow) -> PurchaseRow:
    """Store what became of a purchase. Gives it with its position."""
    if after == before:
        return after
    if before is None:
        what = after.intent
        connection.execute(
            _INSERT,
            (
                what.id,
                what.agent,
                what.peer,
                what.capability,
                what.request,
                what.asset,
                what.pay_to,
                str(what.amount),
                what.cost,
                what.tab,
                what.note,
                after.asked_at,
                after.state,
                after.cost,
                after.until,
                after.changed_at,
            ),
        )
        return replace(after, position=int(connection.last_insert_rowid()))
    happened = (after.state, after.cost, after.until, after.changed_at, after.receipt, after.response, after.outcome)
    connection.execute(_UPDATE, (*happened, before.position))
    if (signed := after.signed) is not None and signed != before.signed:
        if after.tabs != before.tabs:
            _put_tab(connection, before)
        paid = signed.authorization
        connection.execute(
            _SIGN,
            (
                signed.key,
                paid.from_,
                str(paid.value),
                paid.valid_after,
                paid.valid_before,
                paid.nonce,
                signed.salt,
                signed.signature,
                signed.payload,
                after.tabs,
                str(after.before),
                before.position,
            ),
        )
    return after


def _put_tab(connection: apsw.Connection, row: PurchaseRow) -> None:
    """Keep what was signed under a tab that another follows."""
    signed = row.signed
    assert signed is not None
    paid = signed.authorization
    times = paid.valid_after, paid.valid_before
    made = paid.nonce, signed.salt, signed.signature
    connection.execute(_PUT_TAB, (row.position, row.tabs, signed.key, paid.from_, str(paid.value), *times, *made))


def read_tabs(connection: apsw.Connection, row: PurchaseRow) -> list[Signed]:
    """All that was signed for a purchase, in order: the tabs before, without their payloads, and the newest."""
    found: list[Signed] = []
    columns: Any = connection.execute(TABS, (row.position,))
    for key, payer, value, valid_after, valid_before, nonce, salt, signature in columns:
        authorization = Authorization(
            from_=Address(payer),
            to=row.intent.pay_to,
            value=int(value),
            valid_after=valid_after,
            valid_before=valid_before,
            nonce=nonce,
        )
        found.append(Signed(key=key, authorization=authorization, signature=signature, salt=salt))
    return found if row.signed is None else [*found, row.signed]


def read_spent(connection: apsw.Connection, agent: AgentId, pay_to: bytes, now: int, *, but: int = 0) -> Spent:
    """What counts as spent now, and what of it went to a payee; without the purchase at position `but`."""
    hour_ago, day_ago = now - HOUR_MS, now - DAY_MS
    bindings = (now, hour_ago, pay_to, now - MINUTE_MS, agent, day_ago, but)
    sums: Any = connection.execute(SPENT, bindings).fetchone()
    hour, day, payee, minute = sums
    returned: Any = connection.execute(RETURNED, (now, hour_ago, pay_to, agent, day_ago)).fetchone()
    known = bool(connection.execute(PAID_BEFORE, (agent, pay_to)).get)
    return Spent(
        hour=hour,
        day=day,
        payee_day=payee,
        hour_returned=returned[0],
        day_returned=returned[1],
        payee_returned=returned[2],
        minute_count=minute or 0,
        payee_known=known,
    )
