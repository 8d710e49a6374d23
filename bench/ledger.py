"""`python -m bench.ledger`: charges reserved and made due a second, one after the other and many at once.

Each counts once it is on disk. The bare line is the least that a ledger can do: one INSERT of a key and one commit with
an fsync, each by itself; the ratio is to it. Rounds of all in turn, median (lowest-highest). Give a `--directory` on a
disk, since /tmp may be memory.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from itertools import product
from pathlib import Path

import apsw
import trio

from bench.figure import number
from bench.load import DISTURBED, Neighbours
from nexusd.store import Store
from nexusd_protocols.identity import Signer
from tests.unit.protocols.payments.charges import NOW, WIDE, entry, result

AT_ONCE = 256
BARE = "bare insert, one commit each"


def bare(directory: Path, count: int) -> float:
    """Commits a second of SQLite alone."""
    connection = apsw.Connection(str(directory / "bare.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE keys (key TEXT PRIMARY KEY) STRICT, WITHOUT ROWID")
    began = time.perf_counter()
    for at in range(count):
        connection.execute("INSERT INTO keys VALUES (?)", (entry(at).key,))
    seconds = time.perf_counter() - began
    connection.close()
    return count / seconds


async def ours(directory: Path, what: str, count: int, at_once: int) -> float:
    """Steps a second of the ledger, so many under way at once. Each payer has ten charges."""
    peers = [Signer(number.to_bytes(32, "big")).peer_id for number in range(250)]
    entries = [entry(at, payer_number=at // 10 % 250, peer=peers[at // 10 % 250]) for at in range(count)]
    turns = iter(entries)
    async with Store.open(directory / "ours.sqlite") as store:
        if what != "reserve":
            for one in entries:
                await store.ledger.reserve(one, now=NOW, balance=None, exposure=WIDE)

        async def work() -> None:
            for one in turns:
                if what == "reserve":
                    await store.ledger.reserve(one, now=NOW, balance=10**9, exposure=WIDE)
                elif what == "due":
                    await store.ledger.due(one.key, amount=100, result=result(), receipt=b"r" * 500, now=NOW)
                else:
                    await store.ledger.reserve(one, now=NOW, balance=10**9, exposure=WIDE)

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(work)
        return count / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--directory", type=Path, default=Path.home())
    options = parser.parse_args()
    found: defaultdict[str, list[float]] = defaultdict(list)
    with Neighbours() as neighbours:
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(dir=options.directory) as name:
                found[BARE].append(bare(Path(name), options.count // 4))
            for what, at_once in product(("reserve", "due", "known"), (1, AT_ONCE)):
                count = options.count // 4 if at_once == 1 else options.count
                with tempfile.TemporaryDirectory(dir=options.directory) as name:
                    rate = trio.run(ours, Path(name), what, count, at_once)
                found[f"{what}, {'one after the other' if at_once == 1 else f'{at_once} at once'}"].append(rate)
    least = statistics.median(found[BARE])
    for title, rates in found.items():
        middle = statistics.median(rates)
        spread = f"({number(min(rates))}-{number(max(rates))})"
        print(f"{title:34} {number(middle):>7}/s {spread:>17}  {middle / least:5.2f} of bare")
    if neighbours.share > DISTURBED:
        print("disturbed: other programs were busy")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
