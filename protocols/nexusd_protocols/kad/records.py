"""Records kept for others (specs/kad.md §6): bounded in number, size, age, and in what one peer may fill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.contact import place_of, place_of_peer

LIFE_MS: Final = 36 * 3600 * 1000
"""Its publisher tells a record again every 22 hours; one that misses a turn has half a day to come back."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record, who brought it and when (unix milliseconds)."""

    key: bytes
    value: bytes
    peer: PeerId
    received_at: int


ValidUntil = Callable[[bytes, bytes], int | None]
"""When the value under a key ceases to be valid (unix milliseconds). None: not by itself."""


class Records:
    """What is kept, by key. When it is full, the record that is farthest from this node's place goes: others are nearer
    to it. `changes` are what a copy elsewhere must follow."""

    def __init__(
        self,
        own: PeerId,
        *,
        count: int = limits.KAD_RECORDS,
        size: int = limits.KAD_RECORDS_BYTES,
        per_peer: int = limits.KAD_PEER_RECORDS,
        valid_until: ValidUntil = lambda _key, _value: None,
    ) -> None:
        self._place = place_of_peer(own)
        self._count = count
        self._limit = size
        self._per_peer = per_peer
        self._valid_until = valid_until
        self._records: dict[bytes, StoredRecord] = {}
        self._ends: dict[bytes, int] = {}
        self._by_peer: Counter[PeerId] = Counter()
        self._size = 0
        self._changed: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def size(self) -> int:
        """Bytes of keys and values."""
        return self._size

    def get(self, key: bytes, now: int) -> bytes | None:
        """The value under a key, unless it is too old or valid no more."""
        record = self._records.get(key)
        return None if record is None or now > self._ends[key] else record.value

    def put(self, record: StoredRecord) -> bool:
        """Keep a record, in the place of any under its key. False if it is the one that makes room."""
        self._remove(record.key)
        if self._by_peer[record.peer] >= self._per_peer:
            # insertion order is order of arrival
            self._remove(next(r.key for r in self._records.values() if r.peer == record.peer))
        self._records[record.key] = record
        self._ends[record.key] = self._end(record)
        self._by_peer[record.peer] += 1
        self._size += _size(record)
        self._changed.add(record.key)
        while len(self._records) > self._count or self._size > self._limit:
            self._remove(max(self._records, key=lambda key: place_of(key) ^ self._place))
        return record.key in self._records

    def expire(self, now: int) -> None:
        """Drop what is too old, and what is valid no more."""
        for key in [key for key, end in self._ends.items() if now > end]:
            self._remove(key)

    def restore(self, records: Iterable[StoredRecord], now: int) -> None:
        """Take in what was kept before a restart."""
        for record in records:
            if now <= self._end(record):
                self.put(record)
        self._changed.clear()

    def changes(self) -> list[tuple[bytes, StoredRecord | None]]:
        """What was put (or, None, removed) since this was last asked."""
        changed, self._changed = self._changed, set()
        return [(key, self._records.get(key)) for key in sorted(changed)]

    def not_kept(self, keys: Iterable[bytes]) -> None:
        """These changes could not be followed: they are changes still."""
        self._changed.update(keys)

    def _end(self, record: StoredRecord) -> int:
        end = record.received_at + LIFE_MS
        valid = self._valid_until(record.key, record.value)
        return end if valid is None else min(end, valid)

    def _remove(self, key: bytes) -> None:
        record = self._records.pop(key, None)
        if record is not None:
            del self._ends[key]
            self._by_peer[record.peer] -= 1
            if not self._by_peer[record.peer]:
                del self._by_peer[record.peer]
            self._size -= _size(record)
            self._changed.add(key)


def _size(record: StoredRecord) -> int:
    return len(record.key) + len(record.value)
