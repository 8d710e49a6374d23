"""The peer score: gossipsub-v1.1 "The Score Function", "Topic Parameter Calculation and Decay"."""

from __future__ import annotations

import pytest

from nexusd_protocols.gossipsub.params import ScoreParams, TopicScoreParams
from nexusd_protocols.gossipsub.score import PeerScore, Scores, TopicScore

# numbers that are easy to follow: each decays to a half in a second
PLAIN = TopicScoreParams(
    topic_weight=2.0,
    time_in_mesh_weight=0.5,
    time_in_mesh_quantum=2.0,
    time_in_mesh_cap=10.0,
    first_message_deliveries_weight=1.0,
    first_message_deliveries_decay=0.5,
    first_message_deliveries_cap=4.0,
    mesh_message_deliveries_weight=-1.0,
    mesh_message_deliveries_decay=0.5,
    mesh_message_deliveries_cap=6.0,
    mesh_message_deliveries_threshold=3.0,
    mesh_message_deliveries_activation=5.0,
    mesh_message_deliveries_window=0.1,
    mesh_failure_penalty_weight=-1.0,
    mesh_failure_penalty_decay=0.5,
    invalid_message_deliveries_weight=-10.0,
    invalid_message_deliveries_decay=0.5,
)


def scores_of(topic=PLAIN, **params):
    return Scores(ScoreParams(topic=topic, **params), 0.0)


def parts(scores, peer="bob"):
    return next(each for each in scores.report() if each.peer == peer)


def test_a_stranger_has_nothing():
    scores = scores_of()
    assert scores.arrive("bob", "").score == 0
    assert scores.report() == [PeerScore("bob", 0, (), 0, 0, 0)]


def test_p1_time_in_mesh_is_capped():
    scores = scores_of(topic_score_cap=1000.0, topic=TopicScoreParams(time_in_mesh_weight=1, time_in_mesh_cap=20))
    bob = scores.arrive("bob", "")
    scores.graft(bob, "t", 0.0)
    for now, expected in [(1.0, 1), (15.0, 15), (500.0, 20)]:
        scores.refresh(now)
        assert bob.score == expected
    scores.prune(bob, "t")
    scores.refresh(501.0)
    assert bob.score == 0


def test_p2_first_message_deliveries_are_capped_and_decay():
    scores = scores_of()
    bob = scores.arrive("bob", "")
    for _ in range(10):
        scores.first_delivery(bob, "t")
    assert parts(scores).topics == (TopicScore("t", False, 0, 8, 0, 0, 0),)
    scores.refresh(1.0)
    assert bob.score == 4
    scores.refresh(3.0)
    assert bob.score == 1
    scores.refresh(1000.0)
    assert bob.score == 0
    assert parts(scores).topics == ()


def test_p3_deficit_counts_squared_after_the_activation():
    scores = scores_of()
    bob = scores.arrive("bob", "")
    scores.graft(bob, "t", 0.0)
    scores.refresh(5.0)
    assert parts(scores).topics[0].p3 == 0
    scores.refresh(6.0)
    assert parts(scores).topics[0].p3 == 2 * -(3**2)
    for _ in range(4):
        scores.near_first_delivery(bob, "t")
    assert parts(scores).topics[0].p3 == 0
    scores.refresh(7.0)
    assert parts(scores).topics[0].p3 == 2 * -(1**2)


def test_p3_is_capped_and_counts_in_the_mesh_only():
    scores = scores_of()
    bob = scores.arrive("bob", "")
    for _ in range(50):
        scores.first_delivery(bob, "t")
    scores.graft(bob, "t", 0.0)
    scores.refresh(6.0)
    assert parts(scores).topics[0].p3 == 2 * -(3**2)
    for _ in range(50):
        scores.first_delivery(bob, "t")
    scores.refresh(7.0)
    assert parts(scores).topics[0].p3 == 0  # 6 became 3
    scores.refresh(8.0)
    assert parts(scores).topics[0].p3 == 2 * -(1.5**2)


def test_p3b_keeps_the_deficit_of_a_prune():
    scores = scores_of()
    bob = scores.arrive("bob", "")
    scores.graft(bob, "t", 0.0)
    scores.prune(bob, "t")
    assert parts(scores).topics[0].p3b == 0  # not active yet
    scores.graft(bob, "t", 0.0)
    scores.refresh(6.0)
    scores.prune(bob, "t")
    assert parts(scores).topics == (TopicScore("t", False, 0, 0, 0, 2 * -9, 0),)
    scores.refresh(7.0)
    assert bob.score == -9


def test_p4_invalid_messages_count_squared_at_once():
    scores = scores_of()
    bob = scores.arrive("bob", "")
    scores.invalid(bob, "t")
    assert bob.score == -20
    scores.invalid(bob, "t")
    assert bob.score == -80
    scores.refresh(1.0)
    assert bob.score == -20


def test_p5_is_the_application_s():
    scores = scores_of(app_specific_weight=2.0)
    bob = scores.arrive("bob", "")
    scores.set_application("bob", -3.0)
    assert bob.score == -6
    scores.refresh(100.0)
    assert parts(scores) == PeerScore("bob", -6, (), -6, 0, 0)
    scores.set_application("nobody", 5.0)


def test_p6_is_the_square_of_the_surplus_at_one_address():
    scores = scores_of(ip_colocation_factor_weight=-5.0, ip_colocation_factor_threshold=2)
    cards = [scores.arrive(f"peer-{number}", "192.0.2.1") for number in range(4)]
    other, exempt = scores.arrive("other", "192.0.2.2"), [scores.arrive(f"local-{number}", "") for number in range(9)]
    scores.refresh(1.0)
    assert [card.score for card in cards] == [-20] * 4
    assert [card.score for card in [other, *exempt]] == [0] * 10
    assert parts(scores, "peer-0").p6 == -20
    scores.depart("peer-0", 1.0)
    scores.depart("other", 1.0)
    scores.refresh(2.0)
    assert cards[1].score == -5


def test_p7_is_the_square_over_the_threshold_and_decays():
    scores = scores_of(behaviour_penalty_weight=-10, behaviour_penalty_threshold=2, behaviour_penalty_decay=0.5)
    bob = scores.arrive("bob", "")
    scores.misbehaved(bob, 2)
    assert bob.score == 0
    scores.misbehaved(bob, 4)
    assert (bob.score, parts(scores).p7) == (-160, -160)
    scores.refresh(1.0)
    assert bob.score == -10
    scores.refresh(100.0)
    assert (bob.score, bob.behaviour) == (0, 0)


def test_what_topics_earn_together_is_capped_and_what_they_cost_is_not():
    scores = scores_of(topic_score_cap=10.0)
    bob = scores.arrive("bob", "")
    for topic in "abc":
        for _ in range(4):
            scores.first_delivery(bob, topic)
    assert parts(scores).total == 10
    for topic in "abc":
        scores.invalid(bob, topic)
        scores.invalid(bob, topic)
    assert bob.score == 3 * (8 - 80)


def test_decay_goes_by_whole_intervals():
    scores = scores_of(decay_interval=1.0)
    bob = scores.arrive("bob", "")
    for _ in range(4):
        scores.first_delivery(bob, "t")
    for now in (0.4, 0.8, 0.9):
        scores.refresh(now)
        assert bob.score == 8
    scores.refresh(1.2)
    assert bob.score == 4
    scores.refresh(2.1)
    assert bob.score == 2


def test_what_is_near_zero_is_zero():
    scores = scores_of(decay_to_zero=0.6)
    bob = scores.arrive("bob", "")
    scores.first_delivery(bob, "t")
    scores.refresh(1.0)
    assert bob.topics == {}


# --- "The score is retained for some period of time when a peer disconnects" ---------------------------------------


def test_a_bad_score_waits_for_its_peer():
    scores = scores_of(retain_score=100.0)
    bob = scores.arrive("bob", "192.0.2.1")
    scores.invalid(bob, "t")
    for _ in range(4):
        scores.first_delivery(bob, "t")
    scores.depart("bob", 10.0)
    scores.refresh(50.0)
    assert scores.arrive("bob", "192.0.2.2").score == -20  # the good part is gone
    assert parts(scores).topics[0].p4 == -20


def test_a_bad_score_is_forgotten_in_the_end():
    scores = scores_of(retain_score=100.0)
    for name in ("bob", "carol"):
        card = scores.arrive(name, "")
        scores.invalid(card, "t")
    scores.depart("bob", 10.0)
    scores.depart("carol", 20.0)
    scores.refresh(110.0)
    assert scores.arrive("bob", "").score == 0
    assert scores.arrive("carol", "").score == -20


def test_leaving_does_not_save_from_the_deficit():
    scores = scores_of()
    bob = scores.arrive("bob", "")
    scores.graft(bob, "t", 0.0)
    scores.refresh(6.0)
    scores.depart("bob", 6.0)
    assert scores.arrive("bob", "").score == -18


def test_a_good_score_does_not_wait():
    scores = scores_of()
    bob = scores.arrive("bob", "")
    scores.set_application("bob", 50.0)
    scores.first_delivery(bob, "t")
    scores.depart("bob", 0.0)
    assert scores.arrive("bob", "").score == 0


def test_the_application_can_judge_who_is_away():
    scores = scores_of()
    scores.arrive("bob", "")
    scores.set_application("bob", -50.0)
    scores.depart("bob", 0.0)
    scores.set_application("bob", -10.0)
    assert scores.arrive("bob", "").score == -10


def test_scores_of_departed_peers_are_bounded():
    scores = scores_of(retained_scores=2)
    for name in ("bob", "carol", "dave"):
        scores.invalid(scores.arrive(name, ""), "t")
        scores.depart(name, 0.0)
    assert [scores.arrive(name, "").score for name in ("bob", "carol", "dave")] == [0, -20, -20]


@pytest.mark.parametrize(
    ("changes", "window"),
    [({}, None), ({"mesh_message_deliveries_weight": -1}, 0.01), ({"mesh_failure_penalty_weight": -1}, 0.01)],
)
def test_copies_count_only_where_p3_does(changes, window):
    assert scores_of(topic=TopicScoreParams(**changes)).delivery_window("t") == window


def test_who_shares_an_address_is_not_at_fault_for_it():
    scores = scores_of(ip_colocation_factor_threshold=2, ip_colocation_factor_weight=-10.0)
    cards = [scores.arrive(f"peer-{number}", "192.0.2.1") for number in range(5)]
    scores.refresh(1.0)
    assert [card.score for card in cards] == [-90.0] * 5
    assert [scores.conduct(card) for card in cards] == [0.0] * 5
    scores.invalid(cards[0], "t")
    assert scores.conduct(cards[0]) < 0
