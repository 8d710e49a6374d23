from __future__ import annotations

import itertools
import random

import pytest

from nexusd_protocols.kad.contact import Contact, place_of, place_of_peer
from nexusd_protocols.kad.routing_table import CHECK_MS, PER_SUBNET, REFRESHED_BUCKETS, STRIKES, K, RoutingTable
from tests.harness.kad import contact, peer, tcp

OWN = peer(0)


def far(count: int):
    """Contacts of the first bucket: half of all."""
    top = place_of_peer(OWN) >> 255
    found = (contact(n) for n in itertools.count(1))
    return list(itertools.islice((c for c in found if c.place >> 255 != top), count))


def test_the_closest_are_given_in_order():
    table = RoutingTable(OWN)
    for number in range(1, 300):
        table.add(contact(number), "", 0)
    place = place_of(b"somewhere")
    closest = table.closest(place)
    distances = [c.place ^ place for c in closest]
    assert len(closest) == K
    assert distances == sorted(distances)
    assert distances == sorted(c.place ^ place for c in table)[:K]


def test_we_are_not_in_it():
    table = RoutingTable(OWN)
    table.add(Contact(OWN), "", 0)
    assert len(table) == 0
    assert OWN not in table


def test_a_full_bucket_keeps_whom_it_knows():
    table, contacts = RoutingTable(OWN), far(K + 8)
    for known in contacts[:K]:
        assert table.add(known, "", 0) is None
    for newcomer in contacts[K:]:
        assert table.add(newcomer, "", CHECK_MS - 1) is None, "heard of lately: nobody is asked"
        assert newcomer.peer not in table
    assert len(table) == K


def test_the_one_not_heard_of_for_longest_is_to_be_asked_and_a_newcomer_takes_its_place():
    table, contacts = RoutingTable(OWN), far(K + 2)
    for at, known in enumerate(contacts[:K]):
        table.add(known, "", at)
    table.answered(contacts[0].peer, CHECK_MS)
    assert table.add(contacts[K], "", CHECK_MS + 1) == contacts[1].peer
    assert table.add(contacts[K + 1], "", CHECK_MS + 1) == contacts[1].peer
    table.remove(contacts[1].peer)
    assert contacts[1].peer not in table
    assert contacts[K + 1].peer in table, "the latest that waited"
    table.remove(contacts[2].peer)
    assert contacts[K].peer in table
    table.remove(contacts[3].peer)
    assert len(table) == K - 1


def test_few_of_one_network_are_let_in():
    table = RoutingTable(OWN)
    contacts = far(10)
    for one in contacts:
        table.add(one, "198.51.100.0/24", 0)
    assert len(table) == PER_SUBNET
    table.remove(contacts[0].peer)
    table.add(contacts[9], "198.51.100.0/24", 0)
    assert contacts[9].peer in table
    for one in contacts:
        table.add(one, "", 0)
    assert len(table) == 10, "private networks are not counted"


def test_a_peer_that_moves_into_a_crowded_network_stays_as_it_was():
    table, contacts = RoutingTable(OWN), far(3)
    table.add(contacts[0], "a", 0)
    table.add(contacts[1], "a", 0)
    table.add(contacts[2], "b", 0)
    table.add(Contact(contacts[2].peer, (tcp("8.8.8.8"),)), "a", 1)
    assert table.get(contacts[2].peer) == contacts[2]
    table.add(Contact(contacts[2].peer, (tcp("8.8.8.8"),)), "c", 1)
    assert table.get(contacts[2].peer).addresses == (tcp("8.8.8.8"),)


def test_a_peer_that_is_late_too_often_is_gone():
    table = RoutingTable(OWN)
    table.add(contact(1), "", 0)
    for _ in range(STRIKES - 1):
        table.late(peer(1))
    table.answered(peer(1), 1)
    for _ in range(STRIKES - 1):
        table.late(peer(1))
    assert peer(1) in table
    table.late(peer(1))
    assert peer(1) not in table
    table.late(peer(1))
    table.answered(peer(1), 2)
    table.remove(peer(1))
    assert table.get(peer(1)) is None


def test_the_stalest_bucket_is_refreshed():
    table, rng = RoutingTable(OWN), random.Random(7)
    seen = set()
    for turn in range(1, 2 * REFRESHED_BUCKETS + 1):
        place = place_of(table.refresh_key(rng.randbytes))
        index = 256 - (place ^ place_of_peer(OWN)).bit_length()
        seen.add(index)
        table.refreshed(place, turn)
        assert len(seen) == min(turn, REFRESHED_BUCKETS)
    assert seen == set(range(REFRESHED_BUCKETS))


@pytest.mark.parametrize("entropy", [bytes, lambda n: b"x" * n])
def test_refreshing_ends_with_a_stuck_source_of_entropy(entropy):
    assert len(RoutingTable(OWN).refresh_key(entropy)) == 32
