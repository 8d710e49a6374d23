"""Left alone for longer each time, but never for ever."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from nexusd.host.backoff import JITTER, LONGEST_SECONDS, Backoff


def test_twice_as_long_each_time_up_to_a_bound():
    backoff = Backoff(Random(1))
    now = 0.0
    for number in range(20):
        backoff.fail("bob", now)
        nominal = min(LONGEST_SECONDS, 2.0**number)
        wait = backoff.wait("bob", now)
        assert JITTER[0] * nominal <= wait <= JITTER[1] * nominal
        now += wait
        assert backoff.wait("bob", now) == 0


def test_a_success_forgets():
    backoff = Backoff(Random(1))
    for _ in range(10):
        backoff.fail("bob", 0.0)
    backoff.forget("bob")
    backoff.forget("bob")
    assert backoff.wait("bob", 0.0) == 0
    backoff.fail("bob", 0.0)
    assert backoff.wait("bob", 0.0) <= JITTER[1]


def test_not_in_step():
    backoff = Backoff(Random(1))
    for number in range(50):
        backoff.fail(f"peer-{number}", 0.0)
    assert len({backoff.wait(f"peer-{number}", 0.0) for number in range(50)}) == 50


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), max_size=60))
def test_so_many_are_remembered(steps):
    backoff = Backoff(Random(1), size=3)
    for key, failed in steps:
        if failed:
            backoff.fail(key, 0.0)
            assert backoff.wait(key, 0.0) > 0
        else:
            backoff.forget(key)
            assert backoff.wait(key, 0.0) == 0
        assert len(backoff._failed) <= 3
