"""Bans grow, end, are forgotten, and are bounded in number."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nexusd.services.policy.bans import DAY, HOUR, LENGTHS, MINUTE, REASON_CHARS, REMEMBERED, BanTable
from nexusd.store.bans import Ban
from nexusd_protocols.identity import PeerId
from tests.harness.examples import examples
from tests.harness.nodes import signer

ALICE, BOB, MALLORY = (signer(name).peer_id for name in ("alice", "bob", "mallory"))
NOW = 1_800_000_000_000


def test_each_ban_of_a_peer_is_longer_up_to_a_day() -> None:
    table = BanTable()
    lengths = []
    now = NOW
    for _ in range(5):
        ban = table.sentence(MALLORY, "too_many_pings", now)
        table.add(ban)
        lengths.append(ban.until - ban.since)
        now = ban.until + MINUTE
    assert lengths == [10 * MINUTE, HOUR, DAY, DAY, DAY]
    assert ban.times == 5
    assert table.sentence(BOB, "x", now).times == 1


def test_a_ban_holds_until_its_end_and_says_once_that_it_ended() -> None:
    table = BanTable()
    ban = table.sentence(MALLORY, "x", NOW)
    assert table.find(MALLORY, NOW) is None, "a sentence alone does nothing"
    table.add(ban)
    assert table.find(MALLORY, NOW) == table.find(MALLORY, ban.until - 1) == ban
    assert table.holding(NOW) == [ban]
    assert table.ended(ban.until - 1) == []
    assert table.find(MALLORY, ban.until) is None
    assert table.ended(ban.until) == [ban]
    assert table.ended(ban.until) == []
    assert table.last(MALLORY) == ban, "it counts for the next one"


def test_what_ended_long_ago_is_forgotten() -> None:
    table = BanTable()
    ban = table.sentence(MALLORY, "x", NOW)
    table.add(ban)
    assert table.forget_old(ban.until + REMEMBERED - 1) == []
    assert table.forget_old(ban.until + REMEMBERED) == [MALLORY]
    assert table.sentence(MALLORY, "x", NOW).times == 1


def test_lifting_forgets_that_there_was_a_ban() -> None:
    table = BanTable([Ban(peer=MALLORY, reason="x", since=NOW, until=NOW + DAY, times=7)])
    lifted = table.lift(MALLORY)
    assert lifted is not None
    assert lifted.times == 7
    assert table.lift(MALLORY) is None
    assert table.ended(NOW + 2 * DAY) == []
    assert table.sentence(MALLORY, "x", NOW).times == 1


def test_bans_of_before_hold_again() -> None:
    ban = Ban(peer=MALLORY, reason="x", since=NOW, until=NOW + HOUR, times=2)
    table = BanTable([ban])
    assert table.find(MALLORY, NOW + 1) == ban
    assert table.sentence(MALLORY, "x", NOW + 1).until == NOW + 1 + DAY


def test_a_clock_that_is_set_back_by_years_frees_everybody_and_by_seconds_nobody() -> None:
    ban = Ban(peer=MALLORY, reason="x", since=NOW, until=NOW + HOUR)
    table = BanTable([ban])
    assert table.find(MALLORY, NOW - MINUTE) == ban
    assert table.find(MALLORY, NOW - 365 * DAY) is None


def test_the_oldest_goes_and_a_persons_own_decision_last() -> None:
    table = BanTable(size=2)
    assert table.add(table.sentence(ALICE, "by hand", NOW, length=DAY, by_hand=True)) == []
    assert table.add(table.sentence(BOB, "x", NOW + 1)) == []
    assert table.add(table.sentence(MALLORY, "x", NOW + 2)) == [BOB]
    assert len(table) == 2
    assert table.find(ALICE, NOW + 2) is not None


def test_a_reason_is_a_line() -> None:
    assert len(BanTable().sentence(BOB, "x" * 10_000, NOW).reason) == REASON_CHARS


PEERS = [PeerId(f"peer-{number}") for number in range(8)]
SIZE = 5


class Judging(RuleBasedStateMachine):
    """Whatever is banned, lifted and forgotten: the table is bounded, and what holds holds for as long as it said."""

    @initialize()
    def begin(self) -> None:
        self.table = BanTable(size=SIZE)
        self.now = NOW
        self.expected: dict[PeerId, Ban] = {}

    @rule(peer=st.sampled_from(PEERS), by_hand=st.booleans())
    def ban(self, peer: PeerId, by_hand: bool) -> None:
        before = self.table.last(peer)
        ban = self.table.sentence(peer, "x", self.now, by_hand=by_hand)
        assert ban.times == (1 if before is None else before.times + 1)
        assert ban.until - ban.since == LENGTHS[min(ban.times, 3) - 1]
        self.expected[peer] = ban
        for gone in self.table.add(ban):
            victim = self.expected.pop(gone)
            assert victim.by_hand <= min(other.by_hand for other in self.expected.values())

    @rule(peer=st.sampled_from(PEERS))
    def lift(self, peer: PeerId) -> None:
        assert self.table.lift(peer) == self.expected.pop(peer, None)

    @rule(pause=st.integers(0, 2 * DAY))
    def wait(self, pause: int) -> None:
        held = set(self.table.holding(self.now))
        self.now += pause
        assert held - set(self.table.holding(self.now)) <= set(self.table.ended(self.now))

    @rule()
    def forget(self) -> None:
        for peer in self.table.forget_old(self.now):
            assert self.now - self.expected.pop(peer).until >= REMEMBERED

    @invariant()
    def in_bounds_and_as_said(self) -> None:
        assert len(self.table) == len(self.expected) <= SIZE
        for peer in PEERS:
            ban = self.expected.get(peer)
            holds = ban is not None and self.now < ban.until
            assert self.table.find(peer, self.now) == (ban if holds else None)


TestJudging = Judging.TestCase
TestJudging.settings = settings(max_examples=examples(40), stateful_step_count=30, deadline=None)
