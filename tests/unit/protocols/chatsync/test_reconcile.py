"""Reconciliation against specs/chat-sync.md §3: whatever two hosts hold, each learns what it lacks."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from nexusd_protocols import limits
from nexusd_protocols.chatsync.index import EMPTY, Item, Key, MemoryIndex
from nexusd_protocols.chatsync.ranges import (
    MAX_KEY,
    Batches,
    Fingerprint,
    Ranges,
    check,
    check_answer,
    size_of,
)
from nexusd_protocols.chatsync.reconcile import Initiator, answer, common_range, opening, random_cuts
from nexusd_protocols.content.cid import DAG_CBOR, Cid
from nexusd_protocols.history.batch import BatchRef
from nexusd_protocols.history.bounds import HISTORY_EPOCH_MS, HOUR_MS
from tests.harness.chatsync import END, NOW, START, YEAR_MS, Outcome, hours_of, messages, reconciled, seal
from tests.harness.examples import examples, first

HOUR = NOW // HOUR_MS

digests = st.binary(min_size=32, max_size=32)
# many in one millisecond, many that begin alike
stamps = st.integers(0, 3).map(lambda n: START.timestamp + n) | st.integers(START.timestamp, END.timestamp - 1)
alike = st.binary(min_size=1, max_size=2).map(lambda tail: tail.rjust(32, b"\x07"))
items = st.builds(Item, stamps, digests | alike, st.booleans())
sets = st.lists(items, max_size=60, unique_by=lambda item: item.key)


def taken(outcome: Outcome, mine: MemoryIndex, theirs: MemoryIndex, contents: dict) -> None:
    """Hand over what was found, as the service does: what is gone at its holder cannot be had."""
    held = {item.digest: item for item in mine.items(START, END, 1 << 30) if not item.gone}
    for digest in outcome.haves:
        theirs.add(*held[digest][:2])
    for item in [*outcome.needs, *(item for ref in outcome.batches for item in contents[ref.cid])]:
        mine.add(*item[:2])


def everything(index: MemoryIndex, lower: Key = START, upper: Key = END) -> list[Item]:
    return index.items(lower, upper, 1 << 30)


@given(sets, sets, sets, st.integers(0, 1 << 32))
@settings(deadline=None, max_examples=examples(150))
def test_two_sets_end_as_their_union(common, of_mine, of_theirs, seed):
    mine, theirs = MemoryIndex(), MemoryIndex()
    dates: dict[bytes, int] = {}  # a digest names one message, and that has one date
    for index, own in ((mine, of_mine), (theirs, of_theirs)):
        for item in common + own:
            if dates.setdefault(item.digest, item.timestamp) == item.timestamp:
                index.add(*item[:2], gone=item.gone)
    outcome = reconciled(mine, theirs, rng=Random(seed))
    before = {item.key for index in (mine, theirs) for item in everything(index) if not item.gone}
    buried = [{item.key for item in everything(index) if item.gone} for index in (mine, theirs)]
    assert outcome.complete
    assert outcome.rounds <= 12
    event(f"{outcome.rounds} rounds")
    taken(outcome, mine, theirs, {})
    for index, gone in zip((mine, theirs), buried, strict=True):
        held = {item.key for item in everything(index) if not item.gone}
        # all that anybody holds is here, but for what was buried here, which never comes back
        assert held == before - gone
        assert {item.key for item in everything(index) if item.gone} == gone
    # nothing is told of twice
    assert len(set(outcome.needs)) == len(outcome.needs)
    assert len(set(outcome.haves)) == len(outcome.haves)


@given(sets, sets, stamps, stamps)
@settings(deadline=None)
def test_only_the_common_range_is_compared(of_mine, of_theirs, my_horizon, their_horizon):
    lower, upper = common_range(NOW, my_horizon, their_horizon)
    assert lower.timestamp == max(my_horizon, their_horizon)
    outcome = reconciled(MemoryIndex(of_mine), MemoryIndex(of_theirs), lower=lower, upper=upper)
    assert all(lower <= item.key < upper for item in outcome.needs)
    assert set(outcome.haves) <= {item.digest for item in of_mine if lower <= item.key < upper}


def test_what_is_dated_wrongly_is_not_wanted():
    lower, upper = common_range(NOW, 0, 0)
    assert lower == Key(HISTORY_EPOCH_MS, b"")
    assert upper == Key(NOW + 320_001, b"")
    wrong = [Item(0, b"a" * 32), Item(HISTORY_EPOCH_MS - 1, b"b" * 32), Item(NOW + 320_001, b"c" * 32)]
    right = [Item(HISTORY_EPOCH_MS, b"d" * 32), Item(NOW + 320_000, b"e" * 32)]
    assert reconciled(MemoryIndex(), MemoryIndex(wrong + right)).needs == right
    # a host whose horizon is ahead of all has nothing in common with anybody
    lower, upper = common_range(NOW, NOW + YEAR_MS, 0)
    assert lower == upper
    with pytest.raises(ValueError, match="nothing to compare"):
        opening(MemoryIndex(), lower, upper, [])


def test_equal_sets_cost_one_round_of_half_a_kilobyte():
    index = MemoryIndex(messages(5000, Random(3)))
    outcome = reconciled(index, index)
    assert (outcome.rounds, outcome.needs, outcome.haves) == (1, [], [])
    assert outcome.sent < 600
    assert outcome.received < 100


@pytest.mark.parametrize("count", [1000, 10_000, pytest.param(300_000, marks=pytest.mark.slow)])
def test_ten_differences_cost_kilobytes_however_much_is_common(count):
    rng = Random(4)
    common = messages(count, rng)
    mine, theirs = messages(5, rng), messages(5, rng)
    outcome = reconciled(MemoryIndex(common + mine), MemoryIndex(common + theirs), rng=rng)
    assert sorted(outcome.needs) == sorted(theirs)
    assert sorted(outcome.haves) == sorted(item.digest for item in mine)
    assert outcome.rounds <= 4
    assert outcome.sent + outcome.received < 20_000


def test_the_cost_follows_the_difference():
    rng = Random(5)
    common = messages(5000, rng)
    costs = {}
    for count in (10, 100, 1000):
        outcome = reconciled(MemoryIndex(common), MemoryIndex(common + messages(count, rng)), rng=rng)
        assert len(outcome.needs) == count
        assert outcome.largest <= limits.SYNC_RANGES_BYTES
        assert outcome.rounds <= 4 + count // 50
        costs[count] = outcome.sent + outcome.received
    assert costs[100] < 10 * costs[10]
    assert costs[1000] < 10 * costs[100]


def test_messages_of_one_millisecond_that_begin_alike_are_told_apart():
    rng = Random(6)
    for shared in (0, 3, 8, 30):
        common = [Item(NOW, bytes(shared) + rng.randbytes(32 - shared)) for _ in range(1000)]
        lacked = common.pop()
        outcome = reconciled(MemoryIndex(common), MemoryIndex([*common, lacked]), rng=rng)
        assert outcome.needs == [lacked]
        assert outcome.rounds <= 6


def test_sums_that_were_steered_hide_nothing_for_long():
    # a and b differ, yet number and sum of both are the same. To find such takes thousands of messages, so random cuts
    # fall among them
    rng = Random(7)
    a, b = (messages(200, rng, span=YEAR_MS // 10) for _ in range(2))
    missing = sum(int.from_bytes(item.digest, "big") for item in a) - sum(
        int.from_bytes(item.digest, "big") for item in b[1:]
    )
    b[0] = Item(b[0].timestamp, (missing % 2**256).to_bytes(32, "big"))
    common = messages(2000, rng)
    mine, theirs = MemoryIndex(common + a), MemoryIndex(common + b)
    assert mine.summary(START, END) == theirs.summary(START, END)
    assert reconciled(mine, theirs, rng=rng, lower=START, upper=END).needs
    found = [len(reconciled(mine, theirs, rng=Random(seed)).needs) == 200 for seed in range(10)]
    assert sum(found) >= 5


def test_cuts_are_places_of_messages_and_none_where_there_is_none():
    index = MemoryIndex(messages(100, Random(8)))
    keys = {Key(item.timestamp, item.digest[:4]) for item in everything(index)}
    cuts = random_cuts(index, START, END, [0, 1 << 63, 12345])
    assert set(cuts) <= keys
    assert len(opening(index, START, END, cuts).ranges) == 4
    assert random_cuts(MemoryIndex(), START, END, [1, 2]) == []
    # cuts outside the range, or twice, or at its bounds, are passed over
    assert len(opening(index, START, END, [START, END, MAX_KEY, cuts[0], cuts[0]]).ranges) == 2


# --- batches ----------------------------------------------------------------------------------------------------------
def test_a_newcomer_gets_closed_hours_by_name_and_the_rest_listed():
    rng = Random(9)
    old = messages(3000, rng, span=10 * HOUR_MS, until=(HOUR - 1) * HOUR_MS)
    sparse = messages(30, rng, span=HOUR_MS - 1, until=(HOUR - 20) * HOUR_MS)
    fresh = messages(40, rng, span=60_000)
    theirs = MemoryIndex(old + sparse + fresh)
    contents = seal(theirs, *hours_of(old + sparse))
    mine = MemoryIndex()
    outcome = reconciled(mine, theirs)
    assert outcome.rounds == 1
    assert sorted(outcome.needs) == sorted(sparse + fresh)
    assert sum(ref.count for ref in outcome.batches) == 3000
    assert outcome.received < 6000  # 3,000 ids would be 100 KB
    taken(outcome, mine, theirs, contents)
    assert everything(mine) == everything(theirs)


def test_who_was_away_gets_the_hours_that_it_missed_by_name():
    rng = Random(10)
    common = messages(5000, rng, span=YEAR_MS, until=(HOUR - 30) * HOUR_MS)
    missed = messages(2000, rng, span=24 * HOUR_MS, until=(HOUR - 2) * HOUR_MS)
    theirs = MemoryIndex(common + missed)
    contents = seal(theirs, *hours_of(common + missed))
    mine = MemoryIndex(common)
    total = 0
    for _ in range(3):
        outcome = reconciled(mine, theirs, rng=rng)
        total += outcome.sent + outcome.received
        taken(outcome, mine, theirs, contents)
    assert everything(mine) == everything(theirs)
    assert total < 20_000


def test_an_hour_of_which_something_is_known_is_not_taken_whole():
    rng = Random(11)
    hour = [Item((HOUR - 5) * HOUR_MS + n, rng.randbytes(32)) for n in range(200)]
    theirs = MemoryIndex(hour)
    seal(theirs, HOUR - 5, HOUR - 4)
    outcome = reconciled(MemoryIndex(hour[::2]), theirs)
    assert outcome.batches == []
    assert len(outcome.needs) == 100


def test_a_newcomer_to_very_much_is_served_in_frames_of_bounded_size():
    rng = Random(12)
    many = messages(30_000, rng, span=3 * HOUR_MS)
    outcome = reconciled(MemoryIndex(), MemoryIndex(many), initiator=Initiator(max_needs=1 << 20))
    assert sorted(outcome.needs) == sorted(many)
    assert outcome.largest <= limits.SYNC_RANGES_BYTES
    assert outcome.rounds <= 30_000 // 1500 + 1


@pytest.mark.parametrize("sealed", first(1, [True, False]))
def test_who_knows_a_little_of_very_much_gets_the_rest(sealed):
    # between the few that are known there is more than a frame has room for, many times
    rng = Random(20)
    many = [item for day in range(60) for item in messages(400, rng, span=4 * HOUR_MS, until=NOW - day * 24 * HOUR_MS)]
    theirs = MemoryIndex(many)
    contents = seal(theirs, *hours_of(many)) if sealed else {}
    mine = MemoryIndex(rng.sample(many, 40) + messages(40, rng, span=60 * 24 * HOUR_MS))
    outcome = reconciled(mine, theirs, rng=rng, initiator=Initiator(max_needs=1 << 20))
    assert outcome.complete
    assert outcome.largest <= limits.SYNC_RANGES_BYTES
    assert len(outcome.haves) == 40
    assert bool(outcome.batches) == sealed
    found = {item.key for item in outcome.needs} | {item.key for ref in outcome.batches for item in contents[ref.cid]}
    assert found == {item.key for item in many} - {item.key for item in everything(mine)}


@pytest.mark.parametrize("budget", [0, 12_000, 20_000])
@pytest.mark.parametrize("seed", first(2, range(5)))
def test_a_responder_may_say_as_little_at_a_time_as_it_likes(seed, budget):
    rng = Random(seed)
    many = messages(2500, rng, span=30 * HOUR_MS)
    theirs = MemoryIndex(many)
    contents = seal(theirs, *hours_of(many))
    # hours that are too small for batches, hours with many, hours that are not sealed, and gaps
    for _ in range(8):
        hour = HOUR - rng.randrange(30)
        refs = [
            BatchRef(hour, part, Cid(DAG_CBOR, rng.randbytes(32)), rng.choice((2, 100)))
            for part in range(rng.choice((1, 1, 40)))
        ]
        theirs.seal(hour, refs)
        contents |= {
            ref.cid: theirs.items(Key(hour * HOUR_MS, b""), Key((hour + 1) * HOUR_MS, b""), 9999) for ref in refs
        }
    theirs.add(NOW - rng.randrange(10 * HOUR_MS), rng.randbytes(32))
    mine = MemoryIndex(rng.sample(many, rng.choice((0, 3, 30))))
    initiator = Initiator(max_rounds=5000)
    outcome = reconciled(mine, theirs, rng=rng, initiator=initiator, budget=budget)
    assert outcome.complete
    assert outcome.largest < max(budget, 16_384) + 4096
    taken(outcome, mine, theirs, contents)
    assert everything(mine) == everything(theirs)


@pytest.mark.parametrize("budget", range(15_000, 30_000, 1500))
def test_hours_for_which_there_is_no_room_are_left_whole(budget):
    theirs = MemoryIndex()
    for hour in range(HOUR - 20, HOUR):
        theirs.add(hour * HOUR_MS, bytes([hour % 256]) * 32)
        theirs.add(hour * HOUR_MS + 9, bytes([hour % 256]) * 32)
        if hour % 4:
            refs = [BatchRef(hour, part, Cid(DAG_CBOR, bytes([part]) * 32), 99) for part in range(60)]
            theirs.seal(hour, refs)
    first = Key((HOUR - 19) * HOUR_MS, b"")
    asked = Ranges(START, (Fingerprint.of(first, EMPTY), Fingerprint.of(END, EMPTY)))
    said = answer(asked, theirs, budget=budget)
    check(said, max_open=100)
    check_answer(asked, said)
    batches = [ref for each in said.ranges if isinstance(each, Batches) for ref in each.batches]
    hours = {ref.hour for ref in batches}
    assert len(batches) == 60 * len(hours)
    assert 0 < len(hours) < 15
    assert isinstance(said.ranges[-1], Fingerprint)
    assert said.ranges[-1] == Fingerprint.of(END, theirs.summary(said.ranges[-2].upper, END))
    assert sum(map(size_of, said.ranges)) <= budget


def test_frames_may_be_as_small_as_one_likes():
    rng = Random(21)
    common = messages(5000, rng)
    mine, theirs = MemoryIndex(common), MemoryIndex(common + messages(500, rng))
    outcome = reconciled(mine, theirs, rng=rng, initiator=Initiator(budget=4096))
    assert len(outcome.needs) == 500
    assert outcome.sent < outcome.rounds * 3000


def test_the_batches_of_one_hour_go_together_even_where_they_are_very_many():
    theirs = MemoryIndex()
    hour = HOUR - 5
    for n in range(60):
        theirs.add(hour * HOUR_MS + n, bytes([n]) * 32)
        theirs.add((hour + 1) * HOUR_MS + n, bytes([n]) * 32)
    large = [BatchRef(hour, part, Cid(DAG_CBOR, part.to_bytes(32, "big")), 100) for part in range(4000)]
    theirs.seal(hour, large)
    theirs.seal(hour + 1, [BatchRef(hour + 1, 0, Cid(DAG_CBOR, bytes(32)), 60)])
    outcome = reconciled(MemoryIndex(), theirs)
    assert len(outcome.batches) == 4001
    assert outcome.rounds == 2
    assert outcome.largest < 140_000
    # where there are more than can be looked up at once, messages are listed
    large = [BatchRef(hour, part, Cid(DAG_CBOR, part.to_bytes(32, "big")), 100) for part in range(9000)]
    theirs.seal(hour, large)
    outcome = reconciled(MemoryIndex(), theirs)
    assert len(outcome.needs) == 120
    assert outcome.batches == []


# --- changes while it runs --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", first(2, range(8)))
def test_sets_may_change_between_any_two_messages(seed):
    rng = Random(seed)
    common = messages(2000, rng)
    mine, theirs = MemoryIndex(common + messages(200, rng)), MemoryIndex(common + messages(200, rng))
    changes = 40

    def change() -> None:
        nonlocal changes
        if changes == 0:
            return
        changes -= 1
        for index in (mine, theirs):
            index.add(NOW - rng.randrange(YEAR_MS), rng.randbytes(32))
            index.bury(*rng.choice(everything(index))[:2])
            if rng.randrange(8) == 0:
                index.expire(START.timestamp + rng.randrange(YEAR_MS))

    for _ in range(40):
        outcome = reconciled(mine, theirs, rng=rng, between=change)
        held = {item.digest: item for item in everything(mine) if not item.gone}
        for digest in outcome.haves:
            if digest in held:
                theirs.add(*held[digest][:2])
        there = {item.digest for item in everything(theirs) if not item.gone}
        for item in outcome.needs:
            if item.digest in there:
                mine.add(*item[:2])
        if changes == 0 and not outcome.needs and not outcome.haves:
            break
    assert changes == 0
    known = [{item.digest for item in everything(index)} for index in (mine, theirs)]
    held = [{item.digest for item in everything(index) if not item.gone} for index in (mine, theirs)]
    # what one knows and the other does not is what the one has buried
    assert held[0] - known[1] == held[1] - known[0] == set()


# --- more than one session is for ------------------------------------------------------------------------------------
def test_more_than_one_session_is_for_is_left_for_another():
    rng = Random(17)
    mine, theirs = MemoryIndex(messages(3000, rng)), MemoryIndex(messages(3000, rng))
    sessions = 0
    while True:
        outcome = reconciled(mine, theirs, rng=rng, initiator=Initiator(max_needs=400, max_haves=300))
        assert len(outcome.needs) < 400 + 1700
        assert len(outcome.haves) <= 300
        taken(outcome, mine, theirs, {})
        sessions += 1
        if outcome.complete and outcome.all_noted:
            break
    assert 2 < sessions <= 12
    assert everything(mine) == everything(theirs)


def test_an_empty_responder_is_told_of_so_many_haves():
    mine = MemoryIndex(messages(6000, Random(18)))
    outcome = reconciled(mine, MemoryIndex())
    assert len(outcome.haves) == limits.SYNC_HAVES
    assert outcome.complete
    assert not outcome.all_noted
    assert outcome.rounds == 1


@pytest.mark.parametrize("most", [0, 1, 50])
def test_what_is_lacking_here_is_found_however_little_is_to_be_noted_of_what_is_lacking_there(most):
    rng = Random(22)
    common = messages(12, rng, span=HOUR_MS)
    mine = MemoryIndex(common + messages(3000, rng, span=HOUR_MS))
    lacked = messages(2, rng, span=HOUR_MS)
    theirs = MemoryIndex(common + lacked)
    outcome = reconciled(mine, theirs, rng=rng, initiator=Initiator(max_haves=most))
    assert sorted(outcome.needs) == sorted(lacked)
    assert len(outcome.haves) == most
    assert outcome.complete
    assert not outcome.all_noted
