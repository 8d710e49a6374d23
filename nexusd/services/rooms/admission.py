"""Which authors are listened to. A neighbour that passes on a faulty message did nothing wrong: whoever wrote it did.

A leaky bucket an author: each fault pours in its penalty, 5 points a second drain away, and while more than 100 are in
it nothing of that author's is read. So a careless author is hardly ever noticed, and a hostile one costs us the reading
of about five messages a second.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from nexusd_protocols.identity import PeerId

CAPACITY: Final = 100.0
DRAIN_PER_S: Final = 5.0
AUTHORS: Final = 10_000
"""Faulty authors remembered; the longest quiet are forgotten."""


@dataclass(slots=True)
class _Bucket:
    level: float
    at_ms: int


class Admission:
    """Faults of authors, over time."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[PeerId, _Bucket] = OrderedDict()

    def refuses(self, author: PeerId, now_ms: int) -> bool:
        """Whether nothing of this author's is read now."""
        bucket = self._buckets.get(author)
        return bucket is not None and self._drain(bucket, now_ms) > CAPACITY

    def charge(self, author: PeerId, points: int, now_ms: int) -> None:
        """A fault was found."""
        if points <= 0:
            return
        bucket = self._buckets.setdefault(author, _Bucket(0.0, now_ms))
        self._buckets.move_to_end(author)
        # twice the capacity is the most: an attacker that stops is heard again within 40 s
        bucket.level = min(self._drain(bucket, now_ms) + points, 2 * CAPACITY)
        while len(self._buckets) > AUTHORS:
            self._buckets.popitem(last=False)

    @staticmethod
    def _drain(bucket: _Bucket, now_ms: int) -> float:
        elapsed = max(0, now_ms - bucket.at_ms) / 1000
        bucket.level = max(0.0, bucket.level - elapsed * DRAIN_PER_S)
        bucket.at_ms = now_ms
        return bucket.level
