"""What was used: sums of calls, bytes and money, per peer and capability, in both directions, by days (UTC).

Identities cost nothing, and each makes a row a day: so what is old, or too much, is folded into months without peers.
The sums stay as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal

import apsw

from nexusd.store.database import Database
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import CapabilityName
from nexusd_protocols.payments.purchase import DAY_MS

_LAST_DAY: Final = 1 << 40
_EPOCH: Final = date(1970, 1, 1)

KEEP_DAYS: Final = 400
"""For so long it is known who used what each day: a year, and a month to compare it in."""
ROWS: Final = 100_000
"""At most, some 40 MB: three hundred pairs of peer and capability a day have their year."""
AT_ONCE: Final = 200
"""Rows that are folded in one function, so that others are not kept waiting."""
MOST: Final = (1 << 53) - 1
"""No sum is higher: units follow from what others ask for them, and have to fit into a row. Money is a text there."""
EVERYBODY: Final = PeerId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """Sums of one agent with one peer over one capability, in one direction, asset and unit; `in`: the peer called us.
    `failed` are some of `calls`, and `not_begun` none of them (see `InvocationRow.begun`). Bytes are those that really
    went; `units` of `unit` (see `terms.Unit`) are what the price counts; `amount` is in the asset's smallest unit.
    `asset` and `unit` are '' where nothing was paid. `peer` is EVERYBODY of what was folded: its days are the first of
    their months."""

    peer: PeerId
    capability: CapabilityName
    direction: Literal["in", "out"]
    asset: str
    unit: str = ""
    calls: int
    failed: int
    not_begun: int = 0
    input_bytes: int
    output_bytes: int
    duration_ms: int
    units: int
    amount: int
    first_day: int
    last_at: int


FIND: Final = (
    "SELECT id, amount FROM metering WHERE agent = ? AND peer = ? AND capability = ? AND direction = ? AND day = ?"
    " AND asset = ? AND unit = ?"
)
BY_DAY: Final = (
    "SELECT peer, capability, direction, asset, unit, day, calls, failed, not_begun, input_bytes, output_bytes,"
    " duration_ms, units, amount, last_at FROM metering WHERE agent = ? AND day >= ? AND day < ?"
)
OLDEST: Final = (
    "SELECT id, agent, capability, direction, day, asset, unit, calls, failed, not_begun, input_bytes, output_bytes,"
    " duration_ms, units, amount, last_at FROM metering WHERE peer <> '' AND day < ? ORDER BY day, id LIMIT ?"
)
COUNT: Final = "SELECT count(*) FROM metering WHERE peer <> ''"


class Metering:
    """Each agent's sums. They are written with the record of each call."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fold(self, now: int) -> int:
        """Put together what is over KEEP_DAYS old, and of more than ROWS the oldest. Returns how many that were."""

        def write(connection: apsw.Connection) -> int:
            rows: Any = connection.execute(OLDEST, (now // DAY_MS - KEEP_DAYS, AT_ONCE)).fetchall()
            over = connection.execute(COUNT).get - ROWS
            if not rows and over > 0:
                rows = connection.execute(OLDEST, (_LAST_DAY, min(over, AT_ONCE))).fetchall()
            _fold(connection, rows)
            return len(rows)

        folded = 0
        while found := await self._database.write(write):
            folded += found
        return folded

    async def sums(self, agent: AgentId, *, since: int = 0, until: int | None = None) -> list[Meter]:
        """Sums over whole days (UTC): from that of `since` to that before `until`, unix milliseconds."""
        end = _LAST_DAY if until is None else until // DAY_MS

        def read(connection: apsw.Connection) -> list[Meter]:
            found: dict[tuple[str, ...], list[int]] = {}
            for columns in connection.execute(BY_DAY, (agent, since // DAY_MS, end)):
                _add(found, columns)
            return [_meter(name, sums) for name, sums in sorted(found.items())]

        return await self._database.read(read)


def add_to_meter(
    connection: apsw.Connection,
    agent: AgentId,
    *,
    peer: PeerId,
    capability: CapabilityName,
    direction: Literal["in", "out"],
    at: int,
    begun: bool,
    failed: bool,
    input_bytes: int,
    output_bytes: int,
    duration_ms: int,
    asset: str = "",
    unit: str = "",
    units: int = 0,
    amount: int = 0,
) -> None:
    """Count a call. Call it inside `Database.write`, where the call is recorded."""
    name = (agent, peer, capability, direction, at // DAY_MS, asset, unit)
    calls = (begun, begun and failed, not begun)
    _merge(connection, name, (*calls, input_bytes, output_bytes, duration_ms, units), amount, at)


def _merge(
    connection: apsw.Connection, name: tuple[Any, ...], counts: Sequence[int], amount: int, last_at: int
) -> None:
    """Add to the row of that name, or make it."""
    counts = [min(count, MOST) for count in counts]
    known: Any = connection.execute(FIND, name).fetchone()
    if known is None:
        connection.execute(
            "INSERT INTO metering (agent, peer, capability, direction, day, asset, unit, calls, failed,"
            " not_begun, input_bytes, output_bytes, duration_ms, units, amount, last_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*name, *counts, str(amount), last_at),
        )
        return
    row, before = known
    connection.execute(
        "UPDATE metering SET calls = calls + ?, failed = failed + ?, not_begun = not_begun + ?, input_bytes ="
        " input_bytes + ?, output_bytes = output_bytes + ?, duration_ms = duration_ms + ?, units = min(units + ?, ?),"
        " amount = ?, last_at = max(last_at, ?) WHERE id = ?",
        (*counts, MOST, str(int(before) + amount), last_at, row),
    )


def _fold(connection: apsw.Connection, rows: Sequence[Any]) -> None:
    for row, agent, capability, direction, day, asset, unit, *counts, amount, last_at in rows:
        name = (agent, EVERYBODY, capability, direction, _first_of_month(day), asset, unit)
        _merge(connection, name, counts, int(amount), last_at)
        connection.execute("DELETE FROM metering WHERE id = ?", (row,))


def _first_of_month(day: int) -> int:
    then = _EPOCH + timedelta(days=day)
    return (then.replace(day=1) - _EPOCH).days


def _add(found: dict[tuple[str, ...], list[int]], columns: Any) -> None:
    peer, capability, direction, asset, unit, day, *counts, amount, last_at = columns
    sums = found.setdefault((peer, capability, direction, asset, unit), [0] * (len(counts) + 1) + [day, 0])
    for place, value in enumerate((*counts, int(amount))):
        sums[place] += value
    sums[-2] = min(sums[-2], day)
    sums[-1] = max(sums[-1], last_at)


def _meter(name: tuple[str, ...], sums: list[int]) -> Meter:
    peer, capability, direction, asset, unit = name
    calls, failed, not_begun, input_bytes, output_bytes, duration_ms, units, amount, first_day, last_at = sums
    return Meter(
        peer=PeerId(peer),
        capability=CapabilityName(capability),
        direction="in" if direction == "in" else "out",
        asset=asset,
        unit=unit,
        calls=calls,
        failed=failed,
        not_begun=not_begun,
        input_bytes=input_bytes,
        output_bytes=output_bytes,
        duration_ms=duration_ms,
        units=units,
        amount=amount,
        first_day=first_day,
        last_at=last_at,
    )
