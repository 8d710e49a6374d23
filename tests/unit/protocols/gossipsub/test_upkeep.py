"""The heartbeat's care for the mesh: gossipsub-v1.0 "Mesh Maintenance"; gossipsub-v1.1 "Heartbeat Maintenance",
"Outbound Mesh Quotas", "Opportunistic Grafting"."""

from __future__ import annotations

import pytest

from tests.harness.gossipsub import TOPIC, Driven, controls, said


def crowd(count, prefix="peer"):
    return [f"{prefix}-{number}" for number in range(count)]


def full(count=13, *, seed=1, outbound=0, **params):
    """A router whose mesh has grown to `count` by GRAFTs of others; the last ones are outbound."""
    node = Driven(seed=seed, **params)
    node.join()
    for number, peer in enumerate(crowd(count)):
        node.meet(peer, outbound=number >= count - max(outbound, count - 12))
        node.graft(peer)
    assert len(node.mesh) == count
    return node


def test_a_small_mesh_grows_to_d():
    node = Driven()
    node.join()
    node.meet(*crowd(3))
    node.beat()
    assert node.mesh == set(crowd(3))
    node.meet(*crowd(20, "more"))
    outputs = node.beat()
    assert len(node.mesh) == 6
    assert len(controls(outputs, "graft")) == 3


def test_a_mesh_of_d_low_is_left_alone():
    node = Driven()
    node.join()
    node.meet(*crowd(4))
    node.beat()
    node.meet(*crowd(20, "more"))
    assert controls(node.beat(), "graft") == []
    assert len(node.mesh) == 4


def test_a_mesh_of_d_high_is_left_alone():
    node = full(12)
    assert controls(node.beat(), "prune") == []
    assert len(node.mesh) == 12


@pytest.mark.parametrize("seed", range(10))
def test_a_mesh_over_d_high_shrinks_to_d_and_keeps_the_best(seed):
    node = full(20, seed=seed)
    best = {"peer-3", "peer-5", "peer-7", "peer-8"}
    for number, peer in enumerate(sorted(best)):
        node.message(peer, *(said(peer, each) for each in range(number + 1)))
    outputs = node.beat()
    assert len(node.mesh) == 6
    assert best <= node.mesh
    assert len(controls(outputs, "prune")) == 14


def test_who_is_kept_besides_the_best_is_chance():
    kept = set()
    for seed in range(10):
        node = full(20, seed=seed)
        node.beat()
        kept.add(frozenset(node.mesh))
    assert len(kept) > 5


@pytest.mark.parametrize("seed", range(20))
def test_d_out_outbound_peers_survive(seed):
    node = full(14, seed=seed)  # the last two are outbound
    for peer in crowd(8):
        node.message(peer, *(said(peer, each) for each in range(5)))
    node.beat()
    assert len(node.mesh) == 6
    assert {"peer-12", "peer-13"} <= node.mesh


def test_the_best_stay_when_outbound_peers_take_places():
    for seed in range(20):
        node = full(14, seed=seed)
        for peer in crowd(4):
            node.message(peer, said(peer))
        node.beat()
        assert set(crowd(4)) <= node.mesh


def test_missing_outbound_peers_are_grafted():
    node = Driven()
    node.join()
    node.meet(*crowd(5))
    node.beat()
    assert len(node.mesh) == 5
    node.meet(*crowd(3, "ours"), outbound=True)
    node.meet(*crowd(3, "theirs"))
    outputs = node.beat()
    assert len(node.mesh) == 7
    assert len([peer for peer in node.mesh if peer.startswith("ours")]) == 2
    assert len(controls(outputs, "graft")) == 2
    assert controls(node.beat(), "graft") == []


def test_peers_with_a_negative_score_are_pruned_and_not_grafted():
    node = Driven()
    node.meet("bob", "carol")
    node.join()
    node.application_score("bob", -0.5)
    outputs = node.beat()
    assert node.mesh == {"carol"}
    assert len(controls(outputs, "prune", "bob")) == 1
    node.wait(100)
    assert node.mesh == {"carol"}
    node.application_score("bob", 0)
    node.beat()
    assert node.mesh == {"bob", "carol"}


# --- "Opportunistic Grafting" ---------------------------------------------------------------------------------------


def poor(node, helpers):
    """Six free riders in the mesh, and helpers outside that send messages."""
    node.join()
    node.meet(*crowd(6))
    node.beat()
    node.meet(*crowd(helpers, "helper"))
    return node


def test_a_poor_mesh_takes_two_better_peers_every_minute():
    node = poor(Driven(), 10)
    for minute in range(1, 3):
        while node.router.counters.heartbeats % 60 != 59:
            node.beat()
        for helper in crowd(10, "helper"):
            node.message(helper, said(helper, minute))
        assert controls(node.outputs, "graft") == []
        node.beat()
        assert len([peer for peer in node.mesh if peer.startswith("helper")]) == 2 * minute


def test_a_good_mesh_stays():
    node = poor(Driven(), 10)
    node.wait(58)
    for peer in [*crowd(6), *crowd(10, "helper")]:
        node.message(peer, *(said(peer, each) for each in range(5)))
    node.wait(3)
    assert node.mesh == set(crowd(6))


def test_nobody_is_better_in_a_silent_room():
    node = poor(Driven(), 10)
    node.wait(200)
    assert node.mesh == set(crowd(6))


def test_a_mesh_of_one_is_not_judged():
    node = Driven(d=1, d_low=0, d_high=2, d_out=0, d_score=1)
    node.meet("bob")
    node.join()
    node.meet("helper")
    node.wait(58)
    node.message("helper", said())
    node.wait(3)
    assert node.mesh == {"bob"}


def test_a_router_with_many_topics_looks_after_each():
    node = Driven()
    node.join("other")
    node.join()
    node.meet("bob")
    node.subscribe("bob", "other")
    node.beat()
    assert node.router.mesh("other") == node.router.mesh(TOPIC) == ("bob",)
