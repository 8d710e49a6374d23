"""A network of a thousand routers in one process: a queue of events, a clock that jumps, and latencies drawn by a seed.

There is no Trio, no crypto and no encoding here: what is tried is the router and nothing else. Everything random comes
from one seed, so that a run can be repeated.

    network = Network(seed=7)
    network.add(actor)                    # has a name, and says what it does with what comes
    network.connect("h1", "h2")
    network.at(30.0, function)
    network.run(until=90.0)
"""

from __future__ import annotations

import gc
import heapq
import math
import random
from collections.abc import Callable
from typing import Any, Final, Protocol

MEDIAN_SECONDS: Final = 0.04
"""One way between two hosts. With SPREAD: a tenth under 21 ms, a tenth over 76 ms, one in a hundred over 130 ms."""
SPREAD: Final = 0.5
"""Sigma of the logarithm: latencies between hosts of the whole world have a long tail."""
JITTER: Final = 0.1
"""Of a message, in shares of the pair's latency, as in the report."""
MAX_SECONDS: Final = 0.4


class Actor(Protocol):
    """A host."""

    name: str
    ip: str

    def joined(self, peer: str, *, outbound: bool) -> None:
        """A connection to a peer is there."""
        ...

    def receive(self, peer: str, rpc: Any) -> None:
        """A peer sent something."""
        ...


class Network:
    """Hosts, links between them, and what is under way. Times are virtual seconds."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.actors: dict[str, Actor] = {}
        self.links: dict[str, set[str]] = {}
        self.sent = 0
        """RPCs that left a host."""
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0
        self._latency: dict[tuple[str, str], float] = {}
        self._last: dict[tuple[str, str], float] = {}

    def add(self, actor: Actor) -> None:
        """Let a host be there."""
        self.actors[actor.name] = actor
        self.links[actor.name] = set()

    def connect(self, dialler: str, listener: str) -> bool:
        """Connect two hosts; False if they are the same or connected already."""
        if dialler == listener or listener in self.links[dialler]:
            return False
        self.links[dialler].add(listener)
        self.links[listener].add(dialler)
        low = min(dialler, listener), max(dialler, listener)
        drawn = MEDIAN_SECONDS * math.exp(self.random.gauss(0.0, SPREAD))
        self._latency[low] = self._latency[low[1], low[0]] = min(drawn, MAX_SECONDS)
        self.actors[dialler].joined(listener, outbound=True)
        self.actors[listener].joined(dialler, outbound=False)
        return True

    def send(self, source: str, target: str, rpc: Any) -> None:
        """Put an RPC on its way; those of one direction of a link arrive in order."""
        if target not in self.links[source]:
            return
        self.sent += 1
        link = source, target
        due = self.now + self._latency[link] * (1.0 + JITTER * self.random.random())
        last = self._last.get(link, 0.0)
        if due < last:
            due = last
        self._last[link] = due
        self.at(due, self.actors[target].receive, source, rpc)

    def at(self, when: float, function: Callable[..., None], *args: Any) -> None:
        """Call a function at a time."""
        self._number += 1
        heapq.heappush(self._events, (when, self._number, function, args))

    def after(self, seconds: float, function: Callable[..., None], *args: Any) -> None:
        """Call a function later."""
        self.at(self.now + seconds, function, *args)

    def run(self, until: float) -> None:
        """Let everything happen that is due by then."""
        events = self._events
        # nothing here dies in cycles, and to look for them among a million live objects takes as long as all the rest
        gc.disable()
        try:
            while events and events[0][0] <= until:
                self.now, _, function, args = heapq.heappop(events)
                function(*args)
        finally:
            gc.enable()
        self.now = until
