"""Answers of a peer that keeps no rule: each is bounded, and none hides what others know."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest
import trio

from nexusd.host.dht import PROTOCOL
from nexusd.host.dht.requester import ASK_SECONDS
from nexusd.host.node import Node
from nexusd.host.ports import DeadlineError, HostError
from nexusd_protocols import varint
from nexusd_protocols.kad.contact import Contact
from nexusd_protocols.kad.message import Kind, Message, MessageStream, Record
from tests.harness.examples import first
from tests.harness.kad import PROVIDED, Numbered, contact, peer, tcp
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import Bytes, connected, ip_of, running, signer, until

Answer = Callable[[Message], Message | bytes | None]
KEY = b"/nexus/x"


class Mallory:
    """Serves the DHT's protocol as `answer` says; None: silence for ever, bytes: those."""

    def __init__(self, node: Node, answer: Answer) -> None:
        self.node = node
        self.asked: list[Message] = []
        self.busy = 0
        self.most = 0
        self._answer = answer
        node.streams.handle(PROTOCOL, lambda _peer: Bytes(), self._serve)

    async def _serve(self, channel) -> None:
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            machine = MessageStream()
            while (data := await channel.receive()) is not None:
                for question in machine.receive(data):
                    self.asked.append(question)
                    answer = self._answer(question)
                    if answer is None and question.kind is not Kind.ADD_PROVIDER:
                        await trio.sleep_forever()
                    if answer is not None:
                        await channel.send(answer if isinstance(answer, bytes) else MessageStream().send(answer))
        finally:
            self.busy -= 1


@asynccontextmanager
async def world(answer: Answer, *honest: str):
    """Alice, who knows mallory and the honest; her network counts dials."""
    network = MemoryNetwork(1)

    def node(number: int, name: str, role="full") -> Node:
        return Node(
            signer(name),
            listen=[f"/ip4/{ip_of(number)}/tcp/4001"],
            transports=[network.transport(ip_of(number))],
            schema=Numbered(),
            keepalive=1e9,
            role=role,
        )

    alice, mallory = node(0, "alice"), Mallory(node(1, "mallory", "light"), ping(answer))
    others = [node(number, name) for number, name in enumerate(honest, 2)]
    async with running(alice, mallory.node, *others):
        for other in (mallory.node, *others):
            await connected(alice, other)
        await until(lambda: alice.dht.size() == 1 + len(others))
        await trio.sleep(5)  # the lookups of the start
        mallory.asked.clear()
        yield alice, mallory, others, network


def ping(answer: Answer) -> Answer:
    return lambda question: question if question.kind is Kind.PING else answer(question)


def named(contacts) -> Answer:
    """Whatever is asked: these are closer, and they provide it."""
    told = tuple(contacts)
    return lambda question: Message(question.kind, question.key, question.record, told, told)


def nobody(question: Message) -> Message:
    return Message(question.kind, question.key, question.record)


JUNK = {
    "no protobuf": lambda _q: b"\x05\xff\xff\xff\xff\xff",
    "a length of 1 GB": lambda _q: varint.encode(1 << 30),
    "no answer but the end": lambda _q: b"",
    "the answer to another question": lambda _q: Message(Kind.PING),
    "a record that is none": lambda q: Message(q.kind, q.key, Record(q.key, b"poison")),
    "a record of another key": lambda q: Message(q.kind, q.key, Record(b"/nexus/y", b"9")),
    "nobody": nobody,
    "itself": named([]),
}


@pytest.mark.parametrize("answer", first(3, JUNK.values()), ids=JUNK)
async def test_junk_hides_nothing(autojump_clock, answer):
    async with world(answer, "bob", "carol") as (alice, _mallory, (bob, carol), _network):
        await bob.dht.put("/nexus/x", b"3")
        assert await alice.dht.get("/nexus/x") == b"3"
        assert carol.peer_id in await alice.dht.put("/nexus/z", b"1")
        await carol.dht.provide(PROVIDED)
        assert [found.peer for found in await alice.dht.find_providers(PROVIDED)] == [carol.peer_id]
        found = await alice.dht.find_peer(carol.peer_id)
        assert found is not None


async def test_a_record_that_only_a_liar_has(autojump_clock):
    async with world(JUNK["a record that is none"]) as (alice, _mallory, _others, _network):
        assert await alice.dht.get("/nexus/x") is None
        assert alice.dht.stored() == (0, 0)


@pytest.mark.parametrize(
    "addresses",
    [
        (tcp("127.0.0.1", 22), tcp("0.0.0.0"), tcp("224.0.0.1"), b"junk", b""),
        (b"\x04\x0a",),
        (),
    ],
)
async def test_addresses_that_nobody_should_dial(autojump_clock, addresses):
    made_up = [Contact(peer(n), addresses) for n in range(20)]
    async with world(named(made_up)) as (alice, _mallory, _others, network):
        before = network.dials
        await alice.dht.get("/nexus/x")
        await alice.dht.find_providers(PROVIDED)
        assert network.dials == before
        assert all(each.addresses == () for each in await alice.dht.find_providers(PROVIDED))
        assert await alice.dht.find_peer(peer(3)) is None


async def test_peers_without_end(autojump_clock):
    """Each answer names other made-up peers, at addresses that could be: what is dialled is bounded, and so is the
    time. None of them enters the table, or the memory of the dialler."""
    numbers = iter(range(1000, 10**6))

    def answer(question: Message) -> Message:
        crowd = tuple(
            Contact(peer(n), (tcp(f"10.9.{n // 250 % 250}.{n % 250}"),))
            for _, n in zip(range(40), numbers, strict=False)
        )
        return Message(question.kind, question.key, None, crowd, crowd)

    async with world(answer, "bob") as (alice, _mallory, (bob,), network):
        await bob.dht.put("/nexus/x", b"3")
        before, size = network.dials, alice.dht.size()
        assert await alice.dht.get("/nexus/x") == b"3"
        assert network.dials - before <= 100
        assert alice.dht.size() <= size
        assert len(await alice.dht.find_providers(PROVIDED, 20)) <= 20


async def test_peers_that_name_one_another_in_a_circle(autojump_clock):
    async with world(named([Contact(signer("mallory").peer_id, (tcp(ip_of(1)),)), contact(0)])) as (
        alice,
        mallory,
        _others,
        _network,
    ):
        await alice.dht.get("/nexus/x")
        assert len(mallory.asked) == 1


async def test_silence_costs_a_second_and_not_ten(autojump_clock):
    async with world(lambda _q: None, "bob", "carol") as (alice, _mallory, (bob, _carol), _network):
        await bob.dht.put("/nexus/x", b"3")
        started = trio.current_time()
        assert await alice.dht.get("/nexus/x") == b"3"
        assert trio.current_time() - started < ASK_SECONDS / 2


async def test_whoever_is_silent_twice_leaves_the_table(autojump_clock):
    async with world(lambda _q: None, "bob") as (alice, mallory, _others, _network):
        for _ in range(2):
            await alice.dht.get("/nexus/x")
        assert alice.dht.size() == 1
        with pytest.raises((DeadlineError, HostError)):
            await alice.dht._ask(Contact(mallory.node.peer_id), Message(Kind.FIND_NODE, b"x"))


async def test_no_more_than_eight_questions_at_once_to_one_peer(autojump_clock):
    async with world(nobody) as (alice, mallory, _others, _network):
        requester = alice.dht._requester
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(
                    requester.ask, Contact(mallory.node.peer_id), Message(Kind.FIND_NODE, b"%d" % number)
                )
        assert len(mallory.asked) == 40
        assert mallory.most <= 8


async def test_a_peer_that_resets_what_is_too_much_is_asked_again(autojump_clock):
    resets = []

    async def serve(channel) -> None:
        if len(resets) < 2:
            resets.append(1)
            await channel.reset()
            return
        await for_question(channel)

    async def for_question(channel) -> None:
        question = await channel.receive()
        await channel.send(nobody(question))

    async with world(nobody) as (alice, mallory, _others, _network):
        mallory.node.streams.handle(PROTOCOL, lambda _peer: MessageStream(), serve)
        answer = await alice.dht._requester.ask(Contact(mallory.node.peer_id), Message(Kind.FIND_NODE, b"x"))
        assert answer is not None
        assert len(resets) == 2


async def test_sixty_gets_at_once_miss_nothing(autojump_clock):
    """Where a stock server answers twelve and resets the rest."""
    async with world(nobody, "bob") as (alice, _mallory, (bob,), _network):
        await alice.dht.put("/nexus/x", b"3")
        found = []

        async def get() -> None:
            found.append(await bob.dht.get("/nexus/x"))

        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(get)
        assert found == [b"3"] * 60


async def test_a_flood_of_questions_is_answered_slowly_and_others_are_not_held_up(autojump_clock):
    async with world(nobody, "bob") as (alice, mallory, (bob,), _network):
        alice_contact = Contact(alice.peer_id)
        requester = mallory.node.dht._requester
        started, answered = trio.current_time(), []

        async def ask() -> None:
            for _ in range(100):
                await requester.ask(alice_contact, Message(Kind.FIND_NODE, b"x"))
                answered.append(trio.current_time() - started)

        with trio.move_on_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(ask)
                await trio.sleep(3)
                before = trio.current_time()
                await bob.dht.get("/nexus/none")
                assert trio.current_time() - before < 2
                nursery.cancel_scope.cancel()
        assert len(answered) < 256 + 50 * 4
        assert mallory.node.peer_id in alice.connected()
