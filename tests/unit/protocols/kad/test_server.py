from __future__ import annotations

import pytest

from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import peer_id_bytes
from nexusd_protocols.kad.contact import Contact, Reach, place_of
from nexusd_protocols.kad.message import Kind, Message, Record
from nexusd_protocols.kad.providers import Providers
from nexusd_protocols.kad.records import Records
from nexusd_protocols.kad.routing_table import K, RoutingTable
from nexusd_protocols.kad.server import Asker, Server
from tests.harness.kad import PROVIDED_KEY, Numbered, contact, peer, tcp

OWN = Contact(peer(0), (tcp("127.0.0.1"), tcp("10.0.0.1"), tcp("8.8.8.8")))
BOB = Asker(peer(1), Reach.ANYWHERE, "20.1.1.0/24")
KEY = b"/nexus/x"


class World:
    def __init__(self, peers: int = 0) -> None:
        schema = Numbered()
        self.table = RoutingTable(OWN.peer)
        self.records = Records(OWN.peer)
        self.own: dict[bytes, bytes] = {}
        self.provided: set[bytes] = set()
        self.connected: dict[str, Contact] = {}
        self.ends: dict[bytes, int] = {}
        for number in range(1, peers + 1):
            self.table.add(contact(number), "", 0)
        self.server = Server(
            self.table,
            self.records,
            Providers(),
            validate=lambda key, value: schema.validate(key.decode(), value),
            select=lambda key, values: schema.select(key.decode(), values),
            own_contact=lambda: OWN,
            own_value=self.own.get,
            provides=self.provided.__contains__,
            connected=self.connected.get,
            valid_until=lambda _key, value: self.ends.get(value),
        )

    def ask(self, question: Message, asker: Asker = BOB, now: int = 0) -> Message | None:
        return self.server.answer(asker, question, now)

    def put(self, value: bytes, asker: Asker = BOB) -> bytes:
        return self.ask(Message(Kind.PUT_VALUE, KEY, Record(KEY, value)), asker).record.value

    def refused(self, question: Message) -> str:
        with pytest.raises(RemoteProtocolError) as caught:
            self.ask(question)
        return caught.value.code


def test_ping():
    assert World().ask(Message(Kind.PING)) == Message(Kind.PING)


def test_the_closest_are_named_and_never_the_asker():
    world = World(peers=100)
    answer = world.ask(Message(Kind.FIND_NODE, b"key"))
    place = place_of(b"key")
    expected = sorted((c for c in world.table if c.peer != BOB.peer), key=lambda c: c.place ^ place)[:K]
    assert list(answer.closer) == expected


def test_whom_the_asker_cannot_reach_is_not_named():
    world = World()
    world.table.add(Contact(peer(5), (tcp("10.0.0.5"),)), "", 0)
    world.table.add(Contact(peer(6)), "", 0)
    question = Message(Kind.FIND_NODE, b"key")
    assert world.ask(question).closer == ()
    assert [c.peer for c in world.ask(question, Asker(peer(1), Reach.NEAR)).closer] == [peer(5)]


def test_we_name_ourselves_if_we_are_looked_for():
    question = Message(Kind.FIND_NODE, peer_id_bytes(OWN.peer))
    (found,) = World(peers=5).ask(question).closer
    assert found == Contact(OWN.peer, (tcp("8.8.8.8"),))


def test_a_connected_peer_is_named_even_if_it_does_not_serve():
    world = World(peers=5)
    world.connected[peer(77)] = contact(77)
    answer = world.ask(Message(Kind.FIND_NODE, peer_id_bytes(peer(77))))
    assert answer.closer[0] == contact(77)
    assert len(answer.closer) == 5
    world.connected[BOB.peer] = contact(1)
    assert BOB.peer not in [c.peer for c in world.ask(Message(Kind.FIND_NODE, peer_id_bytes(BOB.peer))).closer]


def test_a_record_is_kept_and_the_answer_repeats_it():
    world = World(peers=3)
    assert world.put(b"1") == b"1"
    answer = world.ask(Message(Kind.GET_VALUE, KEY))
    assert (answer.record.key, answer.record.value) == (KEY, b"1")
    assert [c.peer for c in answer.closer] == [c.peer for c in world.table.closest(place_of(KEY)) if c.peer != BOB.peer]
    assert world.ask(Message(Kind.GET_VALUE, b"/nexus/none")).record is None


def test_an_older_record_is_answered_with_the_newer():
    world = World()
    assert [world.put(value) for value in (b"2", b"1", b"3", b"3")] == [b"2", b"2", b"3", b"3"]
    assert world.ask(Message(Kind.GET_VALUE, KEY)).record.value == b"3"


def test_our_own_record_counts():
    world = World()
    world.own[KEY] = b"5"
    assert world.put(b"4") == b"5"
    assert len(world.records) == 0
    assert world.put(b"6") == b"6"
    assert world.server.value(KEY, 0) == b"6"


def test_our_own_record_is_not_served_when_its_time_is_over():
    world = World()
    world.own[KEY] = b"5"
    world.ends[b"5"] = 100
    question = Message(Kind.GET_VALUE, KEY)
    assert world.ask(question, now=100).record.value == b"5"
    assert world.ask(question, now=101).record is None
    assert world.ask(Message(Kind.PUT_VALUE, KEY, Record(KEY, b"4")), now=101).record.value == b"4"


def test_providers():
    world = World(peers=3)
    bob = Contact(BOB.peer, (tcp("10.0.0.1"), tcp("9.9.9.9")))
    assert world.ask(Message(Kind.ADD_PROVIDER, PROVIDED_KEY, providers=(contact(8), bob))) is None
    answer = world.ask(Message(Kind.GET_PROVIDERS, PROVIDED_KEY), Asker(peer(2), Reach.ANYWHERE))
    assert answer.providers == (Contact(BOB.peer, (tcp("9.9.9.9"),)),), "a stranger tells nothing of our network"
    assert len(answer.closer) == 2
    world.provided.add(PROVIDED_KEY)
    answer = world.ask(Message(Kind.GET_PROVIDERS, PROVIDED_KEY))
    assert [c.peer for c in answer.providers] == [OWN.peer, BOB.peer]


def test_refusals():
    world = World()
    record = Record(KEY, b"1")
    assert world.refused(Message(Kind.FIND_NODE)) == "bad_key"
    assert world.refused(Message(Kind.GET_VALUE)) == "bad_key"
    assert world.refused(Message(Kind.PUT_VALUE, KEY)) == "bad_record"
    assert world.refused(Message(Kind.PUT_VALUE, b"/nexus/y", record)) == "bad_record"
    assert world.refused(Message(Kind.PUT_VALUE, KEY, Record(KEY, b"text"))) == "record_refused"
    assert world.refused(Message(Kind.GET_PROVIDERS, b"x" * 32)) == "bad_key"
    assert world.refused(Message(Kind.ADD_PROVIDER, b"\x12\x20", providers=(contact(1),))) == "bad_key"
    assert world.refused(Message(Kind.ADD_PROVIDER, PROVIDED_KEY)) == "bad_provider"
    assert world.refused(Message(Kind.ADD_PROVIDER, PROVIDED_KEY, providers=(contact(2),))) == "bad_provider"
    assert len(world.records) == 0
