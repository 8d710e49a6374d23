"""The set in memory against a plain sorted list."""

from __future__ import annotations

import hashlib
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nexusd_protocols.chatsync.index import EMPTY, BatchRef, Item, Key, MemoryIndex, Summary
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.bounds import HOUR_MS
from tests.harness.examples import examples

START = Key(0, b"")
END = Key(1 << 48, b"")

timestamps = st.integers(0, 6)
digests = st.integers(0, 5).map(lambda n: hashlib.sha256(bytes([n])).digest())
keys = st.builds(Key, timestamps, st.builds(lambda digest, cut: digest[:cut], digests, st.sampled_from([0, 1, 32])))


def ref(hour: int, part: int = 0, count: int = 60) -> BatchRef:
    return BatchRef(hour, part, Cid.of(DAG_CBOR, b"%d/%d" % (hour, part)), count)


class Model(RuleBasedStateMachine):
    """Whatever is done, the answers are those of a sorted list."""

    def __init__(self) -> None:
        super().__init__()
        self.index = MemoryIndex()
        self.model: dict[Key, bool] = {}

    @rule(timestamp=timestamps, digest=digests, gone=st.booleans())
    def add(self, timestamp, digest, gone):
        key = Key(timestamp, digest)
        assert self.index.add(timestamp, digest, gone=gone) == (key not in self.model)
        self.model.setdefault(key, gone)

    @rule(timestamp=timestamps, digest=digests)
    def bury(self, timestamp, digest):
        self.index.bury(timestamp, digest)
        self.model[Key(timestamp, digest)] = True

    @rule(horizon=timestamps)
    def expire(self, horizon):
        self.index.expire(horizon)
        self.model = {key: gone for key, gone in self.model.items() if key.timestamp >= horizon}

    @rule(lower=keys, upper=keys, limit=st.integers(1, 4), offset=st.integers(-1, 9))
    def ask(self, lower, upper, limit, offset):
        inside = [Item(*key, gone) for key, gone in sorted(self.model.items()) if lower <= key < upper]
        total = sum(int.from_bytes(item.digest, "big") for item in inside) % 2**256
        assert self.index.summary(lower, upper) == Summary(len(inside), total)
        assert self.index.items(lower, upper, limit) == inside[:limit]
        if 0 <= offset < len(inside):
            assert self.index.key_at(lower, upper, offset) == inside[offset].key
        else:
            with pytest.raises(IndexError):
                self.index.key_at(lower, upper, offset)

    @invariant()
    def counts(self):
        assert len(self.index) == len(self.model)


TestModel = Model.TestCase
TestModel.settings = settings(deadline=None, max_examples=examples(60))


def test_many_items_in_any_order_are_as_those_that_were_there_at_first():
    rng = Random(1)
    items = [Item(rng.randrange(1000), rng.randbytes(32)) for _ in range(3000)]
    grown = MemoryIndex()
    for item in items:
        assert grown.add(*item[:2])
        if rng.randrange(20) == 0:
            grown.summary(START, Key(rng.randrange(1000), b""))
    whole = MemoryIndex(items)
    assert grown.items(START, END, 5000) == whole.items(START, END, 5000) == sorted(items)
    for _ in range(200):
        lower, upper = (Key(rng.randrange(1000), rng.randbytes(rng.choice((0, 32)))) for _ in range(2))
        assert grown.summary(lower, upper) == whole.summary(lower, upper)


def test_the_summary_of_two_ranges_is_the_sum_of_theirs():
    rng = Random(2)
    index = MemoryIndex([Item(stamp, rng.randbytes(32)) for stamp in range(1000)])
    cut = Key(371, b"\x80")
    assert index.summary(START, cut) + index.summary(cut, END) == index.summary(START, END)


def test_a_fingerprint_tells_sets_apart_and_hides_the_sum():
    one, other = (MemoryIndex([Item(1, bytes([n]) * 32)]).summary(START, END) for n in (1, 2))
    assert one.fingerprint != other.fingerprint
    # the same sum of another number of messages is another set
    assert Summary(1, one.sum).fingerprint != Summary(2, one.sum).fingerprint
    assert len(EMPTY.fingerprint) == 16
    assert EMPTY.fingerprint != bytes(16)


def test_batches_are_of_hours_that_lie_in_the_range_as_a_whole():
    index = MemoryIndex()
    refs = [ref(3), ref(3, 1), ref(4), ref(7)]
    index.seal(7, [refs[3]])
    index.seal(3, refs[1::-1])
    index.seal(4, [refs[2]])
    assert index.batches(START, END, 10) == refs
    assert index.batches(START, END, 2) == refs[:2]
    assert index.batches(Key(3 * HOUR_MS, b""), Key(5 * HOUR_MS, b""), 10) == refs[:3]
    assert index.batches(Key(3 * HOUR_MS, b"\x00"), Key(5 * HOUR_MS, b""), 10) == refs[2:3]
    assert index.batches(START, Key(5 * HOUR_MS - 1, b""), 10) == refs[:2]


def test_an_hour_that_changes_has_no_batches_until_it_is_sealed_again():
    index = MemoryIndex()
    index.add(3 * HOUR_MS, b"\x01" * 32)
    for change in (
        lambda: index.add(3 * HOUR_MS + 5, b"\x02" * 32),
        lambda: index.bury(3 * HOUR_MS + 5, b"\x02" * 32),
        lambda: index.expire(4 * HOUR_MS),
    ):
        index.seal(3, [ref(3)])
        index.seal(4, [ref(4)])
        change()
        assert index.batches(START, END, 10) == [ref(4)]
