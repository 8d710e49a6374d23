"""What was refused and why: counted always, told once in a while. The log is what fail2ban reads, and a flood of
refusals must not become a flood of lines."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from nexusd_protocols.rate import Rate

QUIET_SECONDS: Final = 1.0
"""Between two lines about one address."""
LINES: Final = 100
LINES_PER_SECOND: Final = 20.0
"""Of all addresses together: at 150 bytes a line, 11 MB an hour through the worst attack."""
ADDRESSES: Final = 4096
"""Remembered, the longest quiet forgotten first."""


class Refusals:
    """Counts refusals and says which to log."""

    def __init__(self, now: float) -> None:
        self.reasons: Counter[str] = Counter()
        """How often, for each reason, since the start."""
        self._told: OrderedDict[str, float] = OrderedDict()
        self._lines = Rate(LINES, LINES_PER_SECOND, now)

    @property
    def total(self) -> int:
        """Refusals since the start."""
        return self.reasons.total()

    def count(self, reason: str, address: str, now: float) -> bool:
        """Count one. True if it should be logged."""
        self.reasons[reason] += 1
        told = self._told.get(address)
        if (told is not None and now - told < QUIET_SECONDS) or not self._lines.allows(now):
            return False
        self._told[address] = now
        self._told.move_to_end(address)
        while len(self._told) > ADDRESSES:
            self._told.popitem(last=False)
        return True
