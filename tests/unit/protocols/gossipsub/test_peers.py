"""The table of peers."""

from __future__ import annotations

import pytest

from nexusd_protocols.gossipsub.inputs import PeerJoined, Version
from nexusd_protocols.gossipsub.peers import Peer, PeerTable
from nexusd_protocols.gossipsub.score import Scorecard
from tests.harness.gossipsub import small


def peer(name="bob", version=Version.V1_2, **more):
    return Peer(PeerJoined(name, version, **more), Scorecard())


@pytest.mark.parametrize(
    ("protocol", "version"),
    [
        ("/meshsub/1.2.0", Version.V1_2),
        ("/meshsub/1.1.0", Version.V1_1),
        ("/meshsub/1.0.0", Version.V1_0),
        ("/floodsub/1.0.0", Version.FLOODSUB),
        ("/ipfs/ping/1.0.0", None),
    ],
)
def test_versions(protocol, version):
    assert Version.of(protocol) is version


def test_who_can_be_in_a_mesh():
    assert peer().meshable
    assert not peer(version=Version.FLOODSUB).meshable
    assert not peer(direct=True).meshable


def test_subscriptions_are_found_by_topic():
    table = PeerTable(small())
    bob, carol = peer("bob"), peer("carol", direct=True)
    for each in (bob, carol):
        table.add(each)
        assert table.subscribe(each, "t", joined=False)
        assert table.subscribe(each, "t", joined=False)
    assert table.subscribers == {"t": {"bob": bob, "carol": carol}}
    assert table.always == {"t": {"carol": carol}}
    table.unsubscribe(bob, "t")
    table.unsubscribe(bob, "t")
    table.remove(carol)
    assert table.subscribers == table.always == {}
    table.remove(bob)
    assert table.peers == {}


def test_they_are_bounded_for_one_peer_and_for_all():
    table = PeerTable(small(peer_topics=2, topics_total=3))
    bob, carol = peer("bob"), peer("carol")
    table.add(bob)
    table.add(carol)
    assert [table.subscribe(bob, topic, joined=True) for topic in "abc"] == [True, True, False]
    assert [table.subscribe(carol, topic, joined=False) for topic in "ab"] == [True, False]
    assert table.subscribe(carol, "b", joined=True)
    table.remove(bob)
    table.unsubscribe(carol, "a")
    assert table.subscribe(carol, "d", joined=False)


def test_counts_begin_anew_with_each_heartbeat():
    bob = peer()
    bob.renew(1)
    bob.ihaves = 7
    bob.renew(1)
    assert bob.ihaves == 7
    bob.renew(2)
    assert bob.ihaves == 0
