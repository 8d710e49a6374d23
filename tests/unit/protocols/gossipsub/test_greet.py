"""Newcomers of a room with few members: ours, and no rule of the specification (specs/gossipsub.md §3)."""

from __future__ import annotations

from tests.harness.gossipsub import TOPIC, Driven, said


def test_a_subscriber_is_grafted_at_once_while_members_are_missing():
    node = Driven(greet=True, d_low=4)
    node.join()
    for count, peer in enumerate(("ann", "bob", "carol", "dan", "eve", "finn"), 1):
        node.meet(peer)
        assert len(node.mesh) == min(count, 4)


def test_not_in_back_off():
    node = Driven(greet=True)
    node.join()
    node.meet("bob")
    node.prune("bob", backoff=60)
    node.unsubscribe("bob", TOPIC)
    node.subscribe("bob", TOPIC)
    assert not node.mesh


def test_not_with_a_bad_score():
    node = Driven(greet=True)
    node.join()
    node.meet("bob", topic=None)
    node.application_score("bob", -1)
    node.beat()
    node.subscribe("bob", TOPIC)
    assert not node.mesh


def offers(node):
    return [
        each.rpc.control.ihave[0].message_ids for each in node.beat() if each.rpc.control and each.rpc.control.ihave
    ]


def test_a_fresh_member_is_offered_what_was_said_before_it_came():
    node = Driven(greet=True)
    node.join()
    node.publish(said(number=1))
    node.meet("bob")
    assert offers(node) == [(said(number=1).seqno,)]
    node.publish(said(number=2))
    assert not offers(node), "it is a member as any"


def test_who_grafted_itself_is_fresh_too():
    node = Driven(greet=True)
    node.join()
    node.publish(said(number=1))
    node.meet("bob", topic=None)
    node.graft("bob")
    assert offers(node)


def test_leaving_forgets_who_is_fresh():
    node = Driven(greet=True)
    node.join()
    node.meet("bob")
    node.leave()
    node.join()
    assert not offers(node)
