"""Whether a store is whole: what the database itself cannot say, because it follows from what the store means by it."""

from __future__ import annotations

import hashlib
from dataclasses import astuple
from typing import Any

import apsw

from nexusd.store import Store
from nexusd.store.ledger.charge_rows import ALL_PAYERS, CHARGE_SELECT, Sums, charge_row, parts_of, read_sums
from nexusd_protocols.content.block import read_block
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.history.bounds import hour_of
from nexusd_protocols.payments.charge import OWED, Delivered, State, key_parts


async def faults(store: Store) -> list[str]:
    """What is wrong; empty if nothing is. Reads all of it."""
    return [
        *await store.database.integrity(),
        *await store.database.read(_log_faults),
        *await store.database.read(_ledger_faults),
        *await store.blocks.database.integrity(),
        *await store.blocks.database.read(_block_faults),
        *await _batch_faults(store),
    ]


def _log_faults(connection: apsw.Connection) -> list[str]:
    found: list[str] = []

    def same(what: str, kept: object, true: object) -> None:
        if kept != true:
            found.append(f"{what}: {kept} is kept, and {true} is true")

    logs: Any = connection.execute("SELECT id, messages, bytes FROM rooms").fetchall()
    for log, messages, size in logs:
        rows: Any = connection.execute(
            "SELECT position, kind, leads, message_id, sender, timestamp, content, target, digest, length(signed),"
            " signed FROM room_messages WHERE log = ? ORDER BY timestamp, digest",
            (log,),
        ).fetchall()
        items: Any = connection.execute(
            "SELECT timestamp, digest, position, shown FROM room_items WHERE log = ? ORDER BY timestamp, digest", (log,)
        ).fetchall()
        lowest: dict[tuple[str, str], bytes] = {}
        for row in rows:
            name = row[4], row[3]
            lowest[name] = min(lowest.get(name, row[8]), row[8])
        for row in rows:
            same("the digest", row[8], hashlib.sha256(row[10]).digest())
            same("whether it leads", bool(row[2]), lowest[row[4], row[3]] == row[8])
        shown = {row[0] for row in rows if row[1] == "chat" and row[2]}
        expected = [(row[5], row[8], row[0], int(row[0] in shown)) for row in rows]
        same("the items", [item for item in items if item[2]], expected)
        same("the count", messages, len(shown))
        same("the size", size, sum(row[9] for row in rows))
        hours: Any = connection.execute("SELECT hour FROM room_hours WHERE log = ?", (log,)).fetchall()
        if not {hour_of(row[5]) for row in rows} <= {hour for (hour,) in hours}:
            found.append("an hour is missing")
        found += _span_faults(connection, log, items)
        revised: dict[tuple[str, str], set[str]] = {}
        for row in rows:
            if row[2] and row[7]:
                revised.setdefault((row[4], row[7]), set()).add(row[1])
        words: Any = connection.execute(
            "SELECT rowid FROM room_words WHERE room_words MATCH ? ORDER BY rowid", (f"log : log{log}",)
        ).fetchall()
        same("what words are of", [position for (position,) in words], sorted(row[0] for row in rows))
        for row in rows:
            if not _has_word(connection, row[0], f"digest : {row[8][:8].hex()}"):
                found.append(f"message {row[0]} is not found by its digest")
            how = revised.get((row[4], row[3]), set())
            said = row[6].split()
            if row[1] == "chat" and said and "edit" not in how:
                expected_words = row[0] in shown and "retract" not in how
                same("whether it is found", _has_word(connection, row[0], f'content : "{said[0]}"'), expected_words)
        leading = {row[0] for row in rows if row[2]}
        events: Any = connection.execute("SELECT ref FROM events WHERE kind = 'room' AND ref > 0").fetchall()
        if not leading <= {ref for (ref,) in events}:
            found.append("an event is missing")
    return found


def _has_word(connection: apsw.Connection, position: int, match: str) -> bool:
    query = "SELECT 1 FROM room_words WHERE room_words MATCH ? AND rowid = ?"
    return connection.execute(query, (match, position)).get is not None


def _span_faults(connection: apsw.Connection, log: int, items: list[Any]) -> list[str]:
    spans: Any = connection.execute(
        "SELECT timestamp, digest, count, sum FROM room_spans WHERE log = ? ORDER BY timestamp, digest", (log,)
    ).fetchall()
    if not spans:
        return ["there are items and no spans"] if items else []
    found = [] if spans[0][:2] == (0, b"") else ["the first span begins late"]
    starts = [span[:2] for span in spans] + [((1 << 63) - 1, b"")]
    for (_, _, count, total), lower, upper in zip(spans, starts, starts[1:], strict=False):
        within = [item[1] for item in items if lower <= item[:2] < upper]
        true = sum(int.from_bytes(digest, "big") for digest in within) % (1 << 256)
        if (count, int.from_bytes(total, "big")) != (len(within), true):
            found.append(f"a span says {count}, and there are {len(within)}")
    return found


def _block_faults(connection: apsw.Connection) -> list[str]:
    found: list[str] = []
    kept: set[int] = set()
    blocks: Any = connection.execute("SELECT digest, codec, version, size, data FROM blocks").fetchall()
    for digest, codec, version, size, key in blocks:
        if not key:
            continue
        kept.add(key)
        data: Any = connection.execute("SELECT data FROM block_data WHERE id = ?", (key,)).get
        if data is None or hashlib.sha256(data).digest() != digest or len(data) != size:
            found.append(f"block {digest.hex()} is damaged")
            continue
        links: Any = connection.execute(
            "SELECT codec, child, version FROM block_links WHERE parent = ? ORDER BY place", (digest,)
        ).fetchall()
        if tuple(Cid(*link) for link in links) != read_block(Cid(codec, digest, version), data).links:
            found.append(f"block {digest.hex()} has other links")
    stored: Any = connection.execute("SELECT id FROM block_data").fetchall()
    if {key for (key,) in stored} != kept:
        found.append("there are bytes of no block")
    parents: Any = connection.execute("SELECT DISTINCT parent FROM block_links").fetchall()
    if not {parent for (parent,) in parents} <= {block[0] for block in blocks}:
        found.append("there are links of no block")
    return found


def _ledger_faults(connection: apsw.Connection) -> list[str]:
    """Sums are those of the rows, results are of charges, transactions settle something."""
    found: list[str] = []
    true: dict[tuple[str, str], Sums] = {}
    columns: Any
    for columns in connection.execute(CHARGE_SELECT):
        charge = charge_row(*columns)
        parts = key_parts(charge.entry.key)
        added = astuple(parts_of(charge))
        for name in ((parts.asset_id, parts.payer), (parts.asset_id, ALL_PAYERS)):
            before = astuple(true.get(name, Sums()))
            true[name] = Sums(*(one + other for one, other in zip(before, added, strict=True)))
        if charge.state in OWED and charge.delivered is Delivered.NOTHING:
            found.append(f"{charge.entry.key} is owed, and nothing of it was to be handed over")
        if charge.state is State.RELEASED and (charge.working or charge.delivered is not Delivered.NOTHING):
            found.append(f"{charge.entry.key} is released, and something of it was handed over")
        if charge.state is State.SUBMITTED and not charge.transaction:
            found.append(f"{charge.entry.key} was submitted by nothing")
    kept: Any = connection.execute("SELECT asset, payer FROM charge_sums").fetchall()
    found += [
        f"the sums of {name} are wrong"
        for name in {*true, *kept}
        if read_sums(connection, *name) != true.get(name, Sums())
    ]
    wrong: Any = connection.execute(
        "SELECT count(*) FROM charges FULL JOIN charge_results ON charge = position"
        " WHERE ifnull(result_kept, 0) <> (charge IS NOT NULL) OR length(data) <> result_size"
    ).get
    if wrong:
        found.append(f"{wrong} results are out of step")
    unsent: Any = connection.execute(
        "SELECT count(*) FROM charges WHERE state = 'submitted' AND NOT EXISTS (SELECT 1 FROM settlement_charges"
        " JOIN settlements AS s ON s.position = settlement WHERE charge = charges.position AND s.tx = charges.tx)"
    ).get
    if unsent:  # one that settles nothing is sound: it uses up an account's nonce that others wait for
        found.append("transactions are out of step")
    unsigned: Any = connection.execute(
        "SELECT count(*) FROM purchases WHERE (state IN ('signed', 'spent')) > (key <> '' AND signature <> x'')"
    ).get
    if unsigned:
        found.append(f"{unsigned} purchases have lost their signature")
    metered: Any = connection.execute(
        "SELECT sum(calls + not_begun), sum(failed + not_begun), sum(input_bytes), sum(output_bytes), sum(duration_ms),"
        " sum(units) FROM metering"
    ).fetchone()
    called: Any = connection.execute(
        "SELECT count(*), sum(outcome <> 'ok'), sum(input_bytes), sum(output_bytes), sum(duration_ms), sum(units),"
        " max(position) FROM invocations"
    ).fetchone()
    *called, newest = (number or 0 for number in called)
    pairs = list(zip([number or 0 for number in metered], called, strict=True))
    # what was forgotten is on the meters still
    if any(meter < call if called[0] < newest else meter != call for meter, call in pairs):
        found.append("the meters are wrong")
    return found


async def _batch_faults(store: Store) -> list[str]:
    """What the log says it was sealed into is here."""

    def named(connection: apsw.Connection) -> set[Cid]:
        rows: Any = connection.execute(
            "SELECT cid FROM room_batches UNION SELECT cid FROM room_days"
            " UNION SELECT head FROM rooms WHERE head <> x''"
        )
        return {Cid.decode(cid) for (cid,) in rows}

    wanted = await store.database.read(named)
    return [f"{cid} is named and not here" for cid in wanted - await store.blocks.has(wanted)]
