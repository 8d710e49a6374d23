"""What paying costs a call: two daemons on a chain of our own, free and paid calls in turn in each round.

The paid ones are by a known payer, so that nothing waits for the chain but the check; the shop settles beside them.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.figure import percentile
from bench.load import Spent
from nexusd.client import Nexus
from nexusd.client.serving import Call
from nexusd_protocols.rpc.schema import PriceSpec
from tests.crash.market import PASSWORD, keep_wallet
from tests.harness import chains
from tests.harness.daemon import Daemon, Home, connect
from tests.harness.localchain import ETHER
from tests.harness.paying import PAYEE, PAYER
from tests.harness.process import LineProcess, poll

PRICE = "0.001"
AT_ONCE = 8


@dataclass
class Series:
    """Of one kind of call, over the rounds."""

    seconds: list[float] = field(default_factory=list)
    """Of each call, one after the other."""
    rates: list[float] = field(default_factory=list)
    """Calls a second, AT_ONCE of them at a time."""
    processor: list[float] = field(default_factory=list)
    """Seconds of all processes for one of these."""


def measure(rounds: int, calls: int) -> dict[str, Series]:
    """Free and paid."""
    found = {"free": Series(), "paid": Series()}
    with _market() as (shop, buyer):
        for kind in found:
            _one(buyer, shop.peer_id, kind)  # so that paid output waits for nothing
        _settled(shop)
        for _ in range(rounds):
            for kind, series in found.items():
                series.seconds += [_one(buyer, shop.peer_id, kind) for _ in range(calls)]
                _settled(shop)  # no more than 64 may wait for it
                with Spent() as spent:
                    began = time.perf_counter()
                    _at_once(buyer, shop.peer_id, kind, calls)
                    series.rates.append(calls / (time.perf_counter() - began))
                    _settled(shop)  # which is part of what a paid call costs
                series.processor.append(spent.seconds / calls)
    return found


def _one(buyer: Daemon, peer: str, kind: str) -> float:
    with Nexus.connect(data_dir=buyer.data_dir, timeout=60) as nexus:
        began = time.perf_counter()
        _call(nexus, peer, kind)
        return time.perf_counter() - began


def _at_once(buyer: Daemon, peer: str, kind: str, calls: int) -> None:
    with Nexus.connect(data_dir=buyer.data_dir, timeout=60) as nexus, ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda _: _call(nexus, peer, kind), range(calls)))


def _call(nexus: Nexus, peer: str, kind: str) -> None:
    assert nexus.invoke(peer, kind, "hello", max_price=PRICE if kind == "paid" else None) == "hello"


def _settled(shop: Daemon) -> None:
    def nothing_open() -> bool:
        return all(total["state"] == "settled" for total in shop.rpc("pay.settlements")["totals"])

    poll(nothing_open, "everything is settled", timeout=120)


@contextmanager
def _market() -> Iterator[tuple[Daemon, Daemon]]:
    home = Home()
    home.env["NEXUS_WALLET_PASSWORD"] = PASSWORD
    try:
        keep_wallet(home, "alice", PAYEE)
        keep_wallet(home, "bob", PAYER)
        with chains.some(home.directory) as chain:
            chain.fund(PAYEE.address, 100 * ETHER)
            chain.mint(PAYER.address, 10**12)
            node = (
                "--rpc-urls",
                f"base={chain.url}",
                "--log-level",
                "warning",
                "--exposure-payer",
                "100",
                "--known-after",
                "1",
            )
            with Daemon("alice", home, *node) as shop, Daemon("bob", home, *node) as buyer:
                connect(buyer, shop)
                buyer.rpc("pay.setPolicy", perRequest="1", networks=["base"], approveAbove="none", perMinute="none")
                argv = [sys.executable, "-m", "bench.pay.calls", str(shop.data_dir)]
                root = Path(__file__).resolve().parents[2]
                program = LineProcess(argv, log=home.directory / "provider.log", env=home.env, cwd=root)
                try:
                    program.expect(lambda line: line == "ready", "the provider is ready")
                    yield shop, buyer
                finally:
                    program.kill9()
    finally:
        home.remove()


def table(found: dict[str, Series]) -> str:
    """For people."""
    lines = [f"{'':8}{'one, p50':>12}{'p99':>12}{f'{AT_ONCE} at once':>16}{'processor time of each':>26}"]
    for kind, series in found.items():
        p50, p99 = (1000 * percentile(series.seconds, share) for share in (0.5, 0.99))
        rate, processor = statistics.median(series.rates), 1000 * statistics.median(series.processor)
        lines.append(f"{kind:8}{p50:>9.1f} ms{p99:>9.1f} ms{rate:>14.0f}/s{processor:>23.1f} ms")
    return "\n".join(lines)


def _serve(data_dir: str) -> None:
    """`python -m bench.pay.calls DATA_DIR`: serves `free` and `paid` at a daemon until it is killed."""

    def echo(call: Call) -> str:
        value: str = call.value()
        return value

    nexus = Nexus.connect(data_dir=data_dir)
    prices = {"free": [], "paid": [PriceSpec(amount=PRICE)]}
    for name, price in prices.items():
        ready = threading.Event()
        options = {"max_concurrent": 32, "prices": price, "ready": ready.set}
        threading.Thread(target=nexus.serve, args=(name, echo), kwargs=options).start()
        ready.wait()
    print("ready", flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
