"""Transactions that settle charges: on disk before they are sent, so that a crash sends the same bytes again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apsw

from nexusd.store.ledger.charge_rows import CHARGE_SELECT, charge_row
from nexusd_protocols import limits
from nexusd_protocols.payments.charge import Charge, State
from nexusd_protocols.payments.transaction import Transaction

_SELECT: Final = "SELECT network, account, account_nonce, tx, raw, made_at FROM settlements"
OF_CHARGE: Final = _SELECT + " JOIN settlement_charges ON settlement = position WHERE charge = ? ORDER BY settlement"
DUE: Final = (
    CHARGE_SELECT + " WHERE state IN ('due', 'submitted') AND +state = ? AND valid_before > ? AND next_at <= ?"
    " AND (tab = 0 OR working = 0 OR valid_before <= ?) AND +key >= ? AND +key < ? ORDER BY valid_before LIMIT ?"
)
OF_ACCOUNT: Final = (
    _SELECT + " WHERE network = ? AND account = ? AND account_nonce >= ? ORDER BY account_nonce, position LIMIT ?"
)
UNSURE: Final = (
    CHARGE_SELECT
    + " WHERE state = 'settled' AND sure = 0 AND block >= 0 AND +key >= ? AND +key < ? ORDER BY block LIMIT ?"
)


def put_transaction(connection: apsw.Connection, transaction: Transaction, charges: Iterable[int], now: int) -> None:
    """Keep it, and what it settles. Keeping it again changes nothing."""
    row: Any = connection.execute("SELECT position FROM settlements WHERE tx = ?", (transaction.hash,)).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO settlements (network, account, account_nonce, tx, raw, made_at) VALUES (?, ?, ?, ?, ?, ?)",
            (
                transaction.network,
                transaction.account,
                transaction.account_nonce,
                transaction.hash,
                transaction.raw,
                now,
            ),
        )
        position = int(connection.last_insert_rowid())
    else:
        position = row[0]
    connection.executemany(
        "INSERT OR IGNORE INTO settlement_charges (charge, settlement) VALUES (?, ?)",
        [(charge, position) for charge in charges],
    )


def transactions_of(connection: apsw.Connection, key: str) -> list[Transaction]:
    """Those that were made for a charge, the newest last."""
    charge = connection.execute("SELECT position FROM charges WHERE key = ?", (key,)).get
    return [_transaction(*columns) for columns in connection.execute(OF_CHARGE, (charge,))]


def charges_due(connection: apsw.Connection, network: str | None, now: int, limit: int) -> list[Charge]:
    """What is to be settled, the first to end first. A tab that still grows waits until its end is near. Where there is
    more than `limit`, what is on its way is among it before all else: what is not seen to be, loses its place."""
    first, last = _keys_of(network)
    rows: list[Charge] = []
    for state in (State.SUBMITTED, State.DUE):
        bindings = (state, -1, now, now // 1000 + limits.PAYMENT_SETTLING_S, first, last, limit - len(rows))
        found: Any = connection.execute(DUE, bindings)
        rows += [charge_row(*columns) for columns in found]
    return sorted(rows, key=lambda row: row.entry.authorization.valid_before)


def charges_unsure(connection: apsw.Connection, network: str, limit: int) -> list[Charge]:
    """What was settled, and not seen yet in a block that nothing can undo: the lowest first."""
    found: Any = connection.execute(UNSURE, (*_keys_of(network), limit))
    return [charge_row(*columns) for columns in found]


def mark_sure(connection: apsw.Connection, keys: Iterable[str]) -> None:
    """These need not be looked at again."""
    connection.executemany("UPDATE charges SET sure = 1 WHERE key = ? AND state = 'settled'", [(key,) for key in keys])


def account_transactions(
    connection: apsw.Connection, network: str, account: str, from_nonce: int, limit: int
) -> list[Transaction]:
    """Those from that account nonce on, in its order."""
    found: Any = connection.execute(OF_ACCOUNT, (network, account, from_nonce, limit))
    return [_transaction(*columns) for columns in found]


def _keys_of(network: str | None) -> tuple[str, str]:
    """The first key of a network, and the first behind its last."""
    return ("", "\x7f") if network is None else (f"{network}/", f"{network}0")  # "0" is what follows "/"


def _transaction(network: str, account: str, account_nonce: int, hash_: str, raw: bytes, made_at: int) -> Transaction:
    return Transaction(
        network=network, account=account, account_nonce=account_nonce, hash=hash_, raw=raw, made_at=made_at
    )
