"""Who is sent a message: gossipsub-v1.1 "Flood Publishing"; gossipsub-v1.2 "IDONTWANT Message"; what counts for P3."""

from __future__ import annotations

import pytest

from nexusd_protocols.gossipsub.inputs import Version
from nexusd_protocols.gossipsub.outputs import Priority, Send
from nexusd_protocols.gossipsub.params import ScoreParams, TopicScoreParams
from nexusd_protocols.gossipsub.rpc import Control, IDontWant, Rpc
from tests.harness.gossipsub import ME, TOPIC, Driven, controls, receivers, said, small

LARGE = bytes(1024)
ONE = said().seqno


def mesh_of(*names, version=Version.V1_2, **params):
    node = Driven(**params)
    node.meet(*names, version=version)
    node.join()
    assert node.mesh == set(names)
    return node


def crowd(count, prefix="peer"):
    return [f"{prefix}-{number}" for number in range(count)]


# --- own messages ---------------------------------------------------------------------------------------------------


def test_small_messages_go_to_all_above_the_publish_threshold():
    node = mesh_of()
    node.meet(*crowd(20))
    node.meet("flood", version=Version.FLOODSUB)
    node.meet("direct", direct=True)
    node.application_score("peer-0", -1000.1)
    node.application_score("peer-1", -1000)
    node.application_score("direct", -9999)
    assert set(receivers(node.publish(said(ME)), said(ME))) == {*crowd(20)[1:], "flood", "direct"}


def test_large_messages_go_to_the_mesh():
    node = Driven()
    node.meet(*crowd(30))
    node.meet("flood", version=Version.FLOODSUB)
    node.join()
    message = said(ME, data=bytes(16 * 1024 + 1))
    (send,) = node.publish(message)
    assert set(send.peers) == node.mesh | {"flood"}
    assert send.priority is Priority.OWN
    smaller = said(ME, 2, data=bytes(16 * 1024))
    assert len(receivers(node.publish(smaller), smaller)) == 31


def test_a_thin_mesh_is_topped_up_for_large_messages():
    node = mesh_of()
    node.meet(*crowd(30))
    for peer in crowd(30):
        node.prune(peer)
    message = said(ME, data=bytes(20_000))
    assert len(receivers(node.publish(message), message)) == 6


def test_messages_of_others_go_to_the_mesh_only():
    node = mesh_of(*crowd(6))
    node.meet(*crowd(20, "outside"))
    assert set(receivers(node.message("peer-0", said()), said())) == set(crowd(6)) - {"peer-0"}


# --- IDONTWANT ------------------------------------------------------------------------------------------------------


def test_members_are_told_of_large_messages_before_they_are_forwarded():
    node = mesh_of("bob", "carol", "dave")
    message = said(data=LARGE)
    assert len(node.message("bob", message, verdict=None)) == 1  # nothing is said before the signature was checked
    _, told, sent = node.judge()
    assert told.rpc == Rpc(control=Control(idontwant=(IDontWant((ONE,)),)))
    assert (told.priority, set(told.peers)) == (Priority.CONTROL, {"carol", "dave"})
    assert sent.rpc.messages == (message,)
    assert node.router.counters.idontwant_ids_sent == 2


@pytest.mark.parametrize(
    ("size", "version", "told"),
    [(1023, Version.V1_2, False), (1024, Version.V1_2, True), (1024, Version.V1_1, False), (1024, Version.V1_0, False)],
)
def test_who_is_told_and_of_what(size, version, told):
    node = mesh_of("bob", "carol", version=version)
    outputs = node.message("bob", said(data=bytes(size)))
    assert bool(controls(outputs, "idontwant", "carol")) == told


def test_a_rejected_message_is_not_announced():
    node = mesh_of("bob", "carol")
    assert controls(node.message("bob", said(data=LARGE), verdict="reject"), "idontwant") == []


def test_members_are_told_so_often_per_heartbeat():
    node = mesh_of("bob", "carol", max_idontwant_messages=2)
    told = [
        len(controls(node.message("bob", said(number=number, data=LARGE)), "idontwant", "carol")) for number in range(4)
    ]
    assert told == [1, 1, 0, 0]
    node.beat()
    assert controls(node.message("bob", said(number=9, data=LARGE)), "idontwant", "carol")


def test_who_has_a_message_is_spared():
    node = mesh_of("bob", "carol", "dave")
    assert node.idontwant("carol", ONE) == []
    assert receivers(node.message("bob", said()), said()) == ["dave"]
    assert node.router.counters.sends_spared == 1


def test_it_is_forgotten_after_three_seconds():
    node = mesh_of("bob", "carol")
    node.idontwant("carol", ONE)
    node.beat(5)
    assert receivers(node.message("bob", said()), said()) == ["carol"]


def test_it_can_be_said_again():
    node = mesh_of("bob", "carol")
    node.idontwant("carol", ONE)
    node.beat(2)
    node.idontwant("carol", ONE)
    node.beat(2)
    assert receivers(node.message("bob", said()), said()) == []


def test_a_flood_of_it_is_bounded():
    node = mesh_of("bob", "carol", max_idontwant_messages=3, max_idontwant_length=2)
    for number in range(10):
        node.idontwant("carol", *(bytes([number, each]) for each in range(5)))
    assert node.router.counters.idontwant_ids_received == 6
    node.idontwant("carol", ONE)
    assert receivers(node.message("bob", said()), said()) == ["carol"]
    node.beat()
    node.idontwant("carol", said(number=2).seqno)
    assert receivers(node.message("bob", said(number=2)), said(number=2)) == []


def test_of_too_many_ids_the_oldest_are_forgotten():
    node = mesh_of("bob", "carol", bounds=small(dont_want=3))
    node.idontwant("carol", *(said(number=number).seqno for number in range(5)))
    for number, receivers_expected in ((0, ["carol"]), (1, ["carol"]), (2, []), (4, [])):
        message = said(number=number)
        assert receivers(node.message("bob", message), message) == receivers_expected


def test_own_messages_are_sent_anyhow():
    node = mesh_of("bob")
    node.idontwant("bob", ONE)
    assert receivers(node.publish(said(ME)), said(ME)) == ["bob"]


def test_another_s_message_with_the_same_id_does_not_keep_ours_away():
    """Carol has mallory's message, says that she does not want its id, and needs alice's, which has the same."""
    node = mesh_of("bob", "carol", "dave")
    node.message("bob", said("mallory"))
    node.idontwant("carol", ONE)
    assert set(receivers(node.message("bob", said("alice")), said("alice"))) == {"carol", "dave"}


def test_who_was_skipped_gets_the_message_once_another_with_its_id_turns_up():
    node = mesh_of("bob", "carol", "dave")
    node.idontwant("carol", ONE)
    assert receivers(node.message("bob", said("alice")), said("alice")) == ["dave"]
    outputs = node.message("bob", said("mallory"))
    assert receivers(outputs, said("alice")) == ["carol"]
    assert set(receivers(outputs, said("mallory"))) == {"carol", "dave"}
    assert receivers(node.message("dave", said("trudy")), said("alice")) == []


def test_who_was_skipped_may_be_gone():
    node = mesh_of("bob", "carol")
    node.idontwant("carol", ONE)
    node.message("bob", said("alice"))
    node.part("carol")
    assert [each for each in node.message("bob", said("mallory")) if isinstance(each, Send)] == []


# --- near-first deliveries ------------------------------------------------------------------------------------------

P3 = ScoreParams(
    topic=TopicScoreParams(
        mesh_message_deliveries_weight=-1.0,
        mesh_message_deliveries_activation=0.5,
        mesh_message_deliveries_threshold=3.0,
        mesh_message_deliveries_decay=0.999999,
        mesh_message_deliveries_window=0.1,
    )
)


def deliveries(node, *peers):
    """What counts for P3: the deficit says it, once active; the application's favour keeps the peers in the mesh."""
    for peer in peers:
        node.application_score(peer, 100)
    node.beat(2)
    return [round(3 - (-node.parts(peer).topics[0].p3) ** 0.5, 3) for peer in peers]


def test_copies_count_while_the_message_is_checked_and_soon_after():
    node = mesh_of("bob", "carol", "dave", "erin", score=P3)
    node.message("bob", said(), verdict=None)
    wanted = node.outputs
    node.message("carol", said(), verdict=None)
    node.outputs = wanted
    node.judge()
    node.now += 0.05
    for _ in range(3):
        node.message("dave", said())
        node.message("carol", said())
    node.now += 0.1
    node.message("erin", said())
    assert deliveries(node, "bob", "carol", "dave", "erin") == [1, 1, 1, 0]


def test_a_copy_of_our_own_message_counts_for_nobody():
    node = mesh_of("bob", score=P3)
    node.publish(said("second agent"))
    node.message("bob", said("second agent"))
    assert deliveries(node, "bob") == [0]


def test_a_copy_of_what_was_ignored_counts_for_nobody():
    node = mesh_of("bob", "carol", score=P3)
    node.message("bob", said(), verdict="ignore")
    node.message("carol", said())
    assert deliveries(node, "carol") == [0]


def test_rejected_copies_are_charged_to_all_who_sent_them():
    node = mesh_of("bob", "carol")
    node.message("bob", said(), verdict=None)
    wanted = node.outputs
    node.message("carol", said(), verdict=None)
    node.outputs = wanted
    node.judge("reject")
    assert node.score("bob") == node.score("carol") == -160
    assert node.router.counters.topics[TOPIC].rejected == 1
