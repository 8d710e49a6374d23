"""Range-based set reconciliation: which messages one of two hosts lacks. (specs/chat-sync.md §3)

    initiator                                       responder
    open() -> fingerprints of some ranges      →    answer(): equal ones are skipped, others divided, and where few
    handle(): compares, divides, asks again    ←    messages are left, listed
    … until nothing is left to ask

Aljoscha Meyer, "Range-Based Set Reconciliation" (2022, arXiv:2212.13567), is the idea; Negentropy is the nearest
published relative. The responder keeps nothing between messages, and the initiator only the ranges that it has yet to
ask about: so each may change its set at any time, and what changed in a range that was done already is found next time.
What differs costs its way down the tree; what is equal costs nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isqrt
from typing import Final

from nexusd_protocols import limits
from nexusd_protocols.chatsync.index import DIGEST_BYTES, Index, Item, Key, Summary, summary_of
from nexusd_protocols.chatsync.ranges import (
    BATCH_BYTES,
    FINGERPRINT_RANGE_BYTES,
    HEAD_BYTES,
    HOUR_BYTES,
    ITEM_BYTES,
    Batches,
    Fingerprint,
    Items,
    Range,
    Ranges,
    RangesBuilder,
    Skip,
    size_of,
)
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HISTORY_EPOCH_MS, HOUR_MS

FANOUT: Final = 16
"""Parts that a range is divided into. More make fewer rounds, and more bytes for each difference."""
LEAF: Final = 16
"""A range of so few messages is listed."""
CUTS: Final = 15
"""Random places at which the first message divides the whole."""
_CUT_BYTES: Final = 4
BATCH_HOUR: Final = 50
"""An hour of so many messages goes as batches to who has none of it; the rest is listed."""
_SCAN: Final = 1024
"""Of so few messages each is looked at to divide a range; of more, sums are asked for."""
_HOUR_BATCHES: Final = 8192
"""Batches looked up for one range."""
_ASKED: Final = 192
"""Ranges that one request asks about, if there is room. An answer has room to divide or list half as many, and says
little of the others."""
_FRUITLESS: Final = 32
"""Rounds in which nothing is decided, one after the other. The way down from a billion messages takes eight, and a few
more where somebody has dated them all alike."""
_WORTH_BYTES: Final = FANOUT * (FINGERPRINT_RANGE_BYTES + DIGEST_BYTES)
"""What a range that is divided or listed takes at most."""
_DECIDED: Final = 8
"""Ranges that an answer divides or lists at least, however many are asked about: something must come of it."""
_PREFIXES: Final = (0, 2, 4, 8, 32)


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of the initiator brought. `needs` are messages to be had from the responder, `haves` the digests of
    messages that it lacks, `batches` what is to be fetched by name. No `request`: it is over."""

    request: Ranges | None
    needs: tuple[Item, ...] = ()
    haves: tuple[bytes, ...] = ()
    batches: tuple[BatchRef, ...] = ()


def common_range(now: int, horizon: int, other: int, *, ahead_ms: int = limits.CLOCK_AHEAD_MS) -> tuple[Key, Key]:
    """What two hosts compare: nothing before the later one of their horizons (unix milliseconds), and nothing that is
    dated too far ahead. Of equal bounds: nothing."""
    lower = max(horizon, other, HISTORY_EPOCH_MS)
    return Key(lower, b""), Key(max(lower, now + ahead_ms + 1), b"")


def random_cuts(index: Index, lower: Key, upper: Key, numbers: Iterable[int]) -> list[Key]:
    """Places in the range for the first message, from random numbers of 64 bits."""
    count = index.summary(lower, upper).count
    keys = [index.key_at(lower, upper, number % count) for number in numbers] if count else []
    return [Key(key.timestamp, key.digest[:_CUT_BYTES]) for key in keys]


def opening(index: Index, lower: Key, upper: Key, cuts: Sequence[Key]) -> Ranges:
    """The first message. `cuts` are random: a difference that the fingerprint of one range hides, by chance or because
    somebody has steered sums, shows next time."""
    if not lower < upper:
        raise ValueError("nothing to compare")
    built = RangesBuilder(lower)
    for cut in (*sorted({Key(*cut) for cut in cuts}), upper):
        if lower < cut <= upper:
            built.add(Fingerprint.of(cut, index.summary(built.upper, cut)))
    return built.build()


# --- the responder ----------------------------------------------------------------------------------------------------
def answer(request: Ranges, index: Index, *, budget: int = limits.SYNC_RANGES_BYTES) -> Ranges:
    """What a responder says to a request that was checked (`ranges.check`, `check_request`), in about `budget` bytes.
    Each range is answered, those for which there is no room by a fingerprint that divides nothing."""
    built = RangesBuilder(request.lower)
    reserve = sum(map(_least, request.ranges))
    budget = max(budget, reserve + _DECIDED * _WORTH_BYTES)
    for lower, asked in request:
        reserve -= _least(asked)
        built.add(*_answered(lower, asked, index, budget - built.size - reserve, first=built.silent))
    return built.build()


def _least(asked: Range) -> int:
    """Bytes that an answer to this takes at least."""
    return len(asked.upper.digest) + (HEAD_BYTES if isinstance(asked, Skip) else FINGERPRINT_RANGE_BYTES)


def _answered(lower: Key, asked: Range, index: Index, room: int, *, first: bool) -> list[Range]:
    upper = asked.upper
    if not isinstance(asked, Fingerprint) or asked.equals(mine := index.summary(lower, upper)):
        return [Skip(upper)]
    if room < _WORTH_BYTES:
        return [Fingerprint.of(upper, mine)]  # nothing is computed that there may be no room for
    if asked.count == 0:
        return _everything(lower, upper, index, room, first=first)
    if mine.count <= LEAF:
        return [Items(upper, tuple(index.items(lower, upper, LEAF)))]
    return list(_divided(lower, upper, mine, index))


def _everything(lower: Key, upper: Key, index: Index, room: int, *, first: bool) -> list[Range]:
    """All that is known in a range of which the other side knows nothing: closed hours by the names of their batches,
    the rest as a list, and what there is no room for as a fingerprint."""
    built = RangesBuilder(lower)
    room -= FINGERPRINT_RANGE_BYTES + len(upper.digest)
    limit = _HOUR_BATCHES if first else max(1, room // BATCH_BYTES) + 1
    batches = index.batches(lower, upper, limit)
    for hour, group in groupby(batches, lambda ref: ref.hour):
        refs = tuple(group)
        cut_off = len(batches) == limit and refs[-1] == batches[-1]
        if cut_off and not built.silent:
            return _continued(built, upper, index)
        if cut_off or sum(ref.count for ref in refs) < BATCH_HOUR:
            continue
        if not _list(built, Key(hour * HOUR_MS, b""), index, room):
            return _continued(built, upper, index)
        # the batches of an hour go together: those of the very first one whatever they take
        size = HEAD_BYTES + HOUR_BYTES + BATCH_BYTES * len(refs)
        if size > room - built.size and not (first and built.silent):
            return _continued(built, upper, index)
        built.add_hour(Key((hour + 1) * HOUR_MS, b""), refs)
    if not _list(built, upper, index, room):
        return _continued(built, upper, index)
    return list(built.build().ranges)


def _continued(built: RangesBuilder, upper: Key, index: Index) -> list[Range]:
    """What there was room for, and the fingerprint of the rest."""
    built.add(Fingerprint.of(upper, index.summary(built.upper, upper)))
    return list(built.build().ranges)


def _list(built: RangesBuilder, upper: Key, index: Index, room: int) -> bool:
    """Append all items up to there. False if there is room for a part only."""
    most = (room - built.size - HEAD_BYTES - DIGEST_BYTES) // ITEM_BYTES
    if built.upper == upper:
        return True
    if most <= 0:
        return False
    items = index.items(built.upper, upper, most + 1)
    if not items:
        built.skip_to(upper)
    elif len(items) <= most:
        built.add(Items(upper, tuple(items)))
    else:
        built.add(Items(items[most].key, tuple(items[:most])))
        return False
    return True


# --- dividing ---------------------------------------------------------------------------------------------------------
def _divided(lower: Key, upper: Key, mine: Summary, index: Index) -> Iterator[Fingerprint]:
    """Parts of a range of two messages at least: at most `FANOUT`, and so few that each is worth its fingerprint."""
    parts = max(2, min(FANOUT, isqrt(mine.count)))
    offsets = [mine.count * part // parts for part in range(1, parts)]
    if mine.count <= _SCAN:
        items = index.items(lower, upper, mine.count)
        at = 0
        for bound in (*_bounds(lower, [items[offset].key for offset in offsets]), upper):
            end = bisect_left(items, bound, at)
            yield Fingerprint.of(bound, summary_of(items[at:end]))
            at = end
        return
    begin = lower
    for bound in (*_bounds(lower, [index.key_at(lower, upper, offset) for offset in offsets]), upper):
        yield Fingerprint.of(bound, index.summary(begin, bound))
        begin = bound


def _bounds(lower: Key, keys: Iterable[Key]) -> Iterator[Key]:
    """Ascending places near these, as plain as they may be: the hour, so that hours stay whole, or the millisecond.
    Where somebody has dated a million messages alike it is a prefix of a digest, and at last all of it: so the parts
    are always smaller than the whole."""
    last = lower
    for key in keys:
        hour = key.timestamp - key.timestamp % HOUR_MS
        for bound in (Key(hour, b""), *(Key(key.timestamp, key.digest[:length]) for length in _PREFIXES)):
            if bound > last:
                yield bound
                last = bound
                break


# --- the initiator ----------------------------------------------------------------------------------------------------
class Initiator:
    """Asks, until it knows what differs or has found so much that it should be fetched first.

    The request that `open` or a `Step` gives goes to the responder, the answer that was checked (`ranges.check`,
    `check_answer`) to `handle`.
    """

    def __init__(
        self,
        *,
        budget: int = limits.SYNC_RANGES_BYTES,
        max_needs: int = limits.SYNC_NEEDS,
        max_haves: int = limits.SYNC_HAVES,
        max_batches: int = limits.SYNC_BATCHES,
        max_pending: int = limits.SYNC_PENDING_RANGES,
        max_rounds: int = limits.SYNC_ROUNDS,
    ) -> None:
        self._budget = budget // 2  # an answer that divides nothing takes as much, and half is for what it divides
        self._needs_left = max_needs
        self._haves_left = max_haves
        self._batches_left = max_batches
        self._max_pending = max_pending
        self._rounds_left = max_rounds
        self._fruitless = 0
        self._pending: deque[tuple[Key, Fingerprint]] = deque()
        self.complete = True
        """False once something was left for another time: more is lacking here than one session is to find."""
        self.all_noted = True
        """False once more is lacking there than was to be noted."""

    def open(self, index: Index, lower: Key, upper: Key, cuts: Sequence[Key]) -> Ranges:
        """The first request, as `opening`."""
        return opening(index, lower, upper, cuts)

    def handle(self, answer: Ranges, index: Index) -> Step:
        """Take an answer. Raises RemoteProtocolError `too_many_pending`, and `endless_ranges` where ranges are divided
        and divided and none is decided."""
        needs: list[Item] = []
        haves: list[bytes] = []
        batches: list[BatchRef] = []
        pending: list[tuple[Key, Fingerprint]] = []
        for lower, each in answer:
            match each:
                case Fingerprint():
                    pending.append((lower, each))
                case Items(upper=upper, items=theirs):
                    lacked, owned = self._compare(index, lower, upper, theirs, self._haves_left - len(haves))
                    needs += lacked
                    haves += owned
                case Batches(batches=refs):
                    batches += refs
                case Skip():
                    pass
        self._needs_left -= len(needs)
        self._haves_left -= len(haves)
        self._batches_left -= len(batches)
        self._go_on(pending, decided=len(pending) < answer.open)
        return Step(self._next(index), tuple(needs), tuple(haves), tuple(batches))

    def _go_on(self, pending: list[tuple[Key, Fingerprint]], *, decided: bool) -> None:
        self._fruitless = 0 if decided or not pending else self._fruitless + 1
        if self._fruitless > _FRUITLESS:
            raise RemoteProtocolError("endless_ranges", f"nothing decided in {_FRUITLESS} rounds", penalty=10)
        if len(self._pending) + len(pending) > self._max_pending:
            raise RemoteProtocolError("too_many_pending", f"over {self._max_pending} ranges are open", penalty=10)
        self._pending.extendleft(reversed(pending))
        self._rounds_left -= 1
        if self._pending and min(self._needs_left, self._batches_left, self._rounds_left - 1) <= 0:
            self._pending.clear()
            self.complete = False

    def _compare(
        self, index: Index, lower: Key, upper: Key, theirs: Sequence[Item], most: int
    ) -> tuple[list[Item], list[bytes]]:
        """What is lacking here, and at most `most` of what is lacking there."""
        limit = len(theirs) + most
        mine = index.items(lower, upper, limit + 1)
        end = mine[-1].key if len(mine) > limit else upper
        known = {item.key for item in mine}
        listed = {item.key for item in theirs}
        # behind `end` there is very much here, and little there: each is looked up by itself
        known.update(key for key in listed if key > end and index.items(key, Key(key.timestamp, key.digest + b"\0"), 1))
        needs = [item for item in theirs if not item.gone and item.key not in known]
        haves = [item.digest for item in mine if not item.gone and item.key not in listed]
        self.all_noted &= len(mine) <= limit and len(haves) <= most
        return needs, haves[:most]

    def _next(self, index: Index) -> Ranges | None:
        """A request about the first of what is pending."""
        built: RangesBuilder | None = None
        asked = 0
        while self._pending and asked < _ASKED:
            lower, theirs = self._pending[0]
            mine = index.summary(lower, theirs.upper)
            parts: list[Range] = []
            if not theirs.equals(mine):
                listed = theirs.count <= LEAF or mine.count <= LEAF
                parts = (
                    [Fingerprint.of(theirs.upper, mine)] if listed else list(_divided(lower, theirs.upper, mine, index))
                )
                # of what is divided here, two parts or so will be divided there
                asked += min(2, len(parts))
                if built is not None and built.size + sum(map(size_of, parts)) > self._budget:
                    break
            self._pending.popleft()
            if parts:
                built = built or RangesBuilder(lower)
                built.skip_to(lower)
                built.add(*parts)
        return None if built is None else built.build()
