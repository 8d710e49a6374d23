"""An honest js-libp2p peer that comes, pings and goes while a daemon is attacked, and what that costs the daemon."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from tests.harness.daemon import Daemon
from tests.harness.js import JsPeer


@dataclass
class Testimony:
    """Seconds of each visit (dial, then ping), bytes at the beginning and at most, CPU seconds of the daemon."""

    __test__ = False

    visits: list[float] = field(default_factory=list)
    rss_before: int = 0
    rss_most: int = 0
    cpu_seconds: float = 0.0
    seconds: float = 0.0
    error: BaseException | None = None

    @property
    def grown(self) -> float:
        """MiB."""
        return (self.rss_most - self.rss_before) / (1 << 20)

    def __str__(self) -> str:
        middle = statistics.median(self.visits) if self.visits else float("nan")
        return (
            f"{len(self.visits)} visits, {middle * 1000:.0f} ms in the middle, {max(self.visits, default=0) * 1000:.0f}"
            f" at most; +{self.grown:.1f} MiB; {self.cpu_seconds:.1f} s of CPU in {self.seconds:.1f} s"
        )


@contextmanager
def witnessed(victim: Daemon, honest: JsPeer, *, mebibytes: float = 32, visits: int = 3) -> Iterator[Testimony]:
    """While the block runs, and until there were so many visits, `honest` visits the victim. Afterwards: each visit
    succeeded, the middle one took less than a second (a busy machine makes outliers), and the victim has never grown by
    more than `mebibytes`."""
    visit(victim, honest)
    told = Testimony()
    process = psutil.Process(victim.pid)
    told.rss_before = told.rss_most = process.memory_info().rss
    cpu = process.cpu_times()
    began = time.monotonic()
    over = threading.Event()

    def come_and_go() -> None:
        try:
            while not (over.is_set() and len(told.visits) >= visits):
                told.visits.append(visit(victim, honest))
                over.wait(0.1)
        except BaseException as error:
            told.error = error

    def weigh() -> None:
        while not over.wait(0.02):
            told.rss_most = max(told.rss_most, process.memory_info().rss)

    threads = [threading.Thread(target=each, daemon=True) for each in (come_and_go, weigh)]
    for thread in threads:
        thread.start()
    try:
        yield told
    finally:
        after = process.cpu_times()
        told.cpu_seconds = after.user + after.system - cpu.user - cpu.system
        told.seconds = time.monotonic() - began
        over.set()
        for thread in threads:
            thread.join(60)
    if told.error is not None:
        raise AssertionError(f"the honest peer was kept out: {told}") from told.error
    assert statistics.median(told.visits) < 1.0, f"the honest peer waited: {told}"
    assert told.grown < mebibytes, f"{victim.name} has grown: {told}"


def visit(victim: Daemon, honest: JsPeer) -> float:
    """Dial, ping, hang up. Gives the seconds that the first two took."""
    began = time.monotonic()
    honest.call("dial", address=victim.tcp)
    honest.call("ping", peer=victim.peer_id)
    took = time.monotonic() - began
    honest.call("hangup", peer=victim.peer_id)
    return took
