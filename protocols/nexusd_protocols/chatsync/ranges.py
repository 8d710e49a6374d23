"""What two hosts tell one another about ranges of their sets. (specs/chat-sync.md §3)

A message about ranges covers [lower, the last upper) without gaps: each range begins where the one before it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import msgspec

from nexusd_protocols import limits
from nexusd_protocols.chatsync.index import DIGEST_BYTES, EMPTY, FINGERPRINT_BYTES, Item, Key, Summary
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS

MAX_KEY: Final = Key(1 << 48, b"")
"""Behind every timestamp that a message may have."""
_MAX_COUNT: Final = 1 << 48

# upper bounds of what the encodings take (frames.py)
HEAD_BYTES: Final = 12
FINGERPRINT_RANGE_BYTES: Final = HEAD_BYTES + 9 + 1 + FINGERPRINT_BYTES
ITEM_BYTES: Final = DIGEST_BYTES + 9
BATCH_BYTES: Final = DIGEST_BYTES + 1
HOUR_BYTES: Final = 18


class Skip(msgspec.Struct, frozen=True):
    """Nothing to say: equal, or not asked."""

    upper: Key


class Fingerprint(msgspec.Struct, frozen=True):
    """I know so many, and this is their fingerprint."""

    upper: Key
    count: int
    value: bytes

    @classmethod
    def of(cls, upper: Key, summary: Summary) -> Fingerprint:
        """What a range is said to hold."""
        return cls(upper, summary.count, summary.fingerprint)

    def equals(self, summary: Summary) -> bool:
        """Are these the same messages?"""
        return self.count == summary.count and self.value == summary.fingerprint


class Items(msgspec.Struct, frozen=True):
    """I know exactly these, ascending."""

    upper: Key
    items: tuple[Item, ...]


class Batches(msgspec.Struct, frozen=True):
    """You know none of these hours: take them by their names. Hours ascend, and the parts of each are 0, 1, 2…"""

    upper: Key
    batches: tuple[BatchRef, ...]


Range = Skip | Fingerprint | Items | Batches


class Ranges(msgspec.Struct, frozen=True):
    """One message about ranges, from `lower` on."""

    lower: Key
    ranges: tuple[Range, ...]

    @property
    def upper(self) -> Key:
        """Where it ends."""
        return self.ranges[-1].upper

    @property
    def open(self) -> int:
        """How many say something."""
        return sum(not isinstance(each, Skip) for each in self.ranges)

    def __iter__(self) -> Iterator[tuple[Key, Range]]:
        """Each range with its lower bound."""
        lower = self.lower
        for each in self.ranges:
            yield lower, each
            lower = each.upper


class RangesBuilder:
    """Puts ranges one after the other, and neighbours that are skipped together. Counts the bytes they will take."""

    def __init__(self, lower: Key) -> None:
        self._lower = lower
        self._ranges: list[Range] = []
        self.size = 0
        self.silent = True
        """So far nothing was said."""

    @property
    def upper(self) -> Key:
        """Where the next one begins."""
        return self._ranges[-1].upper if self._ranges else self._lower

    def add(self, *ranges: Range) -> None:
        """Append. A range that ends where it begins is left out."""
        for each in ranges:
            if each.upper == self.upper:
                continue
            if isinstance(each, Skip) and self._ranges and isinstance(self._ranges[-1], Skip):
                self.size -= size_of(self._ranges.pop())
            self._ranges.append(each)
            self.size += size_of(each)
            self.silent &= isinstance(each, Skip)

    def add_hour(self, upper: Key, batches: tuple[BatchRef, ...]) -> None:
        """Append the batches of an hour, to those of the hour before it where there are some."""
        if self._ranges and isinstance(last := self._ranges[-1], Batches):
            self.size -= size_of(self._ranges.pop())
            batches = last.batches + batches
        self.add(Batches(upper, batches))

    def skip_to(self, key: Key) -> None:
        """Say nothing up to there."""
        self.add(Skip(key))

    def build(self) -> Ranges:
        """All of them."""
        return Ranges(self._lower, tuple(self._ranges))


def size_of(each: Range) -> int:
    """At most so many bytes on the wire."""
    head = HEAD_BYTES + len(each.upper.digest)
    match each:
        case Skip():
            return head
        case Fingerprint():
            return head - HEAD_BYTES + FINGERPRINT_RANGE_BYTES
        case Items(items=items):
            return head + 12 + ITEM_BYTES * len(items) + 5 * sum(item.gone for item in items)
        case Batches(batches=batches):
            return head + HOUR_BYTES * len({ref.hour for ref in batches}) + BATCH_BYTES * len(batches)


# --- what a peer must not say -----------------------------------------------------------------------------------------
def check(message: Ranges, *, max_open: int) -> None:
    """What must hold in every message about ranges. Raises RemoteProtocolError `no_ranges`, `too_many_ranges`,
    `unsorted_ranges`, `bad_fingerprint`, `bad_items`, `bad_batches`."""
    if not message.ranges:
        raise RemoteProtocolError("no_ranges", penalty=10)
    if message.open > max_open:
        raise RemoteProtocolError("too_many_ranges", f"over {max_open}", penalty=10)
    if not message.lower < message.upper <= MAX_KEY:
        raise RemoteProtocolError("unsorted_ranges", "out of bounds", penalty=10)
    for lower, each in message:
        if each.upper <= lower:
            raise RemoteProtocolError("unsorted_ranges", "each begins where the last one ends", penalty=10)
        match each:
            case Skip():
                pass
            case Fingerprint(count=count, value=value):
                if not 0 <= count < _MAX_COUNT or (count == 0) != (value == EMPTY.fingerprint):
                    raise RemoteProtocolError("bad_fingerprint", "not of so many messages", penalty=10)
            case Items(items=items):
                _check_items(lower, each.upper, items)
            case Batches(batches=batches):
                _check_batches(lower, each.upper, batches)


def _check_items(lower: Key, upper: Key, items: tuple[Item, ...]) -> None:
    if any(last.key >= item.key for last, item in pairwise(items)):
        raise RemoteProtocolError("bad_items", "items ascend, each once", penalty=10)
    if items and not (lower <= items[0].key and items[-1].key < upper):
        raise RemoteProtocolError("bad_items", "an item outside its range", penalty=10)


def _check_batches(lower: Key, upper: Key, batches: tuple[BatchRef, ...]) -> None:
    if not batches:
        raise RemoteProtocolError("bad_batches", "none", penalty=10)
    first, last = Key(batches[0].hour * HOUR_MS, b""), Key((batches[-1].hour + 1) * HOUR_MS, b"")
    if not (lower <= first and last <= upper):
        raise RemoteProtocolError("bad_batches", "an hour outside its range", penalty=10)
    hour, part = -1, 0
    for ref in batches:
        hour, part = ref.hour, part + 1 if ref.hour == hour else 0 if ref.hour > hour else -1
        if ref.part != part or not 1 <= ref.count <= limits.BATCH_MESSAGES:
            raise RemoteProtocolError("bad_batches", "hours and parts ascend, with up to 100 messages each", penalty=10)


def check_request(request: Ranges) -> None:
    """A request holds fingerprints, one at least, and nothing else. Raises RemoteProtocolError `bad_request`."""
    if not request.open or not all(isinstance(each, Skip | Fingerprint) for each in request.ranges):
        raise RemoteProtocolError("bad_request", "who asks sends fingerprints", penalty=10)


def check_answer(request: Ranges, answer: Ranges) -> None:
    """An answer covers what was asked, each of its ranges lies within one of those that were asked about, and at least
    one of them is decided or divided: so nobody is asked for ever.

    Raises RemoteProtocolError `wrong_ranges`, `no_progress`.
    """
    if answer.lower != request.lower or answer.upper != request.upper:
        raise RemoteProtocolError("wrong_ranges", "not what was asked", penalty=10)
    asked = [(lower, each.upper) for lower, each in request if not isinstance(each, Skip)]
    at = 0
    moved = False
    for lower, each in answer:
        if isinstance(each, Skip):
            continue
        while at < len(asked) and asked[at][1] <= lower:
            at += 1
        if at == len(asked) or not (asked[at][0] <= lower and each.upper <= asked[at][1]):
            raise RemoteProtocolError("wrong_ranges", "a range that was not asked about", penalty=10)
        moved |= not isinstance(each, Fingerprint) or asked[at] != (lower, each.upper)
    stuck = [each for each in answer.ranges if not isinstance(each, Skip)]
    if not moved and len(stuck) == len(asked):
        raise RemoteProtocolError("no_progress", "the same ranges again", penalty=10)
