"""How often something may happen: a burst at once, and so many a second after that."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


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


class Rates(Generic[KeyT]):
    """The same rate for each of many, of whom the last `most` are remembered. Who is forgotten begins anew."""

    def __init__(self, burst: float, per_second: float, *, most: int) -> None:
        self._burst = burst
        self._per_second = per_second
        self._most = most
        self._rates: OrderedDict[KeyT, Rate] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._rates)

    def of(self, key: KeyT, now: float) -> Rate:
        """That one's."""
        rate = self._rates.get(key)
        if rate is None:
            rate = self._rates[key] = Rate(self._burst, self._per_second, now)
            if len(self._rates) > self._most:
                self._rates.popitem(last=False)
        else:
            self._rates.move_to_end(key)
        return rate
