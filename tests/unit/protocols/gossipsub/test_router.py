"""The router as a whole: subscriptions, messages on their way, topics, time."""

from __future__ import annotations

import pytest

from nexusd_protocols.gossipsub.inputs import PeerJoined, PeerLeft, Received, Tick, Validated, Version
from nexusd_protocols.gossipsub.outputs import Deliver, Priority, Send, Validate
from nexusd_protocols.gossipsub.rpc import Malformed, Rpc, Subscription
from tests.harness.gossipsub import ME, TOPIC, Driven, delivered, receivers, said, sends, small

OTHER = "/nexus/room/other"


def mesh_of(*names, **params):
    """A router that joined, with these peers in its mesh."""
    node = Driven(**params)
    node.meet(*names)
    node.join()
    assert node.mesh == set(names)
    return node


# --- subscriptions: pubsub/README.md "The RPC" --------------------------------------------------------------------


def test_a_new_peer_is_told_our_topics():
    node = Driven()
    node.join()
    node.join(OTHER)
    outputs = node.handle(PeerJoined("bob", Version.V1_2))
    rpc = Rpc(subscriptions=(Subscription(TOPIC, True), Subscription(OTHER, True)))
    assert outputs == [Send(("bob",), rpc, Priority.CONTROL)]


def test_a_new_peer_is_told_nothing_when_there_is_nothing():
    assert Driven().handle(PeerJoined("bob", Version.V1_2)) == []


def test_all_peers_are_told_of_a_topic_joined_and_left():
    node = Driven()
    node.meet("bob", "carol", topic=None)
    assert node.join() == [Send(("bob", "carol"), Rpc(subscriptions=(Subscription(TOPIC, True),)), Priority.CONTROL)]
    assert node.join() == []
    assert node.leave() == [Send(("bob", "carol"), Rpc(subscriptions=(Subscription(TOPIC, False),)), Priority.CONTROL)]
    assert node.leave() == []
    assert node.router.topics() == ()


def test_joining_without_peers_says_nothing():
    assert Driven().join() == []


def test_subscriptions_come_and_go():
    node = Driven()
    node.meet("bob", "carol")
    assert node.router.subscribers(TOPIC) == ("bob", "carol")
    node.unsubscribe("bob", TOPIC, OTHER)
    assert node.router.subscribers(TOPIC) == ("carol",)
    node.part("carol", "nobody")
    assert node.router.subscribers(TOPIC) == ()


def test_a_peer_that_comes_again_begins_anew():
    node = mesh_of("bob")
    node.meet("bob", topic=None)
    assert node.router.subscribers(TOPIC) == ()
    assert node.mesh == set()


def test_what_an_unknown_peer_says_is_ignored():
    node = Driven()
    node.join()
    assert node.handle(Received("bob", Rpc(messages=(said(),)))) == []
    assert node.router.counters.rpcs == 0


# --- messages on their way: gossipsub-v1.0 "Message Processing" ----------------------------------------------------


def test_a_message_is_validated_delivered_and_forwarded():
    node = mesh_of("bob", "carol", "dave")
    message = said()
    assert node.message("bob", message, verdict=None) == [Validate(1, message, "bob")]
    deliver, send = node.judge()
    assert deliver == Deliver(message, "bob")
    assert (send.rpc, send.priority) == (Rpc(messages=(message,)), Priority.FORWARDED)
    assert sorted(send.peers) == ["carol", "dave"]
    counters = node.router.counters.topics[TOPIC]
    assert (counters.delivered, counters.forwarded) == (1, 2)
    assert (counters.bytes_received, counters.bytes_sent) == (5, 10)


def test_a_message_does_not_go_back_to_its_author_or_to_who_sent_it_meanwhile():
    node = mesh_of("alice", "bob", "carol", "dave")
    message = said("alice")
    node.message("bob", message, verdict=None)
    first = node.outputs
    assert node.message("carol", message, verdict=None) == []
    assert node.message("carol", message, verdict=None) == []
    assert node.message("bob", message, verdict=None) == []
    node.outputs = first
    assert receivers(node.judge(), message) == ["dave"]


def test_a_message_is_delivered_once():
    node = mesh_of("bob", "carol")
    assert delivered(node.message("bob", said())) == [said()]
    assert node.message("carol", said()) == []
    assert node.router.counters.topics[TOPIC].duplicates == 1


def test_messages_of_topics_that_are_not_joined_are_dropped():
    node = mesh_of("bob")
    assert node.message("bob", said(topic=OTHER)) == []
    assert node.router.counters.unwanted == 1


def test_our_own_messages_are_not_taken_from_others():
    node = mesh_of("bob")
    assert node.message("bob", said(ME)) == []
    assert node.router.counters.unwanted == 1


@pytest.mark.parametrize("verdict", ["ignore", "reject"])
def test_what_is_not_accepted_goes_nowhere(verdict):
    node = mesh_of("bob", "carol")
    node.message("bob", said(), verdict=None)
    assert node.judge(verdict) == []
    counters = node.router.counters.topics[TOPIC]
    assert (counters.ignored, counters.rejected) == ((1, 0) if verdict == "ignore" else (0, 1))


def test_an_ignored_message_is_not_looked_at_again():
    node = mesh_of("bob", "carol")
    node.message("bob", said(), verdict="ignore")
    assert node.message("carol", said()) == []


def test_a_rejected_message_does_not_hide_a_true_one():
    """A forgery has the author and the id of another message, and not its signature."""
    node = mesh_of("bob", "mallory", "carol")
    node.message("mallory", said(data=b"forged"), verdict="reject")
    assert delivered(node.message("bob", said())) == [said()]


def test_a_forgery_under_validation_does_not_hide_a_true_message():
    node = mesh_of("bob", "mallory", "carol")
    (forged,) = node.message("mallory", said(data=b"forged"), verdict=None)
    (true,) = node.message("bob", said(), verdict=None)
    assert delivered(node.handle(Validated(true.ticket, "accept"))) == [said()]
    assert node.handle(Validated(forged.ticket, "reject")) == []
    assert node.score("mallory") < 0
    assert node.score("bob") > 0


def test_an_author_who_signs_two_messages_with_one_id_gets_one_through():
    node = mesh_of("bob", "carol")
    (one,) = node.message("bob", said(data=b"one"), verdict=None)
    (two,) = node.message("carol", said(data=b"two"), verdict=None)
    assert delivered(node.handle(Validated(one.ticket, "accept"))) == [said(data=b"one")]
    assert node.handle(Validated(two.ticket, "accept")) == []


def test_the_same_id_of_two_authors_is_two_messages():
    node = mesh_of("bob", "carol")
    assert delivered(node.message("bob", said("alice"))) == [said("alice")]
    assert delivered(node.message("bob", said("mallory"))) == [said("mallory")]


def test_a_verdict_after_the_topic_was_left_does_nothing():
    node = mesh_of("bob", "carol")
    (wanted,) = node.message("bob", said(), verdict=None)
    node.leave()
    assert node.handle(Validated(wanted.ticket, "accept")) == []
    assert node.handle(Validated(wanted.ticket, "accept")) == []


@pytest.mark.parametrize("verdict", ["accept", "reject"])
def test_who_sent_a_message_may_be_gone_when_it_is_judged(verdict):
    node = mesh_of("bob", "carol")
    node.message("bob", said(), verdict=None)
    wanted = node.outputs
    node.message("carol", said(), verdict=None)
    node.part("bob", "carol")
    node.outputs = wanted
    assert delivered(node.judge(verdict)) == ([said()] if verdict == "accept" else [])


def test_a_validator_that_hangs_loses_its_message_only():
    node = mesh_of("bob", "carol")
    (wanted,) = node.message("bob", said(), verdict=None)
    node.wait(40)
    assert node.router.counters.validations_expired == 1
    assert node.router.counters.topics[TOPIC].ignored == 1
    assert node.handle(Validated(wanted.ticket, "accept")) == []
    assert delivered(node.message("bob", said(number=2))) == [said(number=2)]


def test_too_many_validations_are_dropped_and_may_come_again():
    node = mesh_of("bob", "carol", bounds=small(validations=1))
    (wanted,) = node.message("bob", said(), said(number=2), verdict=None)
    assert node.router.counters.topics[TOPIC].throttled == 1
    node.handle(Validated(wanted.ticket, "accept"))
    assert delivered(node.message("carol", said(number=2))) == [said(number=2)]


# --- what is malformed ---------------------------------------------------------------------------------------------


def test_a_malformed_message_of_a_joined_topic_is_an_invalid_one():
    node = mesh_of("bob")
    node.receive("bob", Rpc(malformed=(Malformed(TOPIC, "bad_signature", True),)))
    assert node.parts("bob").topics[0].p4 == -160
    assert node.router.counters.topics[TOPIC].rejected == 1


@pytest.mark.parametrize("topic", [None, OTHER])
def test_a_malformed_message_of_no_topic_of_ours_is_misbehaviour(topic):
    node = mesh_of("bob")
    for _ in range(2):
        node.receive("bob", Rpc(malformed=(Malformed(topic, "bad_topic", True),)))
    assert node.parts("bob").p7 == -40
    assert node.router.counters.malformed == 2


def test_what_an_honest_peer_may_pass_on_costs_nothing():
    node = mesh_of("bob")
    node.receive("bob", Rpc(malformed=(Malformed(TOPIC, "bad_sender", False),) * 100))
    assert node.score("bob") == 0


def test_rpcs_with_more_than_the_bounds_lead_to_the_graylist():
    node = mesh_of("bob", "carol")
    for _ in range(3):
        assert not node.router.graylisted("bob")
        node.receive("bob", Rpc(dropped=1_000_000))
    assert node.router.graylisted("bob")
    assert not node.router.graylisted("nobody")
    assert node.message("bob", said()) == []
    node.unsubscribe("bob", TOPIC)
    assert node.router.subscribers(TOPIC) == ("bob", "carol")
    assert node.router.counters.graylisted == 2
    assert node.router.ignores("bob")
    assert not node.router.ignores("carol")
    assert node.router.counters.graylisted == 3


def test_rpcs_of_explicit_peers_are_always_accepted():
    node = Driven()
    node.join()
    node.meet("bob", direct=True)
    node.application_score("bob", -10_000)
    assert not node.router.graylisted("bob")
    assert delivered(node.message("bob", said())) == [said()]


def test_subscriptions_of_a_peer_are_bounded():
    node = Driven(bounds=small(peer_topics=3))
    node.meet("bob", topic=None)
    node.subscribe("bob", *"abcde")
    assert [len(node.router.subscribers(topic)) for topic in "abcde"] == [1, 1, 1, 0, 0]
    assert node.router.counters.dropped_entries == 2
    node.unsubscribe("bob", "a")
    node.subscribe("bob", "e", "b")
    assert node.router.subscribers("e") == ("bob",)


def test_subscriptions_of_all_peers_are_bounded_but_for_joined_topics():
    node = Driven(bounds=small(topics_total=2))
    node.join()
    node.meet("bob", "carol", topic=None)
    node.subscribe("bob", "a", "b", "c")
    node.subscribe("carol", "a", TOPIC)
    assert node.router.subscribers("c") == ()
    assert node.router.subscribers("a") == ("bob",)
    assert node.router.subscribers(TOPIC) == ("carol",)


# --- publishing: gossipsub-v1.1 "Flood Publishing" ------------------------------------------------------------------


def test_an_own_message_goes_to_every_subscriber():
    node = Driven()
    node.meet(*(f"peer-{number}" for number in range(20)))
    node.meet("stranger", topic=OTHER)
    node.join()
    outputs = node.publish(said(ME))
    assert [each.priority for each in outputs] == [Priority.OWN]
    assert sorted(receivers(outputs, said(ME))) == sorted(f"peer-{number}" for number in range(20))
    assert node.router.counters.topics[TOPIC].published == 1


def test_an_own_message_goes_out_once():
    node = mesh_of("bob")
    assert len(node.publish(said(ME))) == 1
    assert node.publish(said(ME)) == []


def test_a_message_without_anybody_to_send_to():
    node = mesh_of()
    assert node.publish(said(ME)) == []


# --- time -----------------------------------------------------------------------------------------------------------


def test_heartbeats_come_at_their_times():
    node = Driven(now=5.0)
    first = node.router.deadline()
    assert 5 <= first < 6
    node.now = first - 0.001
    assert node.handle(Tick()) == []
    assert node.router.deadline() == first
    node.now = first + 0.25
    node.handle(Tick())
    assert node.router.deadline() == first + 1
    assert node.router.counters.heartbeats == 1


def test_after_a_sleep_there_is_one_heartbeat():
    node = Driven()
    node.beat()
    node.now += 3600
    node.handle(Tick())
    assert node.router.deadline() == node.now + 1
    counters = node.router.counters
    assert counters.heartbeats == 2
    assert counters.heartbeats_skipped == 3599


def test_a_message_is_forgotten_after_a_while():
    node = mesh_of("bob", "carol")
    node.message("bob", said())
    node.wait(119)
    assert node.message("carol", said()) == []
    node.wait(5)
    assert delivered(node.message("carol", said())) == [said()]


def test_a_left_topic_ends_its_numbers():
    node = mesh_of("bob")
    node.leave()
    assert node.router.counters.topics == {}


def test_leaving_peers_are_forgotten_everywhere():
    node = mesh_of("bob")
    node.handle(PeerLeft("bob"))
    assert node.mesh == set()
    assert node.router.scores() == []
    assert sends(node.publish(said(ME))) == []
