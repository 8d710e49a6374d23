"""What a peer must not say about ranges (specs/chat-sync.md §3.4)."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd_protocols.chatsync.index import EMPTY, Item, Key, Summary
from nexusd_protocols.chatsync.ranges import (
    MAX_KEY,
    Batches,
    Fingerprint,
    Items,
    Range,
    Ranges,
    RangesBuilder,
    Skip,
    check,
    check_answer,
    check_request,
    size_of,
)
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HOUR_MS
from tests.harness.chatsync import travelled

CID = Cid(DAG_CBOR, b"\x01" * 32)
LOWER = Key(1000, b"")


def key(timestamp: int, digest: bytes = b"") -> Key:
    return Key(timestamp, digest)


def fingerprint(timestamp: int, count: int = 3) -> Fingerprint:
    return Fingerprint.of(key(timestamp), Summary(count, count))


def item(timestamp: int, byte: int = 1) -> Item:
    return Item(timestamp, bytes([byte]) * 32)


def batches(*refs: tuple[int, int], until: int = 100, count: int = 100) -> Batches:
    return Batches(key(until * HOUR_MS), tuple(BatchRef(hour, part, CID, count) for hour, part in refs))


def said(*ranges: Range, lower: Key = LOWER) -> Ranges:
    return Ranges(lower, ranges)


@pytest.mark.parametrize(
    ("ranges", "code"),
    [
        (said(), "no_ranges"),
        (said(fingerprint(2000), fingerprint(2000)), "unsorted_ranges"),
        (said(fingerprint(3000), Skip(key(2000)), Skip(key(4000))), "unsorted_ranges"),
        (said(Skip(LOWER)), "unsorted_ranges"),
        (said(Skip(key(999))), "unsorted_ranges"),
        (said(Skip(Key(1 << 48, b"\x00"))), "unsorted_ranges"),
        (said(Fingerprint(key(2000), 0, bytes(16))), "bad_fingerprint"),
        (said(Fingerprint(key(2000), 7, EMPTY.fingerprint)), "bad_fingerprint"),
        (said(Fingerprint(key(2000), 1 << 48, bytes(16))), "bad_fingerprint"),
        (said(Items(key(2000), (item(1500), item(1500)))), "bad_items"),
        (said(Items(key(2000), (item(1500, 2), item(1500, 1)))), "bad_items"),
        (said(Items(key(2000), (item(1500), item(1400)))), "bad_items"),
        (said(Items(key(2000), (item(999),))), "bad_items"),
        (said(Items(key(2000), (item(2000),))), "bad_items"),
        (said(Items(key(2000, b"\x01"), (item(2000, 1),))), "bad_items"),
        (said(Batches(key(2000), ())), "bad_batches"),
        (said(batches((0, 0))), "bad_batches"),  # begins before the range
        (said(batches((99, 0), until=99)), "bad_batches"),
        (said(batches((5, 0), (4, 0))), "bad_batches"),
        (said(batches((5, 1))), "bad_batches"),
        (said(batches((5, 0), (5, 0))), "bad_batches"),
        (said(batches((5, 0), (5, 2))), "bad_batches"),
        (said(batches((5, 0), (6, 1))), "bad_batches"),
        (said(batches((5, 0), count=0)), "bad_batches"),
        (said(batches((5, 0), count=101)), "bad_batches"),
        (said(*(fingerprint(1001 + n) for n in range(11))), "too_many_ranges"),
    ],
)
def test_what_cannot_be_meant_is_refused(ranges, code):
    with pytest.raises(RemoteProtocolError) as caught:
        check(ranges, max_open=10)
    assert (caught.value.code, caught.value.penalty) == (code, 10)


def test_what_can_be_meant_is_not():
    check(
        said(
            Skip(key(1000, b"\x01")),
            Items(key(1000, b"\x03"), (item(1000, 1), item(1000, 2))),
            Items(key(2000), ()),
            batches((1, 0), (1, 1), (5, 0), until=6),
            Fingerprint.of(key(7 * HOUR_MS), EMPTY),
            Fingerprint.of(MAX_KEY, Summary(5, 1)),
        ),
        max_open=5,
    )


REQUEST = said(fingerprint(2000), Skip(key(3000)), fingerprint(4000), fingerprint(5000))


@pytest.mark.parametrize(
    "answer",
    [
        (Skip(key(5000)),),
        (fingerprint(1500), fingerprint(2000), Skip(key(5000))),
        (Skip(key(1200)), Items(key(1300), ()), Skip(key(5000))),
        # one is divided, the others are for later
        (fingerprint(2000), Skip(key(3000)), fingerprint(3500), fingerprint(4000), fingerprint(5000)),
        (fingerprint(2000), Skip(key(3000)), Items(key(4000), ()), fingerprint(5000)),
        # one has become equal
        (fingerprint(2000), Skip(key(4000)), fingerprint(5000)),
    ],
)
def test_an_answer(answer):
    check_answer(REQUEST, said(*answer))


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (said(Skip(key(4999))), "wrong_ranges"),
        (said(Skip(key(5001))), "wrong_ranges"),
        (said(Skip(key(5000)), lower=key(999)), "wrong_ranges"),
        (said(fingerprint(2001), Skip(key(5000))), "wrong_ranges"),
        (said(Skip(key(2000)), Items(key(2500), ()), Skip(key(5000))), "wrong_ranges"),
        (said(Skip(key(2999)), Items(key(4000), ()), Skip(key(5000))), "wrong_ranges"),
        (said(Skip(key(3000)), Items(key(5000), ())), "wrong_ranges"),
        (said(fingerprint(5000)), "wrong_ranges"),
        (REQUEST, "no_progress"),
    ],
)
def test_an_answer_to_something_else(answer, code):
    with pytest.raises(RemoteProtocolError) as caught:
        check_answer(REQUEST, answer)
    assert (caught.value.code, caught.value.penalty) == (code, 10)


def test_a_request_holds_fingerprints_only():
    check_request(REQUEST)
    for each in (Items(key(2000), ()), batches((5, 0)), Skip(key(2000))):
        with pytest.raises(RemoteProtocolError, match="bad_request"):
            check_request(said(each))


def test_a_builder_joins_what_is_skipped_and_counts():
    built = RangesBuilder(LOWER)
    assert built.silent
    built.skip_to(key(1500))
    built.skip_to(key(1500))
    built.add(Skip(key(2000)))
    assert built.silent
    built.add(fingerprint(3000), Skip(key(3000)), Skip(key(4000)))
    built.add_hour(key(2 * HOUR_MS), (BatchRef(1, 0, CID, 5),))
    built.add_hour(key(3 * HOUR_MS), (BatchRef(2, 0, CID, 5),))
    assert not built.silent
    ranges = built.build()
    assert [type(each) for each in ranges.ranges] == [Skip, Fingerprint, Skip, Batches]
    assert ranges.upper == built.upper == key(3 * HOUR_MS)
    assert built.size == sum(map(size_of, ranges.ranges))


@given(st.integers(0, 1 << 32), st.integers(1, 30))
@settings(deadline=None)
def test_nothing_takes_more_bytes_than_it_is_said_to(seed, count):
    rng = Random(seed)
    built = RangesBuilder(key(rng.randrange(1 << 47), rng.randbytes(rng.randrange(33))))
    for _ in range(count):
        upper = key(built.upper.timestamp + rng.choice((1, 5000, 10**10)), rng.randbytes(rng.choice((0, 2, 32))))
        begin, end = built.upper.timestamp // HOUR_MS + 1, upper.timestamp // HOUR_MS
        stamps = sorted(rng.randrange(built.upper.timestamp + 1, upper.timestamp + 1) for _ in range(rng.randrange(40)))
        items = tuple(Item(at, rng.randbytes(32), rng.random() < 0.3) for at in stamps if at < upper.timestamp)
        options: list[Range] = [
            Skip(upper),
            Fingerprint(upper, rng.randrange(1, 1 << 47), rng.randbytes(16)),
            Items(upper, tuple(sorted(items))),
        ]
        if begin < end:
            refs = tuple(
                BatchRef(begin, part, Cid(DAG_CBOR, rng.randbytes(32)), 100) for part in range(rng.randrange(1, 40))
            )
            options.append(Batches(upper, refs))
        built.add(rng.choice(options))
    arrived, size = travelled(built.build())
    assert arrived == built.build()
    assert size <= built.size + 80
