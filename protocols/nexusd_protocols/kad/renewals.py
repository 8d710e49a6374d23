"""What this node told others, and when it must tell them again before they forget (specs/kad.md §8).

put -> due(now) -> [tell the peers] -> told(…, now) -> due again 22 hours later
                                    -> nobody took it: due again soon
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from nexusd_protocols import limits

INTERVAL_MS: Final = 22 * 3600 * 1000
"""Two hours before the least patient of known implementations forgets (24 h)."""
JITTER: Final = 0.1
"""The interval is shortened by up to a tenth, so that a restart does not make everything due at once for ever."""
RETRY_MS: Final = 60_000
RETRY_MAX_MS: Final = 3600 * 1000
"""After a try that reached nobody; twice as long after each more."""

Sort = Literal["record", "provider"]


@dataclass(frozen=True, slots=True)
class Renewal:
    """A record of our own, or what we provide (`value` is then empty). Times are unix milliseconds; `failures` counts
    the tries since anybody took it."""

    sort: Sort
    key: bytes
    value: bytes = b""
    due_at: int = 0
    failures: int = 0


class Renewals:
    """`entropy` gives numbers in [0, 1)."""

    def __init__(self, entropy: Callable[[], float], count: int = limits.KAD_OWN) -> None:
        self._entropy = entropy
        self._count = count
        self._own: dict[tuple[Sort, bytes], Renewal] = {}

    def restore(self, renewals: Iterable[Renewal]) -> None:
        """Take in what was kept before a restart."""
        self._own.update({(r.sort, r.key): r for r in renewals})

    def put(self, sort: Sort, key: bytes, value: bytes, now: int) -> Renewal:
        """Note what is ours; it is due at once. Raises ValueError if there is too much already."""
        if (sort, key) not in self._own and sum(s == sort for s, _ in self._own) >= self._count:
            raise ValueError(f"This node already tells of {self._count}: stop telling of one first")
        return self._set(Renewal(sort, key, value, now))

    def told(self, renewal: Renewal, peers: int, now: int) -> Renewal | None:
        """So many peers took it. The new state, or None if it was replaced or removed meanwhile."""
        current = self._own.get((renewal.sort, renewal.key))
        if current is None or current.value != renewal.value:
            return None
        if peers:
            after = replace(current, due_at=now + round(INTERVAL_MS * (1 - JITTER * self._entropy())), failures=0)
        else:
            wait = min(RETRY_MAX_MS, RETRY_MS << min(current.failures, 10))
            after = replace(current, due_at=now + wait, failures=current.failures + 1)
        return self._set(after)

    def remove(self, sort: Sort, key: bytes) -> bool:
        """Tell of it no more: others forget it in time. Whether it was told of."""
        return self._own.pop((sort, key), None) is not None

    def value(self, key: bytes) -> bytes | None:
        """Our own record under a key."""
        own = self._own.get(("record", key))
        return own.value if own else None

    def provides(self, key: bytes) -> bool:
        """Whether we provide what a multihash names."""
        return ("provider", key) in self._own

    def due(self, now: int) -> list[Renewal]:
        """What must be told now, the longest due first. A clock that was set back makes nothing wait for longer than
        an interval."""
        late = [r for r in self._own.values() if r.due_at <= now or r.due_at > now + INTERVAL_MS]
        return sorted(late, key=lambda r: (r.due_at, r.key))

    def records(self) -> list[Renewal]:
        """All records of our own."""
        return [renewal for renewal in self._own.values() if renewal.sort == "record"]

    def hurry(self, now: int) -> None:
        """There are new peers: what nobody took is due at once."""
        for renewal in list(self._own.values()):
            if renewal.failures:
                self._set(replace(renewal, due_at=now))

    def _set(self, renewal: Renewal) -> Renewal:
        self._own[(renewal.sort, renewal.key)] = renewal
        return renewal
