"""How long to leave alone what has failed: twice as long each time, with jitter, and not at all after a success."""

from __future__ import annotations

from collections import OrderedDict
from random import Random
from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 300.0
"""A peer that comes back is found within five minutes, and one that never does costs a dial in five."""
JITTER: Final = (0.5, 1.5)
"""So that those who lost the same peer do not come back to it in step."""
KEYS: Final = 4096
"""Failures remembered; the one longest past is forgotten first."""


class Backoff:
    """By key. Times are seconds on a monotonic clock."""

    def __init__(self, random: Random, size: int = KEYS) -> None:
        self._random = random
        self._size = size
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def fail(self, key: str, now: float) -> None:
        """It failed now."""
        failures = self._failed.pop(key, (0, 0.0))[0] + 1
        pause = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 16)) * self._random.uniform(*JITTER)
        self._failed[key] = failures, now + pause
        while len(self._failed) > self._size:
            self._failed.popitem(last=False)

    def forget(self, key: str) -> None:
        """It succeeded, or there is a reason to try anew."""
        self._failed.pop(key, None)

    def wait(self, key: str, now: float) -> float:
        """Seconds until it is due again; zero if it is."""
        found = self._failed.get(key)
        return max(0.0, found[1] - now) if found else 0.0
