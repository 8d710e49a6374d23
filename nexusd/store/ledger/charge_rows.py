"""Charges as rows: reading one, writing one, and the sums that follow from each change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import apsw

from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.authorization import Authorization
from nexusd_protocols.payments.charge import LIVE, Charge, Delivered, Owing, Reservation, Result, State, key_parts

CHARGE_SELECT: Final = (
    "SELECT position, key, agent, peer, capability, request, pay_to, amount, valid_after, valid_before, signature, tab,"
    " state, working, attempts, delivered, result_digest, result_size, receipt, tx, block, reason, created_at,"
    " changed_at, number, input FROM charges"
)
BY_KEY: Final = CHARGE_SELECT + " WHERE key = ?"
RESULT: Final = "SELECT data FROM charge_results WHERE charge = ?"
SUMS: Final = "SELECT owed, owing, settled, settlings, lost, losses FROM charge_sums WHERE asset = ? AND payer = ?"

OWED_BY_PEER: Final = (
    "SELECT amount FROM charges WHERE peer = ? AND state IN ('reserved', 'due', 'submitted') AND +key >= ? AND +key < ?"
)

ALL_PAYERS: Final = ""
_LAST_SECOND: Final = 1 << 62

_INSERT: Final = (
    "INSERT INTO charges (key, agent, peer, capability, request, pay_to, amount, valid_after, valid_before, signature,"
    " tab, state, working, attempts, delivered, result_digest, result_size, result_kept, receipt, tx, block,"
    " reason, created_at, changed_at, number, input, bound, result_ref)"  # the last two say nothing any more
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '')"
)
_UPDATE: Final = (
    "UPDATE charges SET pay_to = ?, amount = ?, valid_after = ?, valid_before = ?, signature = ?, state = ?,"
    " working = ?, attempts = ?, delivered = ?, result_digest = ?, result_size = ?, result_kept = result_kept OR ?,"
    " receipt = ?, tx = ?, block = ?, reason = ?, changed_at = ?, input = ?, next_at = 0"
    " WHERE position = ?"
)
_DROP_SUMS: Final = "DELETE FROM charge_sums WHERE asset = ? AND payer = ?"
_PUT_SUMS: Final = (
    "INSERT INTO charge_sums (asset, payer, owed, owing, settled, settlings, lost, losses)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (asset, payer) DO UPDATE SET owed = excluded.owed,"
    " owing = excluded.owing, settled = excluded.settled, settlings = excluded.settlings, lost = excluded.lost,"
    " losses = excluded.losses"
)


@dataclass(frozen=True, slots=True)
class Sums:
    """Over charges in one asset: amounts, and how many they are. `owed`: reserved, due or submitted."""

    owed: int = 0
    owing: int = 0
    settled: int = 0
    settlings: int = 0
    lost: int = 0
    losses: int = 0


def charge_row(
    position: int,
    key: str,
    agent: str,
    peer: str,
    capability: str,
    request: bytes,
    pay_to: bytes,
    amount: str,
    valid_after: int,
    valid_before: int,
    signature: bytes,
    tab: int,
    state: str,
    working: int,
    attempts: int,
    delivered: str,
    result_digest: bytes,
    result_size: int,
    receipt: bytes,
    tx: str,
    block: int,
    reason: str,
    created_at: int,
    changed_at: int,
    number: int,
    input_: bytes,
) -> Charge:
    """A charge, without the data of its result, from the columns of CHARGE_SELECT."""
    parts = key_parts(key)
    return Charge(
        entry=Reservation(
            key=key,
            agent=AgentId(agent),
            peer=PeerId(peer),
            capability=CapabilityName(capability),
            request=request,
            authorization=Authorization(
                from_=Address(bytes.fromhex(parts.payer)),
                to=Address(pay_to),
                value=int(amount),
                valid_after=valid_after,
                valid_before=valid_before,
                nonce=bytes.fromhex(parts.nonce),
            ),
            signature=signature,
            tab=bool(tab),
            number=number,
        ),
        state=State(state),
        working=bool(working),
        attempts=attempts,
        delivered=Delivered(delivered),
        input=input_,
        result=Result(digest=result_digest, size=result_size),
        receipt=receipt,
        transaction=tx,
        block=block,
        reason=reason,
        created_at=created_at,
        changed_at=changed_at,
        position=position,
    )


def read_charge(connection: apsw.Connection, key: str, *, data: bool = False) -> Charge | None:
    """The charge of a key; with `data` its result too, if that is kept."""
    columns: Any = connection.execute(BY_KEY, (key,)).fetchone()
    if columns is None:
        return None
    charge = charge_row(*columns)
    kept: Any = connection.execute(RESULT, (charge.position,)).get if data else None
    return charge if kept is None else replace(charge, result=replace(charge.result, data=kept))


def write_charge(connection: apsw.Connection, before: Charge | None, after: Charge) -> Charge:
    """Store what became of a charge, and the sums with it. Gives it with its position. A kept result stays kept."""
    if after == before:
        return after
    entry, result = after.entry, after.result
    authorization = entry.authorization
    if not 0 <= authorization.valid_after <= _LAST_SECOND or not 0 <= authorization.valid_before <= _LAST_SECOND:
        raise ValueError("times of an authorisation that no clock reaches")
    signed = (
        authorization.to,
        str(authorization.value),
        authorization.valid_after,
        authorization.valid_before,
        entry.signature,
    )
    happened = (
        after.state,
        after.working,
        after.attempts,
        after.delivered,
        result.digest,
        result.size,
        result.data is not None,
        after.receipt,
        after.transaction,
        after.block,
        after.reason,
    )
    if before is None:
        named = (entry.key, entry.agent, entry.peer, entry.capability, entry.request)
        times = (after.created_at, after.changed_at, entry.number, after.input)
        connection.execute(_INSERT, (*named, *signed, entry.tab, *happened, *times))
        after = replace(after, position=int(connection.last_insert_rowid()))
    else:
        connection.execute(_UPDATE, (*signed, *happened, after.changed_at, after.input, before.position))
    if result.data is not None:
        connection.execute(
            "INSERT OR IGNORE INTO charge_results (charge, data) VALUES (?, ?)", (after.position, result.data)
        )
    _move_sums(connection, before, after)
    return after


# --- sums -------------------------------------------------------------------------------------------------------------
def read_sums(connection: apsw.Connection, asset: str, payer: str) -> Sums:
    """Of one payer, or of ALL_PAYERS."""
    columns: Any = connection.execute(SUMS, (asset, payer)).fetchone()
    if columns is None:
        return Sums()
    owed, owing, settled, settlings, lost, losses = columns
    return Sums(int(owed), owing, int(settled), settlings, int(lost), losses)


def read_owing(connection: apsw.Connection, entry: Reservation) -> Owing:
    """What is owed in the asset of an authorisation: by its payer, by the peer that shows it, and by all. A peer may
    have accounts without end."""
    parts = key_parts(entry.key)
    asset = parts.asset_id
    one = read_sums(connection, asset, parts.payer)
    every = read_sums(connection, asset, ALL_PAYERS)
    shown: Any = connection.execute(OWED_BY_PEER, (entry.peer, f"{asset}/", f"{asset}0")).fetchall()
    by_peer = [int(amount) for (amount,) in shown]
    return Owing(one.owed, max(one.owing, len(by_peer)), every.owed, sum(by_peer))


def parts_of(charge: Charge | None) -> Sums:
    """What one charge adds to the sums."""
    if charge is None:
        return Sums()
    amount = charge.entry.amount
    if charge.state in LIVE:
        return Sums(owed=amount, owing=1)
    if charge.state is State.SETTLED:
        return Sums(settled=amount, settlings=1)
    if charge.state is State.LOST:
        return Sums(lost=amount, losses=1)
    return Sums()


def _move_sums(connection: apsw.Connection, before: Charge | None, after: Charge) -> None:
    gone, come = parts_of(before), parts_of(after)
    if gone == come:
        return
    parts = key_parts(after.entry.key)
    asset = parts.asset_id
    for payer in (parts.payer, ALL_PAYERS):
        sums = read_sums(connection, asset, payer)
        moved = Sums(
            owed=sums.owed - gone.owed + come.owed,
            owing=sums.owing - gone.owing + come.owing,
            settled=sums.settled - gone.settled + come.settled,
            settlings=sums.settlings - gone.settlings + come.settlings,
            lost=sums.lost - gone.lost + come.lost,
            losses=sums.losses - gone.losses + come.losses,
        )
        if moved == Sums():  # accounts cost their owners nothing: of those that came to nothing, nothing stays
            connection.execute(_DROP_SUMS, (asset, payer))
            continue
        connection.execute(
            _PUT_SUMS,
            (
                asset,
                payer,
                str(moved.owed),
                moved.owing,
                str(moved.settled),
                moved.settlings,
                str(moved.lost),
                moved.losses,
            ),
        )
