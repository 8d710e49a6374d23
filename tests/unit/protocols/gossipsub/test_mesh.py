"""GRAFT, PRUNE, joining and leaving: gossipsub-v1.0 "Topic Membership", "Control Messages"; gossipsub-v1.1 "PRUNE
Backoff and Peer Exchange", "Explicit Peering Agreements", "Outbound Mesh Quotas", "Score Thresholds"."""

from __future__ import annotations

import pytest

from nexusd_protocols.gossipsub.inputs import Version
from nexusd_protocols.gossipsub.outputs import ExplicitGraft, PeerExchange, Priority, Send
from nexusd_protocols.gossipsub.params import ScoreParams
from nexusd_protocols.gossipsub.rpc import Control, Graft, PeerInfo, Prune, Rpc, Subscription
from nexusd_protocols.identity import peer_id_bytes
from tests.harness.gossipsub import ME, TOPIC, Driven, controls, delivered, receivers, said, sends, small
from tests.harness.people import ALICE, BOB, CAROL

PRUNED = [Prune(TOPIC, 60)]


def crowd(count, start=0):
    return [f"peer-{number}" for number in range(start, start + count)]


def joined(*names, **params):
    node = Driven(**params)
    node.meet(*names)
    node.join()
    return node


# --- JOIN, LEAVE ----------------------------------------------------------------------------------------------------


def test_joining_grafts_d_subscribers():
    node = Driven()
    node.meet(*crowd(20))
    node.meet("stranger", topic=None)
    outputs = node.join()
    assert len(node.mesh) == 6
    for peer in node.mesh:
        assert controls(outputs, "graft", peer) == [Graft(TOPIC)]
    assert len(controls(outputs, "graft")) == 6
    assert outputs[0].rpc.subscriptions  # before the GRAFTs, or they would be for a topic we are not in


def test_grafts_for_one_peer_leave_together():
    node = Driven()
    node.meet("bob", topic=None)
    node.join()
    node.join("other")
    node.subscribe("bob", TOPIC, "other")
    assert node.beat() == [Send(("bob",), Rpc(control=Control(graft=(Graft(TOPIC), Graft("other")))), Priority.CONTROL)]


def test_the_fanout_becomes_the_mesh():
    node = Driven(flood_publish_bytes=0)
    node.meet(*crowd(30))
    fanout = set(receivers(node.publish(said(ME)), said(ME)))
    assert len(fanout) == 6
    node.join()
    assert node.mesh == fanout


def test_a_fanout_peer_with_a_bad_score_is_not_grafted():
    node = Driven(flood_publish_bytes=0)
    node.meet("bob")
    node.publish(said(ME))
    node.application_score("bob", -1)
    node.join()
    assert node.mesh == set()


def test_leaving_prunes_with_a_short_back_off():
    node = joined("bob", "carol")
    node.meet("old", version=Version.V1_0)
    node.graft("old")
    outputs = node.leave()
    assert controls(outputs, "prune", "bob") == [Prune(TOPIC, 10)]
    assert controls(outputs, "prune", "old") == [Prune(TOPIC)]
    assert Subscription(TOPIC, False) in sends(outputs, "bob")[0].subscriptions
    node.join()
    assert node.mesh == set()
    node.wait(12)
    assert node.mesh == {"bob", "carol", "old"}


def test_who_unsubscribes_is_out_of_the_mesh():
    node = joined("bob", "carol")
    assert node.unsubscribe("bob", TOPIC) == []
    assert node.mesh == {"carol"}


# --- GRAFT ----------------------------------------------------------------------------------------------------------


def test_a_graft_is_taken():
    node = joined()
    node.meet("bob")
    assert node.graft("bob") == []
    assert node.graft("bob") == []
    assert node.mesh == {"bob"}


def test_a_graft_for_an_unknown_topic_is_ignored():
    node = joined()
    node.meet("bob")
    assert node.graft("bob", "other") == []
    assert node.router.mesh("other") == ()


def test_who_grafts_is_subscribed():
    node = joined()
    node.meet("bob", topic=None)
    node.graft("bob")
    assert node.router.subscribers(TOPIC) == ("bob",)


def test_who_grafts_and_has_too_many_subscriptions_is_pruned():
    node = joined(bounds=small(peer_topics=1))
    node.meet("bob", topic="other")
    assert controls(node.graft("bob"), "prune", "bob") == PRUNED
    assert node.mesh == set()


def test_an_explicit_peer_is_not_grafted_and_gets_everything():
    node = Driven()
    node.meet("bob", direct=True)
    node.meet("carol")
    node.join()
    assert node.mesh == {"carol"}
    outputs = node.graft("bob")
    assert controls(outputs, "prune", "bob") == PRUNED
    assert ExplicitGraft(TOPIC, "bob") in outputs, "for the log"
    node.application_score("bob", -10_000)
    assert receivers(node.message("carol", said()), said()) == ["bob"]
    assert "bob" in receivers(node.publish(said(ME)), said(ME))


def test_a_floodsub_peer_gets_everything_and_has_no_control():
    node = Driven()
    node.meet("bob", version=Version.FLOODSUB)
    node.meet("carol")
    node.join()
    assert node.mesh == {"carol"}
    assert node.graft("bob") == []
    assert receivers(node.message("carol", said()), said()) == ["bob"]
    assert receivers(node.message("bob", said(number=2)), said(number=2)) == ["carol"]
    node.application_score("bob", -2000)
    assert receivers(node.message("carol", said(number=3)), said(number=3)) == []


def test_a_graft_during_back_off_is_a_fault_and_prolongs_it():
    node = joined("bob")
    node.prune("bob")
    node.now += 50  # no heartbeat in between
    assert controls(node.graft("bob"), "prune", "bob") == PRUNED
    assert node.router.scores()[0].p7 == 0  # one slip is forgiven
    node.now += 59.9
    node.graft("bob")
    assert node.mesh == set()
    node.now += 60
    assert node.graft("bob") == []
    assert node.mesh == {"bob"}


def test_a_storm_of_grafts_ends_on_the_graylist():
    node = joined("bob")
    node.prune("bob")
    answers = 0
    for _ in range(1000):
        answers += len(node.graft("bob"))
    assert node.router.graylisted("bob")
    # twice the penalty, because it comes so soon
    assert answers == 11
    assert node.router.counters.grafts_refused == 11


def test_a_graft_of_a_peer_with_a_bad_score_is_refused():
    node = joined(do_px=True)
    node.meet("bob")
    node.application_score("bob", -0.1)
    assert controls(node.graft("bob"), "prune", "bob") == PRUNED


def test_a_full_mesh_takes_outbound_peers_only():
    node = joined(*crowd(6))
    for peer in crowd(20, start=6):
        node.meet(peer)
        node.graft(peer)
    assert len(node.mesh) == 12
    node.meet("ours", outbound=True)
    node.graft("ours")
    assert len(node.mesh) == 13


# --- PRUNE ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "seconds"), [(None, 60), (0, 60), (5, 5), (300, 300), (10**12, 3600)], ids=str)
def test_a_prune_is_obeyed_for_as_long_as_it_says(asked, seconds):
    node = joined("bob")
    began = node.now
    assert node.prune("bob", backoff=asked) == []
    assert node.mesh == set()
    while not node.mesh:
        node.beat()
    assert seconds + 1 <= node.now - began <= seconds + 2


def test_a_prune_of_who_is_not_in_the_mesh_begins_a_back_off_too():
    node = joined()
    node.meet("bob")
    node.prune("bob")
    node.beat()
    assert node.mesh == set()


def test_prunes_of_unknown_topics_leave_nothing_behind():
    node = joined("bob")
    for number in range(100):
        node.prune("bob", topic=f"topic-{number}")
    node.join("topic-1")
    node.subscribe("bob", "topic-1")
    node.beat()
    assert node.router.mesh("topic-1") == ("bob",)


def test_a_back_off_survives_a_reconnection():
    node = joined("bob")
    node.prune("bob")
    node.part("bob")
    node.meet("bob")
    node.beat()
    assert node.mesh == set()


def test_we_never_graft_in_our_own_back_off():
    node = joined()
    for peer in crowd(13):
        node.meet(peer, outbound=True)
        node.graft(peer)
    pruned = {peer for each in node.beat() if isinstance(each, Send) for peer in each.peers if each.rpc.control.prune}
    assert pruned
    until = node.now + 60
    for peer in set(node.mesh):
        node.part(peer)
    while node.now < until - 1:
        outputs = node.beat()
        assert not {peer for peer in pruned if controls(outputs, "graft", peer)}


# --- peer exchange --------------------------------------------------------------------------------------------------

PEOPLE = [ALICE.peer_id, BOB.peer_id, CAROL.peer_id]


def test_no_peers_are_given_by_default():
    node = joined(*crowd(6))
    for peer in crowd(20, start=6):
        node.meet(peer)
        node.graft(peer)
    (prune,) = controls(node.graft("peer-25"), "prune")
    assert prune.peers == ()


def test_peers_with_good_scores_are_given_if_wanted():
    node = joined(*PEOPLE, do_px=True, d=0, d_low=0, d_high=0, d_out=0, d_score=0)
    node.meet("mallory")
    node.application_score(CAROL.peer_id, -1)
    (prune,) = controls(node.graft("mallory"), "prune")
    assert {each.peer_id for each in prune.peers} == {peer_id_bytes(each) for each in PEOPLE[:2]}


def test_leaving_may_give_peers_too():
    node = joined(*PEOPLE, do_px=True)
    outputs = node.leave()
    (prune,) = controls(outputs, "prune", ALICE.peer_id)
    assert {each.peer_id for each in prune.peers} == {peer_id_bytes(each) for each in PEOPLE[1:]}


def test_who_behaved_badly_is_given_no_peers():
    node = joined(*PEOPLE, do_px=True)
    node.application_score(ALICE.peer_id, -1)
    outputs = node.leave()
    (prune,) = controls(outputs, "prune", ALICE.peer_id)
    assert prune.peers == ()
    assert all(controls(outputs, "prune", each)[0].peers for each in PEOPLE[1:])


@pytest.mark.parametrize(("accept", "score", "taken"), [(False, 5000, False), (True, 999, False), (True, 1000, True)])
def test_peers_are_taken_from_trusted_peers_if_wanted(accept, score, taken):
    node = joined("bob", accept_px=accept, px_peers=2)
    node.application_score("bob", score)
    infos = tuple(PeerInfo(bytes([number]), b"record") for number in range(3))
    outputs = node.prune("bob", peers=infos)
    assert outputs == ([PeerExchange(TOPIC, infos[:2], "bob")] if taken else [])


def test_the_score_of_a_member_follows_its_deeds():
    node = joined("bob", "carol", score=ScoreParams())
    assert delivered(node.message("bob", said()))
    assert node.score("bob") == 1
    node.message("bob", said(number=2), verdict="reject")
    assert node.score("bob") == 1 - 160
    outputs = node.beat()
    assert node.mesh == {"carol"}
    assert controls(outputs, "prune", "bob") == PRUNED
