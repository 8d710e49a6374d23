"""Peers that answer, by how many leading bits of their place they share with ours (specs/kad.md §4).

A bucket holds the K peers known longest: who has been there for long is likely to stay, and nobody can push them out by
coming in numbers. A newcomer to a full bucket waits, and takes the place of one that stops answering. Few peers of one
network are let into a bucket.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final

from nexusd_protocols.identity import PeerId, peer_id_bytes
from nexusd_protocols.kad.contact import Contact, place_of, place_of_peer

K: Final = 20
"""Peers in a bucket, peers that keep a record, peers in an answer (libp2p specs, kad-dht/README.md)."""
PER_SUBNET: Final = 2
"""Peers of one /24 or /48 in a bucket. A rented block is one of these; whoever wants more must rent more of them."""
WAITING: Final = 5
"""Newcomers remembered for a full bucket."""
CHECK_MS: Final = 600_000
"""A peer heard of within ten minutes is not asked for a sign of life."""
STRIKES: Final = 2
"""Answers that may come too late before a peer counts as gone."""
REFRESHED_BUCKETS: Final = 8
"""Buckets that are refreshed by looking up a key in them. The lookup of our own place fills the nearer ones."""


@dataclass(slots=True)
class _Entry:
    contact: Contact
    subnet: str
    seen_at: int
    strikes: int = 0


@dataclass(slots=True)
class _Bucket:
    # the one heard of longest ago first
    entries: OrderedDict[PeerId, _Entry] = field(default_factory=OrderedDict)
    waiting: OrderedDict[PeerId, _Entry] = field(default_factory=OrderedDict)
    refreshed_at: int = 0


class RoutingTable:
    """`own` is this node. Times are unix milliseconds."""

    def __init__(self, own: PeerId, size: int = K, per_subnet: int = PER_SUBNET) -> None:
        self._own = own
        self._place = place_of_peer(own)
        self._size = size
        self._per_subnet = per_subnet
        self._buckets: dict[int, _Bucket] = {}

    def __len__(self) -> int:
        return sum(len(bucket.entries) for bucket in self._buckets.values())

    def __contains__(self, peer: PeerId) -> bool:
        return peer != self._own and peer in self._bucket(peer).entries

    def __iter__(self) -> Iterator[Contact]:
        for bucket in self._buckets.values():
            for entry in bucket.entries.values():
                yield entry.contact

    def add(self, contact: Contact, subnet: str, now: int) -> PeerId | None:
        """Take in a peer that has just answered; it must be no hearsay. `subnet` is that of the address at which it is
        connected. If the bucket is full of others, the peer of it that should be asked whether it is still there."""
        if contact.peer == self._own:
            return None
        bucket = self._bucket(contact.peer)
        known = bucket.entries.pop(contact.peer, None)
        if known is not None and self._room(bucket, subnet):
            bucket.entries[contact.peer] = _Entry(contact, subnet, now)
            return None
        if known is not None:  # it moved to a network that has its share: it stays as it was
            known.seen_at = now
            bucket.entries[contact.peer] = known
            return None
        if not self._room(bucket, subnet):
            return None
        if len(bucket.entries) < self._size:
            bucket.waiting.pop(contact.peer, None)
            bucket.entries[contact.peer] = _Entry(contact, subnet, now)
            return None
        bucket.waiting.pop(contact.peer, None)
        bucket.waiting[contact.peer] = _Entry(contact, subnet, now)
        if len(bucket.waiting) > WAITING:
            bucket.waiting.popitem(last=False)
        oldest = next(iter(bucket.entries.values()))
        return oldest.contact.peer if now - oldest.seen_at >= CHECK_MS else None

    def answered(self, peer: PeerId, now: int) -> None:
        """A peer gave a sign of life. Whoever is not in the table stays outside."""
        bucket = self._bucket(peer)
        entry = bucket.entries.get(peer)
        if entry is not None:
            entry.seen_at, entry.strikes = now, 0
            bucket.entries.move_to_end(peer)

    def late(self, peer: PeerId) -> None:
        """A peer is connected and did not answer in time."""
        entry = self._bucket(peer).entries.get(peer)
        if entry is not None:
            entry.strikes += 1
            if entry.strikes >= STRIKES:
                self.remove(peer)

    def remove(self, peer: PeerId) -> None:
        """A peer cannot be reached, or does not serve the protocol any more. One that waits takes its place."""
        bucket = self._bucket(peer)
        bucket.waiting.pop(peer, None)
        if bucket.entries.pop(peer, None) is None:
            return
        for candidate in reversed(bucket.waiting.values()):
            if self._room(bucket, candidate.subnet):
                bucket.entries[candidate.contact.peer] = bucket.waiting.pop(candidate.contact.peer)
                return

    @property
    def own_key(self) -> bytes:
        """The key that is this node's own place."""
        return peer_id_bytes(self._own)

    def get(self, peer: PeerId) -> Contact | None:
        """The peer's contact, if it is in the table."""
        entry = self._bucket(peer).entries.get(peer)
        return entry.contact if entry else None

    def closest(self, place: int, count: int = K) -> list[Contact]:
        """The peers closest to a place, the closest first."""
        return nsmallest(count, self, key=lambda contact: contact.place ^ place)

    def refreshed(self, place: int, now: int) -> None:
        """A key at that place was looked up."""
        self._buckets.setdefault(self._index(place), _Bucket()).refreshed_at = now

    def refresh_key(self, entropy: Callable[[int], bytes]) -> bytes:
        """A key in the bucket in which nothing was looked up for longest."""
        index = min(range(REFRESHED_BUCKETS), key=lambda i: self._buckets[i].refreshed_at if i in self._buckets else 0)
        key = entropy(32)
        # one in 2^(index + 1) keys is in the bucket; the bound is for an entropy that gives the same bytes again
        for _ in range(1 << (REFRESHED_BUCKETS + 4)):
            if self._index(place_of(key)) == index:
                break
            key = entropy(32)
        return key

    def _room(self, bucket: _Bucket, subnet: str) -> bool:
        return not subnet or sum(e.subnet == subnet for e in bucket.entries.values()) < self._per_subnet

    def _bucket(self, peer: PeerId) -> _Bucket:
        return self._buckets.setdefault(self._index(place_of_peer(peer)), _Bucket())

    def _index(self, place: int) -> int:
        return 256 - (place ^ self._place).bit_length()
