from __future__ import annotations

import random

import pytest

from nexusd_protocols.kad.renewals import INTERVAL_MS, JITTER, RETRY_MAX_MS, RETRY_MS, Renewals


def renewals(**options) -> Renewals:
    return Renewals(random.Random(3).random, **options)


def test_what_was_told_is_due_before_others_forget():
    own = renewals()
    renewal = own.put("record", b"k", b"v", 1000)
    assert own.due(1000) == [renewal]
    after = own.told(renewal, 3, 1000)
    assert 1000 + INTERVAL_MS * (1 - JITTER) <= after.due_at <= 1000 + INTERVAL_MS
    assert own.due(after.due_at - 1) == []
    assert own.due(after.due_at) == [after]
    assert own.value(b"k") == b"v"


def test_what_nobody_took_is_due_soon_and_then_less_often():
    own, now, waits = renewals(), 0, []
    renewal = own.put("provider", b"k", b"", now)
    for _ in range(12):
        renewal = own.told(renewal, 0, now)
        waits.append(renewal.due_at - now)
        now = renewal.due_at
    assert waits[:3] == [RETRY_MS, 2 * RETRY_MS, 4 * RETRY_MS]
    assert waits[-1] == max(waits) == RETRY_MAX_MS
    assert own.told(renewal, 1, now).failures == 0


def test_new_peers_hurry_what_nobody_took():
    own = renewals()
    failed = own.told(own.put("provider", b"a", b"", 0), 0, 0)
    own.told(own.put("provider", b"b", b"", 0), 1, 0)
    assert own.due(1) == []
    own.hurry(1)
    assert [r.key for r in own.due(1)] == [failed.key]


def test_a_value_replaced_while_the_old_one_was_told_stays_due():
    own = renewals()
    old = own.put("record", b"k", b"1", 0)
    new = own.put("record", b"k", b"2", 0)
    assert own.told(old, 20, 0) is None
    assert own.due(0) == [new]


def test_what_is_removed_is_told_no_more():
    own = renewals()
    renewal = own.put("provider", b"k", b"", 0)
    assert own.provides(b"k")
    assert own.remove("provider", b"k")
    assert not own.remove("provider", b"k")
    assert own.told(renewal, 1, 0) is None
    assert not own.provides(b"k")
    assert own.value(b"k") is None


def test_a_clock_that_was_set_back_delays_nothing_for_long():
    own = renewals()
    own.told(own.put("record", b"k", b"v", 10 * INTERVAL_MS), 1, 10 * INTERVAL_MS)
    assert own.due(0)


def test_there_is_a_bound_for_each_sort():
    own = renewals(count=2)
    for key in (b"a", b"b"):
        own.put("record", key, b"v", 0)
    own.put("record", b"a", b"new", 0)
    own.put("provider", b"c", b"", 0)
    with pytest.raises(ValueError, match="already tells of 2"):
        own.put("record", b"c", b"v", 0)


def test_return_after_a_restart():
    own = renewals()
    renewal = own.told(own.put("record", b"k", b"v", 0), 1, 0)
    again = renewals()
    again.restore([renewal])
    assert again.due(renewal.due_at) == [renewal]
