"""Which of several connections is kept: both sides must come to the same."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from libp2p.rcmgr import Direction

from nexusd.host.duplicates import QUIET_SECONDS, TOGETHER_SECONDS, Candidate, Duplicates, choose
from tests.harness.nodes import signer

ALICE, BOB = sorted((signer("alice").peer_id, signer("bob").peer_id))


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5), st.floats(-5, 5)), min_size=1, max_size=5))
def test_both_sides_keep_the_same_dialler(made):
    """Each connection is dialled by one of the two, and stands on both sides within seconds, in any order."""
    mine = [Candidate(ALICE if alices else BOB, at) for alices, at, _ in made]
    theirs = [Candidate(ALICE if alices else BOB, at + late) for alices, at, late in made]
    assert choose(mine).dialler == choose(theirs).dialler
    assert choose(mine).dialler == min(candidate.dialler for candidate in mine)


@given(st.permutations([Candidate(BOB, 0.0), Candidate(ALICE, 1.0), Candidate(ALICE, 2.0), Candidate(BOB, 3.0)]))
def test_the_order_in_which_they_are_listed_does_not_matter(candidates):
    assert choose(candidates) == Candidate(ALICE, 1.0)


def test_one_that_may_be_dead_is_not_kept():
    old, new = Candidate(ALICE, 0.0), Candidate(BOB, TOGETHER_SECONDS + 1)
    assert choose([old, new]) is new
    assert choose([old]) is old


class Connection:
    """As the swarm's."""

    def __init__(self, direction: Direction, since: float, streams: int = 0) -> None:
        self.direction = direction
        self.muxed_conn = SimpleNamespace(since=since, spare=False, session=SimpleNamespace(streams=streams))
        self.is_closed = False

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
async def alice(nursery):
    return Duplicates(ALICE, nursery.start_soon)


async def test_a_spare_connection_is_closed_when_it_has_been_quiet(alice, autojump_clock):
    mine, bobs = Connection(Direction.OUTBOUND, 0.0), Connection(Direction.INBOUND, 1.0, streams=1)
    alice.settle(BOB, [mine, bobs])
    assert not mine.muxed_conn.spare
    assert bobs.muxed_conn.spare
    await trio.sleep(100)
    assert not bobs.is_closed
    bobs.muxed_conn.session.streams = 0
    await trio.sleep(2 * QUIET_SECONDS)
    assert bobs.is_closed
    assert not mine.is_closed
    assert not alice._watched


async def test_a_spare_connection_is_needed_again_when_the_other_is_lost(alice, autojump_clock):
    mine, bobs = Connection(Direction.OUTBOUND, 0.0), Connection(Direction.INBOUND, 1.0)
    alice.settle(BOB, [mine, bobs])
    await trio.sleep(QUIET_SECONDS / 2)
    alice.settle(BOB, [bobs])
    assert not bobs.muxed_conn.spare
    await trio.sleep(100)
    assert not bobs.is_closed


async def test_of_two_dials_of_one_peer_the_dialler_closes_one(alice, autojump_clock):
    first, second = Connection(Direction.INBOUND, 0.0), Connection(Direction.INBOUND, 1.0)
    alice.settle(BOB, [first, second])
    assert second.muxed_conn.spare
    await trio.sleep(100)
    assert not first.is_closed
    assert not second.is_closed
    first, second = Connection(Direction.OUTBOUND, 0.0), Connection(Direction.OUTBOUND, 1.0)
    alice.settle(BOB, [first, second])
    await trio.sleep(2 * QUIET_SECONDS)
    assert second.is_closed
    assert not first.is_closed


async def test_nothing_to_settle(alice, autojump_clock):
    alice.settle(BOB, [])
