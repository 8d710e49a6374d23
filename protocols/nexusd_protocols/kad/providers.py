"""Who has what: entries that peers made about themselves (specs/kad.md §7), bounded like the records."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.identity import PeerId
from nexusd_protocols.kad.contact import Contact

LIFE_MS: Final = 48 * 3600 * 1000
"""As long as other implementations keep one (libp2p specs, kad-dht/README.md); it is told again every 22 hours."""


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """`peer` has what `key`, a multihash, names. `subnet` is where it was connected; times are unix milliseconds."""

    key: bytes
    peer: PeerId
    addresses: tuple[bytes, ...]
    subnet: str
    received_at: int


class Providers:
    """What is kept, by key. Where a bound is reached, the oldest entry that it is about makes room."""

    def __init__(
        self,
        *,
        count: int = limits.KAD_PROVIDERS,
        per_peer: int = limits.KAD_PEER_PROVIDERS,
        per_key: int = limits.KAD_KEY_PROVIDERS,
        per_subnet: int = limits.KAD_SUBNET_PROVIDERS,
    ) -> None:
        self._count = count
        self._per_peer = per_peer
        self._per_key = per_key
        self._per_subnet = per_subnet
        # by (key, peer) in order of arrival, and the same by key
        self._entries: OrderedDict[tuple[bytes, PeerId], ProviderEntry] = OrderedDict()
        self._keys: dict[bytes, OrderedDict[PeerId, ProviderEntry]] = {}
        self._by_peer: Counter[PeerId] = Counter()
        self._changed: set[tuple[bytes, PeerId]] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now: int) -> list[Contact]:
        """Who has what the key names, the latest first."""
        found = self._keys.get(key, OrderedDict())
        return [Contact(e.peer, e.addresses) for e in reversed(found.values()) if now - e.received_at <= LIFE_MS]

    def add(self, entry: ProviderEntry) -> None:
        """Keep an entry, in the place of any of the same peer and key."""
        self._remove((entry.key, entry.peer))
        if self._by_peer[entry.peer] >= self._per_peer:
            self._remove(next(name for name in self._entries if name[1] == entry.peer))
        same = self._keys.get(entry.key, OrderedDict())
        neighbours = [e for e in same.values() if entry.subnet and e.subnet == entry.subnet]
        if len(neighbours) >= self._per_subnet:
            self._remove((entry.key, neighbours[0].peer))
        elif len(same) >= self._per_key:
            self._remove((entry.key, next(iter(same))))
        if len(self._entries) >= self._count:
            self._remove(next(iter(self._entries)))
        name = (entry.key, entry.peer)
        self._entries[name] = entry
        self._keys.setdefault(entry.key, OrderedDict())[entry.peer] = entry
        self._by_peer[entry.peer] += 1
        self._changed.add(name)

    def expire(self, now: int) -> None:
        """Drop what is too old."""
        for name in [n for n, e in self._entries.items() if now - e.received_at > LIFE_MS]:
            self._remove(name)

    def restore(self, entries: Iterable[ProviderEntry], now: int) -> None:
        """Take in what was kept before a restart."""
        for entry in entries:
            if now - entry.received_at <= LIFE_MS:
                self.add(entry)
        self._changed.clear()

    def changes(self) -> list[tuple[tuple[bytes, PeerId], ProviderEntry | None]]:
        """What was added (or, None, removed) since this was last asked."""
        changed, self._changed = self._changed, set()
        return [(name, self._entries.get(name)) for name in sorted(changed)]

    def not_kept(self, names: Iterable[tuple[bytes, PeerId]]) -> None:
        """These changes could not be followed: they are changes still."""
        self._changed.update(names)

    def _remove(self, name: tuple[bytes, PeerId]) -> None:
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        same = self._keys[entry.key]
        del same[entry.peer]
        if not same:
            del self._keys[entry.key]
        self._by_peer[entry.peer] -= 1
        if not self._by_peer[entry.peer]:
            del self._by_peer[entry.peer]
        self._changed.add(name)
