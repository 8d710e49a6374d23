"""How often something may happen: a burst at once, and so many a second after that."""

from __future__ import annotations


class Rate:
    """A token bucket. `burst` is what it holds at first and at most, `per_second` what flows in."""

    __slots__ = ("_at", "_burst", "_left", "_per_second")

    def __init__(self, burst: float, per_second: float, now: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = burst
        self._at = now

    def allows(self, now: float) -> bool:
        """Count one more. False if that is too many."""
        if self._left < 1:
            self._refill(now)
            if self._left < 1:
                return False
        self._left -= 1
        return True

    def turn(self, now: float, count: float = 1) -> float:
        """Count one more, or several that come together, and say how many seconds they must wait for their turn."""
        self._refill(now)
        self._left -= count
        return max(0.0, -self._left / self._per_second)

    def _refill(self, now: float) -> None:
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._per_second)
        self._at = now
