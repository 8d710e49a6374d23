"""What a payer is known by: what it settled here, and what it took back.

A charge that was lost through its payer's doing (cancelled, overdrawn, an older signature shown to the chain) stands
against the payer's account and against the peer that showed it, until it is settled after all or a person clears it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import apsw

from nexusd.store.database import Database
from nexusd.store.ledger.charge_rows import CHARGE_SELECT, charge_row
from nexusd_protocols.identity import PeerId
from nexusd_protocols.payments.address import Address
from nexusd_protocols.payments.charge import Charge, key_parts

SETTLED: Final = "SELECT 1 FROM charges WHERE peer = ? AND state = 'settled' AND +key >= ? AND +key < ? LIMIT ?"
BY_PEER: Final = "SELECT 1 FROM offences WHERE offender = ? LIMIT 1"
BY_PAYER: Final = "SELECT 1 FROM offences WHERE account = ? LIMIT 1"
ALL: Final = CHARGE_SELECT + " JOIN offences ON charge = position ORDER BY position DESC LIMIT ?"


@dataclass(frozen=True, slots=True)
class Record:
    """`settled`: payments that were, up to as many as were asked about. `offended`: one was taken back."""

    settled: int
    offended: bool


class Standings:
    """The records of payers, over all agents of this node."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, peer: PeerId, payer: Address | None, most: int, asset: str | None = None) -> Record:
        """Of a peer, and of the account that it pays from, if that is known. `most`: settled payments that are
        counted; in an `asset` (`eip155:<chain>/<contract, lower hex>`), if one is named."""
        keys = ("", "\x7f") if asset is None else (f"{asset}/", f"{asset}0")  # "0" is what follows "/"

        def read(connection: apsw.Connection) -> Record:
            settled = len(connection.execute(SETTLED, (peer, *keys, most)).fetchall())
            offended = bool(connection.execute(BY_PEER, (peer,)).get)
            if payer is not None:
                offended = offended or bool(connection.execute(BY_PAYER, (payer.hex(),)).get)
            return Record(settled, offended)

        return await self._database.read(read)

    async def offences(self, limit: int) -> list[Charge]:
        """The charges that stand against somebody, the newest first."""

        def read(connection: apsw.Connection) -> list[Charge]:
            found: Any = connection.execute(ALL, (limit,))
            return [charge_row(*columns) for columns in found]

        return await self._database.read(read)

    async def clear(self, *, peer: PeerId | None = None, payer: Address | None = None) -> int:
        """Let nothing stand against a peer, or against an account: one of them is given. Returns how many charges
        did."""

        def write(connection: apsw.Connection) -> int:
            if peer is not None:
                connection.execute("DELETE FROM offences WHERE offender = ?", (peer,))
            elif payer is not None:
                connection.execute("DELETE FROM offences WHERE account = ?", (payer.hex(),))
            return connection.changes()

        return await self._database.write(write)


def blame(connection: apsw.Connection, charge: Charge) -> None:
    """Let a charge that was lost stand against whoever paid it. Call it inside `Database.write`."""
    payer = key_parts(charge.entry.key).payer
    connection.execute(
        "INSERT OR IGNORE INTO offences (charge, offender, account) VALUES (?, ?, ?)",
        (charge.position, charge.entry.peer, payer),
    )


def forgive(connection: apsw.Connection, charge: int) -> None:
    """It was paid after all. Call it inside `Database.write`."""
    connection.execute("DELETE FROM offences WHERE charge = ?", (charge,))
