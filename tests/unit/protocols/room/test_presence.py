"""The roster against specs/room.md §4."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nexusd_protocols.identity import PeerId
from nexusd_protocols.room.payloads import Presence
from nexusd_protocols.room.presence import (
    HeartbeatDue,
    HeartbeatSent,
    Left,
    Member,
    MemberChanged,
    PresenceReceived,
    Roster,
    Tick,
)
from tests.harness.examples import examples
from tests.harness.people import ALICE, BOB, CAROL

NOW = 1_760_000_000_000
SECOND = 1000


def said(signer, at, status="online", name=""):
    return PresenceReceived(signer.peer_id, at, Presence(status, ("upper",), name, "autonomous", "1"))


def statuses(roster):
    return {member.agent: member.status for member in roster.members()}


def test_a_member_comes_and_stays():
    roster = Roster()
    assert roster.handle(said(BOB, NOW, name="bob"), NOW + 5) == [
        MemberChanged(Member(BOB.peer_id, "bob", "autonomous", ("upper",), "online", NOW + 5, NOW))
    ]
    assert roster.handle(said(BOB, NOW + 60 * SECOND, name="bob"), NOW + 60 * SECOND) == []
    assert roster.get(BOB.peer_id).last_seen == NOW + 60 * SECOND
    assert roster.online() == 1


def test_a_changed_status_and_name_are_told():
    roster = Roster()
    roster.handle(said(BOB, NOW), NOW)
    assert [output.member.status for output in roster.handle(said(BOB, NOW + 1, "busy"), NOW + 1)] == ["busy"]
    assert [output.member.name for output in roster.handle(said(BOB, NOW + 2, "busy", "rob"), NOW + 2)] == ["rob"]


def test_silence_of_120_seconds_is_offline():
    roster = Roster()
    roster.handle(HeartbeatSent(), NOW)
    roster.handle(said(BOB, NOW), NOW)
    roster.handle(said(CAROL, NOW + SECOND), NOW + SECOND)

    roster.handle(Tick(), NOW + 119 * SECOND)
    assert statuses(roster) == {BOB.peer_id: "online", CAROL.peer_id: "online"}
    assert roster.next_tick(NOW + 119 * SECOND) == NOW + 120 * SECOND
    (gone,) = roster.handle(Tick(), NOW + 120 * SECOND)
    assert gone.member.agent == BOB.peer_id
    assert gone.member.status == "offline"
    assert gone.member.last_seen == NOW
    assert statuses(roster) == {BOB.peer_id: "offline", CAROL.peer_id: "online"}
    assert roster.handle(Tick(), NOW + 120 * SECOND) == []

    (back,) = roster.handle(said(BOB, NOW + 130 * SECOND), NOW + 130 * SECOND)
    assert back.member.status == "online"


def test_a_goodbye_is_told_once():
    roster = Roster()
    roster.handle(said(BOB, NOW), NOW)
    assert [output.member.status for output in roster.handle(said(BOB, NOW + 1, "offline"), NOW + 1)] == ["offline"]
    assert roster.handle(Left(BOB.peer_id), NOW + 2) == []
    assert roster.handle(Left(CAROL.peer_id), NOW + 2) == []


def test_a_blocked_member_is_offline_at_once():
    roster = Roster()
    roster.handle(said(BOB, NOW), NOW)
    (gone,) = roster.handle(Left(BOB.peer_id), NOW + 1)
    assert gone.member.status == "offline"


def test_a_replayed_message_brings_nobody_back():
    roster = Roster()
    roster.handle(said(BOB, NOW), NOW)
    roster.handle(said(BOB, NOW + SECOND, "offline"), NOW + SECOND)
    assert roster.handle(said(BOB, NOW), NOW + 2 * SECOND) == []
    assert roster.handle(said(BOB, NOW + SECOND), NOW + 2 * SECOND) == []
    assert statuses(roster) == {BOB.peer_id: "offline"}
    # by one who comes later, it is not taken for news either
    assert Roster().handle(said(BOB, NOW), NOW + 601 * SECOND) == []
    assert Roster().handle(said(BOB, NOW + 601 * SECOND), NOW) == []


def test_a_clock_that_is_minutes_off_does_no_harm():
    roster = Roster()
    for beat in range(3):
        at = NOW + beat * 60 * SECOND
        roster.handle(said(BOB, at - 300 * SECOND), at)
        assert [output for output in roster.handle(Tick(), at + 59 * SECOND) if isinstance(output, MemberChanged)] == []
    assert statuses(roster) == {BOB.peer_id: "online"}


def test_heartbeats_are_due_at_once_and_then_every_minute():
    roster = Roster()
    assert roster.next_tick(NOW) == NOW
    assert roster.handle(Tick(), NOW) == [HeartbeatDue()]
    roster.handle(HeartbeatSent(), NOW)
    assert roster.next_tick(NOW) == NOW + 60 * SECOND
    assert roster.handle(Tick(), NOW + 59_999) == []
    assert roster.handle(Tick(), NOW + 60 * SECOND) == [HeartbeatDue()]
    # not sent: no storm, the next one is due a minute later
    assert roster.handle(Tick(), NOW + 61 * SECOND) == []
    assert roster.handle(Tick(), NOW + 120 * SECOND) == [HeartbeatDue()]


def test_a_newcomer_is_greeted_soon_and_a_crowd_not_each():
    roster = Roster()
    roster.handle(HeartbeatSent(), NOW)
    roster.handle(said(BOB, NOW + 30 * SECOND), NOW + 30 * SECOND)
    assert roster.next_tick(NOW + 30 * SECOND) == NOW + 30 * SECOND
    assert roster.handle(Tick(), NOW + 30 * SECOND) == [HeartbeatDue()]
    roster.handle(HeartbeatSent(), NOW + 30 * SECOND)

    roster.handle(said(CAROL, NOW + 31 * SECOND), NOW + 31 * SECOND)
    assert roster.handle(Tick(), NOW + 31 * SECOND) == []
    assert roster.next_tick(NOW + 31 * SECOND) == NOW + 40 * SECOND
    assert roster.handle(Tick(), NOW + 40 * SECOND) == [HeartbeatDue()]


def test_a_room_that_fills_up_costs_few_heartbeats():
    roster = Roster()
    roster.handle(HeartbeatSent(), NOW)
    sent = 0
    for number in range(1000):
        at = NOW + number * 60  # a thousand in a minute
        roster.handle(PresenceReceived(PeerId(f"peer{number}"), at, Presence("online")), at)
        for output in roster.handle(Tick(), at):
            if isinstance(output, HeartbeatDue):
                sent += 1
                roster.handle(HeartbeatSent(), at)
    assert sent <= 6


def test_the_roster_is_bounded_and_the_longest_silent_goes_first():
    roster = Roster(max_members=2)
    roster.handle(said(ALICE, NOW), NOW)
    roster.handle(said(BOB, NOW + 1), NOW + 1)
    roster.handle(said(ALICE, NOW + 2), NOW + 2)
    told = roster.handle(said(CAROL, NOW + 3), NOW + 3)
    assert [(output.member.agent, output.member.status) for output in told] == [
        (BOB.peer_id, "offline"),
        (CAROL.peer_id, "online"),
    ]
    assert list(statuses(roster)) == [ALICE.peer_id, CAROL.peer_id]


class RosterMachine(RuleBasedStateMachine):
    """Whoever follows the outputs knows what `members` says; time may jump, too."""

    def __init__(self):
        super().__init__()
        self.roster = Roster(max_members=4)
        self.now = NOW
        self.followed = {}
        self.heartbeats = 0

    def give(self, event):
        for output in self.roster.handle(event, self.now):
            if isinstance(output, MemberChanged):
                self.followed[output.member.agent] = output.member.status
            else:
                self.heartbeats += 1

    @rule(ms=st.integers(-30_000, 200_000))
    def time_passes(self, ms):
        self.now += ms

    @rule()
    def tick(self):
        self.give(Tick())

    @rule(
        peer=st.sampled_from("abcdef"),
        skew=st.integers(-700_000, 700_000),
        status=st.sampled_from(["online", "idle", "offline"]),
    )
    def presence(self, peer, skew, status):
        self.give(PresenceReceived(PeerId(peer), self.now + skew, Presence(status)))

    @rule(peer=st.sampled_from("abcdef"))
    def left(self, peer):
        self.give(Left(PeerId(peer)))

    @precondition(lambda self: self.heartbeats)
    @rule()
    def heartbeat_sent(self):
        self.give(HeartbeatSent())

    @invariant()
    def it_is_bounded(self):
        assert len(self.roster.members()) <= 4

    @invariant()
    def followers_know_the_members(self):
        members = {member.agent: member.status for member in self.roster.members()}
        assert {agent: status for agent, status in self.followed.items() if agent in members} == members
        assert all(status == "offline" for agent, status in self.followed.items() if agent not in members)

    @invariant()
    def the_next_tick_is_not_past(self):
        assert self.roster.next_tick(self.now) >= self.now


TestRosterMachine = RosterMachine.TestCase
TestRosterMachine.settings = settings(deadline=None, max_examples=examples(60), stateful_step_count=40)
