"""Lookups over networks that exist only as tables, some of them full of liars."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import pytest

from nexusd_protocols.kad.contact import Contact, place_of
from nexusd_protocols.kad.lookup import ALPHA, ASKED, PER_SUBNET, SURE, WAYS, Answered, Failed, Lookup, Slow
from nexusd_protocols.kad.routing_table import K, RoutingTable
from tests.harness.kad import contact, peer

TARGET = place_of(b"target")
Answer = Callable[[Contact], list[Contact] | None]


@cache
def tables(count: int) -> dict[str, RoutingTable]:
    """What each of so many peers knows."""
    contacts = [contact(number) for number in range(1, count + 1)]
    found = {}
    for one in contacts:
        found[one.peer] = RoutingTable(one.peer)
        for other in contacts:
            found[one.peer].add(other, "", 0)
    return found


class World:
    """Honest peers with true routing tables, those in `liars` with answers of their own."""

    def __init__(self, count: int, seed: int = 1) -> None:
        print("seed", seed)
        self.random = random.Random(seed)
        self.contacts = [contact(number) for number in range(1, count + 1)]
        self.liars: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.tables = dict(tables(count))

    def closest(self, count: int = K) -> list[str]:
        return [c.peer for c in sorted(self.contacts, key=lambda c: c.place ^ TARGET)[:count]]

    def answer(self, asked: Contact) -> list[Contact] | None:
        self.asked.append(asked.peer)
        if asked.peer in self.liars:
            return self.liars[asked.peer](asked)
        table = self.tables.get(asked.peer)
        return None if table is None else table.closest(TARGET)

    def run(self, lookup: Lookup) -> list[str]:
        """Answers come in any order."""
        pending = lookup.begin()
        while pending:
            assert len(pending) <= ALPHA
            asked = pending.pop(self.random.randrange(len(pending)))
            closer = self.answer(asked)
            pending += lookup.handle(Failed(asked.peer) if closer is None else Answered(asked.peer, closer))
        assert lookup.finished
        assert len(self.asked) == len(set(self.asked)) <= ASKED
        return [c.peer for c in lookup.closest()]

    def seeds(self, count: int = K) -> list[Contact]:
        return self.random.sample(self.contacts, min(count, len(self.contacts)))


def lookup(seeds: list[Contact], **options) -> Lookup:
    return Lookup(TARGET, seeds, own=peer(0), **options)


@pytest.mark.parametrize("seed", range(5))
def test_the_closest_of_200_are_found(seed):
    world = World(200, seed)
    found = world.run(lookup(world.seeds(6)))
    assert found[:K] == world.closest()
    assert len(found) <= K + SURE * (WAYS - 1)
    assert len(world.asked) < 60


def test_a_small_network_is_asked_whole():
    world = World(12)
    assert world.run(lookup(world.seeds(1))) == world.closest()


def test_nobody_to_ask():
    empty = lookup([])
    assert empty.begin() == []
    assert empty.finished
    assert empty.closest() == []


def test_peers_that_are_gone_are_gone_round():
    world = World(200)
    dead = set(world.random.sample(world.closest(40), 20))
    world.liars = {p: lambda _asked: None for p in dead}
    found = world.run(lookup(world.seeds(10)))
    alive = [p for p in world.closest(60) if p not in dead]
    assert found[:10] == alive[:10], "each table names 20, and half of those are dead"


def test_answers_from_strangers_and_second_answers_count_for_nothing():
    world = World(10)
    search = lookup(world.seeds(2))
    first = search.begin()[0]
    search.handle(Answered(first.peer, []))
    assert search.handle(Answered(first.peer, [contact(500)])) == []
    assert search.handle(Answered(peer(600), [contact(500)])) == []
    assert search.handle(Failed(first.peer)) == []
    assert [c.peer for c in search.closest()] == [first.peer]


def test_whoever_is_slow_is_not_waited_for_and_its_answer_still_counts():
    search = lookup([contact(n) for n in range(1, 4)])
    assert len(search.begin()) == 3
    for number in (1, 2):
        search.handle(Slow(peer(number)))
    assert not search.finished
    (asked,) = search.handle(Answered(peer(1), [contact(9)]))
    assert asked.peer == peer(9)
    search.handle(Answered(peer(9)))
    search.handle(Answered(peer(3)))
    assert search.finished, "2 is slow still"
    assert {c.peer for c in search.closest()} == {peer(1), peer(3), peer(9)}


def test_made_up_peers_without_end_are_not_asked_without_end():
    world = World(50)
    made_up = iter(range(1000, 10**6))
    world.tables.clear()
    for one in world.contacts:
        world.liars[one.peer] = lambda _asked: [contact(next(made_up)) for _ in range(500)]
    world.run(lookup(world.seeds()))
    assert len(world.asked) <= ASKED


def test_peers_that_name_one_another_in_circles():
    world = World(0)
    ring = [contact(n) for n in range(1, 6)]
    for at, one in enumerate(ring):
        world.liars[one.peer] = lambda _asked, at=at: [ring[at], ring[(at + 1) % 5], ring[0]]
    assert set(world.run(lookup(ring[:1]))) == {c.peer for c in ring}


def test_we_are_never_asked():
    world = World(3)
    world.liars = {c.peer: lambda _asked: [contact(0), *world.contacts] for c in world.contacts}
    world.run(lookup([contact(0), *world.contacts]))
    assert peer(0) not in world.asked


def test_what_cannot_be_reached_is_not_asked():
    world = World(5)
    world.liars = {c.peer: lambda _asked: [contact(77), contact(78)] for c in world.contacts}
    search = lookup(world.seeds(), usable=lambda teller, c: None if c.peer == peer(77) else Contact(c.peer, (b"new",)))
    pending, asked = search.begin(), []
    while pending:
        one = pending.pop()
        asked.append(one)
        pending += search.handle(Answered(one.peer, world.answer(one) or []))
    assert peer(77) not in [c.peer for c in asked]
    assert Contact(peer(78), (b"new",)) in asked


def test_another_word_on_where_a_peer_is_adds_to_the_first():
    search = lookup([contact(1), contact(2)])
    search.begin()
    search.handle(Answered(peer(1), [Contact(peer(3), (b"wrong",))]))  # asked at once: too late for more
    asked = lookup([contact(1), contact(2), contact(3), contact(4)])
    first = {c.peer for c in asked.begin()}
    (last,) = {peer(n) for n in range(1, 5)} - first
    teller = next(iter(first))
    (found,) = asked.handle(Answered(teller, [Contact(last, (b"another",))]))
    assert found.addresses[-1] == b"another"
    assert len(found.addresses) == 2


@pytest.mark.parametrize("seed", range(5))
def test_liars_that_lead_one_way_astray_do_not_hide_the_honest(seed):
    """A third of the seeds lies: it names only its friends, who are as close to the target as can be made, and who have
    networks enough. At least one way stays honest, and its closest are part of the result."""
    world = World(200, seed)
    friends = [contact(n) for n in range(100_000, 103_000)]
    friends = sorted(friends, key=lambda c: c.place ^ TARGET)[:30]
    seeds = sorted(world.seeds(9), key=lambda c: c.place ^ TARGET)
    lying = [seeds[at] for at in range(0, 9, WAYS)]  # as they are dealt to the ways
    world.liars = {c.peer: lambda _asked: friends for c in (*friends, *lying)}
    found = world.run(lookup(seeds))
    honest = {c.peer for c in world.contacts} - {c.peer for c in lying}
    assert len(honest & set(found)) >= 3
    assert set(world.closest(3)) & set(found)


def test_a_crowd_in_one_network_is_a_few():
    world = World(30)
    crowd = [contact(n, f"9.9.9.{n % 250}") for n in range(10_000, 10_200)]
    world.liars = {c.peer: lambda _asked: crowd for c in [*world.contacts[:5], *crowd]}
    world.run(lookup(world.seeds()))
    assert 0 < len({c.peer for c in crowd} & set(world.asked)) <= WAYS * PER_SUBNET
