"""How late the event loop is: what it cannot do in time, no peer and no client gets in time."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

import trio

PROBE_S: Final = 1.0
"""Between two looks: 86,400 a day cost less than a second of CPU."""
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds. Under 10 ms nobody notices; at 2.5 s peers begin to think that a connection is dead."""


class LoopLag:
    """A histogram of delays, since the start."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0
        """Seconds of delay in all."""

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            due = trio.current_time() + PROBE_S
            await trio.sleep_until(due)
            self.add(trio.current_time() - due)

    def add(self, seconds: float) -> None:
        """Count a delay."""
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds, and how many delays were no longer than that."""
        found, so_far = [], 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            so_far += count
            found.append((bound, float(so_far)))
        return found
