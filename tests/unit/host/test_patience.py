"""How long a peer may take over what it says."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from nexusd.host.patience import LEAST_RATE, REQUEST_SECONDS, SLACK_SECONDS, Patience


def test_a_stream_of_the_peer_begins_soon_and_says_something_whole_in_time():
    patience = Patience(100.0, first_byte=5.0)
    assert patience.left(100.0) == 5.0
    patience.heard()
    assert patience.left(100.0) == REQUEST_SECONDS
    assert patience.left(100.0 + REQUEST_SECONDS - 1) == 1.0
    assert patience.left(100.0 + REQUEST_SECONDS + 1) == 0.0
    patience.understood()
    assert patience.left(1e9) == math.inf


def test_a_stream_of_ours_may_be_silent_for_ever():
    assert Patience(100.0, first_byte=None).left(1e9) == math.inf


def test_what_was_begun_has_its_time_and_a_new_message_has_it_again():
    patience = Patience(0.0, first_byte=None)
    patience.waited(1000.0)
    patience.begun(1)
    assert patience.left(0.0) == SLACK_SECONDS
    patience.waited(SLACK_SECONDS - 1)
    assert patience.left(0.0) == 1.0
    assert not patience.spent
    patience.waited(1.0)
    assert patience.left(0.0) == 0.0
    assert patience.spent
    patience.begun(0)
    patience.begun(1)
    assert patience.left(0.0) == SLACK_SECONDS


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=50), st.floats(0.1, 10.0))
def test_the_least_rate_is_just_enough(waits, share):
    """Whoever keeps to it has all the time in the world; who does not ends when the slack is spent."""
    patience = Patience(0.0, first_byte=None)
    kept = 1
    patience.begun(kept)
    behind = 0.0
    for wait in waits:
        patience.waited(wait)
        count = math.ceil(share * wait * LEAST_RATE)
        kept += count
        patience.begun(kept)
        behind = max(0.0, behind + wait - count / LEAST_RATE)
        assert math.isclose(patience.left(0.0), max(0.0, SLACK_SECONDS - behind), abs_tol=1e-6)
        if share >= 1:
            assert patience.left(0.0) > SLACK_SECONDS - 1e-6
