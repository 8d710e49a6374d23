"""Floods of one peer: bounded work, bounded answers, and an end of it (specs/gossipsub.md §5)."""

from __future__ import annotations

import pytest

from nexusd_protocols.gossipsub.outputs import Validate
from nexusd_protocols.gossipsub.rpc import Control, Graft, IDontWant, IHave, IWant, Malformed, Prune, Rpc, Subscription
from tests.harness.gossipsub import TOPIC, Driven, check_invariants, controls, delivered, said, small

MANY = 5000


def room(*names, **params):
    """bob and carol in the mesh, and mallory."""
    node = Driven(**params)
    node.join()
    node.meet("bob", "carol", "mallory")
    return node


def still_works(node, number=999_999):
    """Honest messages arrive."""
    check_invariants(node.router)
    assert delivered(node.message("bob", said(number=number))) == [said(number=number)]


def test_grafts_and_prunes_in_one_rpc_are_answered_once():
    node = room()
    node.prune("mallory")
    outputs = node.receive("mallory", Rpc(control=Control(graft=(Graft(TOPIC),) * MANY, prune=(Prune(TOPIC),) * MANY)))
    assert len(controls(outputs, "prune")) == 1
    assert node.router.graylisted("mallory")
    still_works(node)


def test_subscribing_to_and_fro_is_answered_once():
    node = room()
    node.part("bob", "carol")
    flapping = tuple(Subscription(TOPIC, bool(number % 2)) for number in range(MANY))
    outputs = node.receive("mallory", Rpc(subscriptions=flapping))
    assert len(controls(outputs, "graft")) <= 1
    node.meet("bob")
    still_works(node)


def test_subscriptions_to_everything():
    node = room()
    for start in range(0, 4 * MANY, MANY):
        topics = tuple(Subscription(f"topic-{number}", True) for number in range(start, start + MANY))
        assert node.receive("mallory", Rpc(subscriptions=topics)) == []
    assert len(node.router.subscriptions("mallory")) == 1024
    still_works(node)


def test_a_flood_of_messages_under_validation():
    node = room(bounds=small(validations=100, validations_per_peer=30))
    outputs = node.receive("mallory", Rpc(messages=tuple(said("mallory", number) for number in range(MANY))))
    assert len([each for each in outputs if isinstance(each, Validate)]) == 30
    assert node.router.counters.topics[TOPIC].throttled == MANY - 30
    still_works(node)


def test_forgeries_end_on_the_graylist():
    node = room()
    for number in range(100):
        node.message("mallory", said("alice", number, data=b"forged"), verdict="reject")
    assert node.router.counters.topics[TOPIC].rejected <= 5
    assert node.router.graylisted("mallory")
    still_works(node)


def test_unsigned_messages_end_on_the_graylist():
    node = room()
    node.receive("mallory", Rpc(malformed=(Malformed(TOPIC, "bad_signature", True),) * 5))
    assert node.router.graylisted("mallory")
    still_works(node)


def test_replayed_messages_cost_nothing_and_give_nothing():
    node = room()
    node.message("bob", said())
    before = node.score("mallory")
    for _ in range(100):
        assert node.message("mallory", said()) == []
    assert node.score("mallory") == before
    still_works(node)


@pytest.mark.parametrize(("rounds", "graylisted"), [(1, False), (100, False), (150, True)])
def test_ihaves_of_nothing(rounds, graylisted):
    node = room()
    asked = 0
    for number in range(rounds):
        lies = tuple(IHave(TOPIC, (b"%d-%d" % (number, each),) * 3) for each in range(100))
        asked += len(controls(node.receive("mallory", Rpc(control=Control(ihave=lies))), "iwant"))
    assert asked <= 10
    assert node.router.graylisted("mallory") == graylisted
    still_works(node)


def test_iwants_of_everything():
    node = room()
    node.message("bob", *(said(number=number) for number in range(100)))
    every = tuple(said(number=number).seqno for number in range(100))
    sent = 0
    for _ in range(50):
        sent += len(node.receive("mallory", Rpc(control=Control(iwant=(IWant(every * 50),) * 10))))
    assert sent == 300  # three times each
    assert node.router.graylisted("mallory")
    still_works(node)


def test_idontwants_of_everything():
    node = room()
    for number in range(30):
        rest = tuple(IDontWant((b"%d-%d" % (number, each),) * 20) for each in range(MANY))
        assert node.receive("mallory", Rpc(control=Control(idontwant=rest))) == []
    assert node.router.counters.idontwant_ids_received == 10_000
    assert node.router.graylisted("mallory")
    still_works(node)


def test_what_is_over_a_cap_and_no_flood_costs_nothing():
    node = room()
    for number in range(100):
        node.ihave("mallory", b"known")
        node.receive("mallory", Rpc(control=Control(iwant=(IWant((b"nothing",) * 500),))))
        node.receive("mallory", Rpc(control=Control(idontwant=(IDontWant((b"%d" % number,)),) * 100)))
    assert node.parts("mallory").p7 == 0
    still_works(node)


def test_sybils_that_come_and_go():
    node = room(bounds=small(backoffs=50))
    for number in range(300):
        sybil = f"sybil-{number}"
        node.meet(sybil)
        node.graft(sybil)
        node.message(sybil, said(sybil, number), verdict="reject")
        node.part(sybil)
        if number % 50 == 0:
            node.beat()
    still_works(node)


def test_a_leap_of_the_clock_breaks_nothing():
    node = room()
    for seconds in (1, 10, 1e3, 1e6, 1e9):
        node.message("bob", said(number=int(seconds)))
        node.ihave("mallory", b"lie %d" % seconds)
        node.graft("mallory")
        node.now += seconds
        node.beat()
        still_works(node, int(seconds) + 7)
    assert node.mesh == {"bob", "carol", "mallory"}
