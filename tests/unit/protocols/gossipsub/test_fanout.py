"""Publishing to a topic that is not joined: gossipsub-v1.0 "Fanout Maintenance". Messages over the size of flood
publishing need it; here all are."""

from __future__ import annotations

from tests.harness.gossipsub import ME, TOPIC, Driven, controls, receivers, said


def outsider(*names, **params):
    node = Driven(flood_publish_bytes=0, **params)
    node.meet(*names)
    return node


def crowd(count, prefix="peer"):
    return [f"{prefix}-{number}" for number in range(count)]


def published(node, number):
    return set(receivers(node.publish(said(ME, number)), said(ME, number)))


def test_the_same_peers_get_every_message():
    node = outsider(*crowd(30))
    first = published(node, 1)
    assert len(first) == 6
    assert published(node, 2) == first


def test_it_ends_when_nothing_is_published():
    node = outsider(*crowd(100))
    first = published(node, 1)
    node.wait(59)
    assert published(node, 2) == first
    node.wait(62)
    assert published(node, 3) != first


def test_who_leaves_is_replaced():
    node = outsider(*crowd(30))
    first = sorted(published(node, 1))
    node.part(first[0])
    node.unsubscribe(first[1], TOPIC)
    node.application_score(first[2], -1001)
    node.beat()
    second = published(node, 2)
    assert len(second) == 6
    assert second > set(first[3:])
    assert not second & set(first[:3])


def test_peers_below_the_publish_threshold_get_nothing():
    node = outsider("bob", "carol")
    node.application_score("bob", -1000)
    node.application_score("carol", -1000.1)
    assert published(node, 1) == {"bob"}


def test_it_waits_for_subscribers():
    node = outsider()
    assert published(node, 1) == set()
    node.meet("bob")
    assert published(node, 2) == {"bob"}


def test_explicit_peers_are_added():
    node = outsider("bob")
    node.meet("carol", direct=True)
    assert published(node, 1) == {"bob", "carol"}


def test_others_hear_of_it_by_gossip():
    node = outsider(*crowd(30))
    fanout = published(node, 1)
    outputs = node.beat()
    assert len(controls(outputs, "ihave")) == 1
    assert len(outputs[0].peers) == 6
    assert not fanout & set(outputs[0].peers)
