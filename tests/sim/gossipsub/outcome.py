"""What came of a simulation: how much of what was said was heard, how soon, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.figure import percentile
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.sim.gossipsub.honest import Honest
from tests.sim.gossipsub.network import Network

DEADLINE_SECONDS: Final = 6.0
"""What the report asks for (§1): the time that Filecoin gives a block."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Shares are of all deliveries that should be: each message to each honest host but its author."""

    messages: int
    expected: int
    in_time: float
    """The share heard within DEADLINE_SECONDS."""
    ever: float
    p50: float
    p99: float
    slowest: float
    """Virtual seconds from saying to hearing."""
    copies: float
    """Copies received for each message heard."""
    repeated: int
    """Deliveries of what was delivered already: must be none."""
    victim_in_time: float
    """As `in_time`, of the messages of the one host that is attacked, and of those to it; 1 where there is none."""

    def row(self, name: str) -> str:
        """A row of the table in docs."""
        victim = f"{self.victim_in_time:.4%}"
        return (
            f"| {name} | {self.messages} | {self.in_time:.4%} | {victim} | {self.p50 * 1e3:.0f} | {self.p99 * 1e3:.0f}"
            f" | {self.slowest * 1e3:.0f} | {self.copies:.2f} |"
        )


HEAD: Final = (
    "| scenario | messages | heard within 6 s | of and by the victim | p50 ms | p99 ms | slowest ms | copies |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|"
)


class Watch:
    """Takes notes."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._said: dict[bytes, tuple[str, float]] = {}
        self._heard: dict[bytes, dict[str, float]] = {}
        self._repeated = 0

    def publish(self, author: Honest, number: int, size: int) -> None:
        """Have a host say something."""
        key = number.to_bytes(8, "big")
        self._said[key] = author.name, self._network.now
        self._heard[key] = {}
        author.publish(number, size)

    def heard(self, name: str, message: SignedMessage) -> None:
        """A host heard something."""
        by = self._heard[message.seqno]
        if name in by:
            self._repeated += 1
        by[name] = self._network.now - self._said[message.seqno][1]

    def outcome(self, hosts: Sequence[Honest], victim: str) -> Outcome:
        """Sum up."""
        times = sorted(seconds for by in self._heard.values() for seconds in by.values())
        expected = len(self._said) * (len(hosts) - 1)
        in_time = sum(seconds <= DEADLINE_SECONDS for seconds in times)
        return Outcome(
            messages=len(self._said),
            expected=expected,
            in_time=in_time / expected,
            ever=len(times) / expected,
            p50=percentile(times, 0.5),
            p99=percentile(times, 0.99),
            slowest=percentile(times, 1.0),
            copies=sum(host.received for host in hosts) / max(1, len(times)),
            repeated=self._repeated,
            victim_in_time=self._victim(hosts, victim) if victim else 1.0,
        )

    def _victim(self, hosts: Sequence[Honest], victim: str) -> float:
        expected = found = 0
        for key, (author, _) in self._said.items():
            by = self._heard[key]
            if author == victim:
                expected += len(hosts) - 1
                found += sum(seconds <= DEADLINE_SECONDS for seconds in by.values())
            else:
                expected += 1
                found += by.get(victim, DEADLINE_SECONDS + 1) <= DEADLINE_SECONDS
        return found / expected
