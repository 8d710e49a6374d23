"""What reconciliation asks of a set of messages, and a set in memory that answers. (specs/chat-sync.md §2)

A message is filed under (timestamp, digest): that is an index to cut the set into ranges, and no promise of order. All
that is *known* is in the set, tombstones too: what was refused or removed here counts in sums and is listed as gone, so
that two hosts of which one has removed a message still agree, and nothing comes back for ever.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS, hour_of

DIGEST_BYTES: Final = 32
FINGERPRINT_BYTES: Final = 16
_SUM_BITS: Final = 256
_SUM_MASK: Final = (1 << _SUM_BITS) - 1
_CHUNK: Final = 256
"""Items after which a run of them is split: a sum touches two runs in part, and the sums of all others."""


class Key(NamedTuple):
    """A place in the index. A range is [lower, upper) of two of them. `digest` may be any prefix of one: the empty one
    comes before all messages of its millisecond."""

    timestamp: int
    digest: bytes


class Item(NamedTuple):
    """A known message. `gone` is a tombstone: known, and not to be had here."""

    timestamp: int
    digest: bytes
    gone: bool = False

    @property
    def key(self) -> Key:
        """Where it is filed."""
        return Key(self.timestamp, self.digest)


@dataclass(frozen=True, slots=True)
class Summary:
    """How many messages of a range are known, and the sum of their digests as big-endian integers modulo 2^256. Of two
    ranges that follow one another, the summary is the sum of both."""

    count: int
    sum: int

    @property
    def fingerprint(self) -> bytes:
        """What two hosts compare, 16 bytes. It hides the sum, which could be steered."""
        text = self.sum.to_bytes(_SUM_BITS // 8, "big") + self.count.to_bytes(8, "big")
        return hashlib.sha256(text).digest()[:FINGERPRINT_BYTES]

    def __add__(self, other: Summary) -> Summary:
        return Summary(self.count + other.count, (self.sum + other.sum) & _SUM_MASK)


EMPTY: Final = Summary(0, 0)


def summary_of(items: Sequence[Item]) -> Summary:
    """Of these, all different."""
    return Summary(len(items), _sum(items))


class Index(Protocol):
    """A set of messages at one moment. Ranges are [lower, upper)."""

    def summary(self, lower: Key, upper: Key) -> Summary:
        """Of all that is known in the range, tombstones too."""
        ...

    def items(self, lower: Key, upper: Key, limit: int) -> list[Item]:
        """The first of the range, in ascending order, tombstones too."""
        ...

    def key_at(self, lower: Key, upper: Key, offset: int) -> Key:
        """Where the item with so many before it in the range is filed. Raises IndexError where there is none."""
        ...

    def batches(self, lower: Key, upper: Key, limit: int) -> list[BatchRef]:
        """The first batches, by hour and part, of closed hours that lie wholly in the range, where the batches are
        those of what is held now."""
        ...


class MemoryIndex:
    """An `Index` of a set that changes. A sum over a million messages takes some 100 µs."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        ordered = sorted(items)
        self._runs: list[list[Item]] = [ordered[at : at + _CHUNK // 2] for at in range(0, len(ordered), _CHUNK // 2)]
        self._starts = [Key(*run[0][:2]) for run in self._runs]
        self._sums = [_sum(run) for run in self._runs]
        # before each run, and at the end of all; those from `_stale` on are to be made again
        self._before: list[Summary] = []
        self._stale = 0
        self._batches: dict[int, tuple[BatchRef, ...]] = {}
        self._hours: list[int] = []

    # --- changing -----------------------------------------------------------------------------------------------------
    def add(self, timestamp: int, digest: bytes, *, gone: bool = False) -> bool:
        """Know a message from now on. False if it was known, or buried."""
        key = Key(timestamp, digest)
        run, at = self._place(key)
        if self._has(run, at, key):
            return False
        item = Item(timestamp, digest, gone)
        if not self._runs:
            self._runs, self._starts, self._sums = [[]], [key], [0]
        items = self._runs[run]
        items.insert(at, item)
        self._starts[run] = items[0].key
        self._sums[run] = (self._sums[run] + int.from_bytes(digest, "big")) & _SUM_MASK
        self._stale = min(self._stale, run)
        if len(items) > _CHUNK:
            self._split(run)
        self._unseal(timestamp)
        return True

    def bury(self, timestamp: int, digest: bytes) -> None:
        """Keep a tombstone of it, known before or not."""
        if not self.add(timestamp, digest, gone=True):
            run, at = self._place(Key(timestamp, digest))
            self._runs[run][at] = Item(timestamp, digest, gone=True)
            self._unseal(timestamp)

    def expire(self, horizon: int) -> None:
        """Forget all that is dated before `horizon` (unix milliseconds), tombstones too."""
        kept = [item for run in self._runs for item in run if item.timestamp >= horizon]
        batches = {hour: refs for hour, refs in self._batches.items() if hour * HOUR_MS >= horizon}
        MemoryIndex.__init__(self, kept)
        self._batches, self._hours = batches, sorted(batches)

    def seal(self, hour: int, refs: Sequence[BatchRef]) -> None:
        """These are the batches of a closed hour, until something is added to it."""
        self._batches[hour] = tuple(sorted(refs))
        self._hours = sorted(self._batches)

    # --- asking -------------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def summary(self, lower: Key, upper: Key) -> Summary:
        """See `Index`."""
        if upper <= lower:
            return EMPTY
        first, last = self._below(lower), self._below(upper)
        return Summary(last.count - first.count, (last.sum - first.sum) & _SUM_MASK)

    def items(self, lower: Key, upper: Key, limit: int) -> list[Item]:
        """See `Index`."""
        found: list[Item] = []
        run, at = self._place(lower)
        while run < len(self._runs) and len(found) < limit:
            items = self._runs[run]
            end = bisect_left(items, upper, at)
            found += items[at : min(end, at + limit - len(found))]
            if end < len(items):
                break
            run, at = run + 1, 0
        return found

    def key_at(self, lower: Key, upper: Key, offset: int) -> Key:
        """See `Index`."""
        if not 0 <= offset < self.summary(lower, upper).count:
            raise IndexError("no such item in the range")
        position = self._below(lower).count + offset
        run = bisect_right(self._before, position, key=lambda before: before.count) - 1
        return self._runs[run][position - self._before[run].count].key

    def batches(self, lower: Key, upper: Key, limit: int) -> list[BatchRef]:
        """See `Index`."""
        found: list[BatchRef] = []
        for hour in self._hours[bisect_left(self._hours, lower.timestamp // HOUR_MS) :]:
            if len(found) >= limit or Key((hour + 1) * HOUR_MS, b"") > upper:
                break
            if Key(hour * HOUR_MS, b"") >= lower:
                found += self._batches[hour]
        return found[:limit]

    # --- inside -------------------------------------------------------------------------------------------------------
    def _place(self, key: Key) -> tuple[int, int]:
        """The run that it belongs to, and where in it."""
        run = max(0, bisect_right(self._starts, key) - 1)
        return run, bisect_left(self._runs[run], key) if self._runs else 0

    def _has(self, run: int, at: int, key: Key) -> bool:
        return bool(self._runs) and at < len(self._runs[run]) and self._runs[run][at][:2] == key

    def _below(self, key: Key) -> Summary:
        """Of all that is filed before this place."""
        self._refresh()
        run, at = self._place(key)
        before = self._before[run]
        if not at:
            return before
        items = self._runs[run]
        if at == len(items):
            return self._before[run + 1]
        return Summary(before.count + at, (before.sum + _sum(items[:at])) & _SUM_MASK)

    def _refresh(self) -> None:
        if len(self._before) == len(self._runs) + 1 and self._stale == len(self._runs):
            return
        del self._before[self._stale + 1 :]
        if not self._before:
            self._before = [EMPTY]
        count, total = self._before[-1].count, self._before[-1].sum
        for run in range(len(self._before) - 1, len(self._runs)):
            count += len(self._runs[run])
            total = (total + self._sums[run]) & _SUM_MASK
            self._before.append(Summary(count, total))
        self._stale = len(self._runs)

    def _split(self, run: int) -> None:
        items = self._runs[run]
        half = len(items) // 2
        self._runs[run : run + 1] = [items[:half], items[half:]]
        self._starts[run : run + 1] = [items[0].key, items[half].key]
        self._sums[run : run + 1] = [_sum(items[:half]), _sum(items[half:])]

    def _unseal(self, timestamp: int) -> None:
        if self._batches.pop(hour_of(timestamp), None) is not None:
            self._hours = sorted(self._batches)


def _sum(items: Iterable[Item]) -> int:
    return sum(int.from_bytes(item.digest, "big") for item in items) & _SUM_MASK
