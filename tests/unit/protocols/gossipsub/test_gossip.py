"""IHAVE and IWANT: gossipsub-v1.0 "Gossip Emission"; gossipsub-v1.1 "Adaptive Gossip Dissemination", "Spam Protection
Measures"; specs/gossipsub.md §4 for ids that several authors use."""

from __future__ import annotations

import pytest

from nexusd_protocols.gossipsub.inputs import Tick, Version
from nexusd_protocols.gossipsub.outputs import Priority
from nexusd_protocols.gossipsub.rpc import Control, IHave, IWant, Rpc
from tests.harness.gossipsub import ME, TOPIC, Driven, controls, delivered, said, sends, small

ONE = said().seqno


def crowd(count, prefix="peer"):
    return [f"{prefix}-{number}" for number in range(count)]


def busy(*outside, **params):
    """A router with bob in its mesh, and others outside of it."""
    node = Driven(d=1, d_low=1, d_high=1, d_score=1, d_out=0, **params)
    node.meet("bob")
    node.join()
    node.meet(*outside)
    return node


def offers(node):
    """Who was offered what at the next heartbeat."""
    return {
        peer: each.rpc.control.ihave[0].message_ids
        for each in node.beat()
        if each.rpc.control.ihave
        for peer in each.peers
    }


# --- emission -------------------------------------------------------------------------------------------------------


def test_recent_messages_are_offered_for_three_heartbeats():
    node = busy("carol")
    node.message("bob", said(), said(number=2))
    for _ in range(3):
        assert {peer: set(ids) for peer, ids in offers(node).items()} == {"carol": {ONE, said(number=2).seqno}}
    assert offers(node) == {}
    assert node.router.counters.ihave_ids_sent == 6


def test_gossip_is_the_lowest_class():
    node = busy("carol")
    node.message("bob", said())
    (send,) = node.beat()
    assert send.priority is Priority.GOSSIP
    assert send.rpc == Rpc(control=Control(ihave=(IHave(TOPIC, (ONE,)),)))


def test_own_messages_are_offered_too():
    node = busy("carol")
    node.publish(said(ME))
    assert offers(node) == {"carol": (ONE,)}


@pytest.mark.parametrize(("outside", "chosen"), [(3, 3), (6, 6), (20, 6), (24, 6), (40, 10), (100, 25)])
def test_a_quarter_and_at_least_d_lazy_are_told(outside, chosen):
    node = busy(*crowd(outside))
    node.message("bob", said())
    assert len(offers(node)) == chosen


def test_who_is_not_told():
    node = busy("carol")
    node.meet("direct", direct=True)
    node.meet("flood", version=Version.FLOODSUB)
    node.meet("elsewhere", topic="other")
    node.meet("liar", "beggar")
    node.application_score("liar", -500.1)
    node.application_score("beggar", -500)
    node.message("bob", said())
    assert set(offers(node)) == {"carol", "beggar"}


def test_a_newcomer_is_offered_the_newest_of_too_many():
    node = busy(max_ihave_length=2, greet=True)
    node.message("bob", *(said(number=number) for number in range(5)))
    node.part("bob")
    node.meet("carol")
    assert offers(node) == {"carol": (said(number=4).seqno, said(number=3).seqno)}


def test_messages_of_before_a_sleep_are_not_offered():
    """Others have forgotten that they had them, and would take them for new."""
    node = busy("carol")
    node.message("bob", said())
    node.now = node.router.deadline() + 200
    assert controls(node.handle(Tick()), "ihave") == []


def test_nobody_to_tell():
    node = busy()
    node.message("bob", said())
    assert node.beat() == []


def test_too_many_ids_are_shared_out():
    node = busy(*crowd(6), max_ihave_length=10)
    node.message("bob", *(said(number=number) for number in range(30)))
    told = offers(node)
    assert [len(ids) for ids in told.values()] == [10] * 6
    assert len({frozenset(ids) for ids in told.values()}) > 1
    assert len({wire_id for ids in told.values() for wire_id in ids}) > 20


def test_an_id_of_two_authors_is_offered_twice():
    node = busy("carol")
    node.message("bob", said("alice"), said("mallory"))
    assert offers(node) == {"carol": (ONE, ONE)}


# --- IHAVE ----------------------------------------------------------------------------------------------------------


def test_what_is_not_known_is_asked_for():
    node = busy("carol")
    node.message("bob", said())
    (send,) = node.ihave("carol", ONE, said(number=2).seqno)
    assert send.rpc == Rpc(control=Control(iwant=(IWant((said(number=2).seqno,)),)))
    assert (send.peers, send.priority) == (("carol",), Priority.CONTROL)
    assert node.router.counters.iwant_ids_sent == 1


def test_nothing_to_ask_for():
    node = busy("carol")
    node.message("bob", said())
    assert node.ihave("carol", ONE) == []
    assert node.ihave("carol", b"x", topic="not joined") == []
    assert node.ihave("carol") == []


def test_an_ignored_message_does_not_hide_another_with_its_id():
    node = busy("carol")
    node.message("bob", said("mallory"), verdict="ignore")
    assert controls(node.ihave("carol", ONE), "iwant") == [IWant((ONE,))]


def test_an_id_that_is_offered_more_often_than_it_is_known_is_asked_for():
    node = busy("carol")
    node.message("bob", said("mallory"))
    assert node.ihave("carol", ONE) == []
    assert controls(node.ihave("carol", ONE, ONE), "iwant") == [IWant((ONE,))]
    node.message("bob", said("alice"))
    assert node.ihave("carol", ONE, ONE) == []


def test_gossip_of_peers_below_the_threshold_is_ignored():
    node = busy("carol")
    node.application_score("carol", -500.1)
    assert node.ihave("carol", ONE) == []
    node.application_score("carol", -500)
    assert node.ihave("carol", ONE) != []


def test_ihaves_are_capped_per_heartbeat():
    node = busy("carol", max_ihave_messages=3)
    asked = [bool(node.ihave("carol", bytes([number]))) for number in range(5)]
    assert asked == [True, True, True, False, False]
    node.beat()
    assert node.ihave("carol", b"again")


def in_many_rooms(count, *outside, **params):
    """A router that has heard one message in each of so many rooms, of which the others are no mesh members."""
    node = busy(**params)
    rooms = [f"/nexus/room/{number}" for number in range(count)]
    for peer in ("bob", *outside):
        node.meet(peer, topic=None)
    node.subscribe("bob", *rooms)
    for room in rooms:
        node.join(room)
    for peer in outside:
        node.subscribe(peer, *rooms)
    for number, room in enumerate(rooms):
        node.message("bob", said(number=number, topic=room))
    return node, rooms


def test_all_rooms_are_offered_in_one_rpc():
    node, rooms = in_many_rooms(30, "carol", "dave")
    (send,) = [each for each in node.beat() if each.rpc.control.ihave]
    assert set(send.peers) == {"carol", "dave"}
    assert {offer.topic for offer in send.rpc.control.ihave} == set(rooms)
    assert node.router.counters.ihave_ids_sent == 60


def test_who_shares_other_rooms_is_offered_those():
    node, rooms = in_many_rooms(3, "carol", "dave")
    node.unsubscribe("dave", rooms[0])
    sent = {peer: each.rpc.control.ihave for each in node.beat() for peer in each.peers}
    assert [offer.topic for offer in sent["carol"]] == rooms
    assert [offer.topic for offer in sent["dave"]] == rooms[1:]


def test_rooms_with_too_many_ids_for_one_rpc_take_several():
    node, rooms = in_many_rooms(7, "carol", max_ihave_length=3)
    sent = controls_by_rpc(node.beat())
    assert [len(offers) for offers in sent] == [3, 3, 1]
    assert [offer.topic for offers in sent for offer in offers] == rooms
    assert node.beat() != []
    assert node.beat(3) == []


def controls_by_rpc(outputs):
    return [each.rpc.control.ihave for each in outputs if each.rpc.control.ihave]


def test_what_a_neighbour_in_thirty_rooms_offers_is_asked_for():
    node, rooms = in_many_rooms(30, "carol")
    lacking = tuple(IHave(room, (b"new %d" % number,)) for number, room in enumerate(rooms))
    (want,) = controls(node.receive("carol", Rpc(control=Control(ihave=lacking))), "iwant")
    assert len(want.message_ids) == 30


def test_ids_asked_for_are_capped_per_heartbeat():
    node = busy("carol", max_ihave_length=10)
    for count in (7, 3, 0):
        outputs = node.ihave("carol", *(bytes([number, count]) for number in range(7)))
        assert sum(len(each.message_ids) for each in controls(outputs, "iwant")) == count
    node.beat()
    assert node.ihave("carol", b"again")


# --- promises -------------------------------------------------------------------------------------------------------


def lied_to(count):
    node = busy("carol", "dave")
    for number in range(count):
        node.ihave("carol", b"lie" + bytes([number]))
        node.beat()
    return node


def test_a_broken_promise_is_misbehaviour():
    node = lied_to(9)
    node.wait(4)
    assert node.router.counters.promises_broken == 9
    assert node.parts("carol").p7 < -50


def test_liars_are_soon_not_listened_to():
    node = lied_to(40)
    node.wait(4)
    assert node.score("carol") < -500
    assert node.router.counters.promises_broken < 20
    assert node.ihave("carol", b"one more lie") == []


def test_a_promise_is_kept_by_anybody_and_by_any_message_with_the_id():
    node = busy("carol")
    node.ihave("carol", ONE)
    node.message("bob", said())
    node.wait(5)
    assert node.router.counters.promises_broken == 0


def test_a_promise_of_who_left_is_forgotten():
    node = busy("carol")
    node.ihave("carol", ONE)
    node.part("carol")
    node.wait(5)
    assert node.router.counters.promises_broken == 0


def test_promises_are_forgiven_when_we_slept():
    node = busy("carol")
    node.ihave("carol", ONE)
    node.now += 100
    node.handle(Tick())
    node.wait(5)
    assert node.router.counters.promises_broken == 0


# --- IWANT ----------------------------------------------------------------------------------------------------------


def test_what_is_wanted_is_sent_three_times_at_most():
    node = busy("carol", "dave")
    node.message("bob", said())
    for _ in range(3):
        (send,) = node.iwant("carol", ONE)
        assert send.rpc == Rpc(messages=(said(),))
        assert (send.peers, send.priority) == (("carol",), Priority.GOSSIP)
    assert node.iwant("carol", ONE) == []
    assert len(node.iwant("dave", ONE)) == 1


def test_what_is_not_in_the_cache_is_not_sent():
    node = busy("carol")
    node.message("bob", said())
    assert node.iwant("carol", b"unknown") == []
    node.beat(5)
    assert node.iwant("carol", ONE) == []


def test_a_message_can_be_asked_for_longer_than_it_is_offered():
    node = busy("carol")
    node.message("bob", said())
    node.beat(4)
    assert len(node.iwant("carol", ONE)) == 1


def test_peers_below_the_gossip_threshold_get_nothing():
    node = busy("carol")
    node.message("bob", said())
    node.application_score("carol", -500.1)
    assert node.iwant("carol", ONE) == []


def test_all_messages_with_an_id_are_sent_so_that_none_is_hidden():
    node = busy("carol")
    authors = ["mallory", "mallet", "trudy", "alice"]
    node.message("bob", *(said(author) for author in authors))
    assert {rpc.messages[0].sender for rpc in sends(node.iwant("carol", ONE))} == set(authors)


def test_of_many_messages_with_an_id_those_first_that_were_sent_least():
    node = busy("carol")
    node.message("bob", *(said(f"mallory-{number}") for number in range(6)), said("alice"))
    first, second = (sends(node.iwant("carol", ONE)) for _ in range(2))
    assert len(first) == len(second) == 4
    assert {rpc.messages[0].sender for rpc in first + second} >= {"alice"}


def test_bytes_in_answer_to_iwant_are_bounded_per_heartbeat():
    node = busy("carol", bounds=small(iwant_bytes=25))
    node.message("bob", *(said(number=number, data=bytes(10)) for number in range(3)))
    ids = [said(number=number).seqno for number in range(3)]
    assert len(sends(node.iwant("carol", *ids))) == 2
    assert sends(node.iwant("carol", *ids)) == []
    node.beat()
    assert len(sends(node.iwant("carol", *ids))) == 2


def test_ids_in_iwants_are_bounded():
    node = busy("carol", max_ihave_length=4)
    node.message("bob", said())
    rpc = Rpc(control=Control(iwant=(IWant((b"x", b"y", b"z")), IWant((b"x", ONE)), IWant((ONE,)))))
    assert node.receive("carol", rpc) == []
    assert node.router.counters.iwant_ids_received == 6


def test_a_message_by_iwant_is_delivered_and_passed_on():
    node = busy("carol")
    node.ihave("carol", ONE)
    outputs = node.message("carol", said())
    assert delivered(outputs) == [said()]
    assert sends(outputs, "bob") == [Rpc(messages=(said(),))]


# --- counted ----------------------------------------------------------------------------------------------------------


def test_gossip_is_counted_by_topic():
    node = busy("carol")
    node.join("other")
    node.message("bob", said())
    node.beat()
    node.iwant("carol", ONE, b"unknown")
    node.ihave("carol", b"new", ONE)
    node.ihave("carol", b"elsewhere", topic="other")
    node.ihave("carol", b"strange", topic="not joined")
    node.wait(4)
    counters = node.router.counters.topics[TOPIC]
    assert counters.ihave_ids_sent == 3  # one at each of three heartbeats
    assert counters.iwant_messages_sent == 1
    assert (counters.ihave_ids_received, counters.iwant_ids_sent, counters.promises_broken) == (2, 1, 1)
    other = node.router.counters.topics["other"]
    assert (other.ihave_ids_received, other.iwant_ids_sent, other.promises_broken) == (1, 1, 1)
    assert set(node.router.counters.topics) == {TOPIC, "other"}
