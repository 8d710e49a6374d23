"""Alice's rooms on a host that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, cast

import trio

from nexusd.agents import Agents
from nexusd.host.ports import BlockExchange, TopicStats, UnreachableError
from nexusd.services.policy import Policy, TrustList, TrustLists
from nexusd.services.ports import LiveEvent, Persona
from nexusd.services.rooms import Rooms
from nexusd.store import Store
from nexusd_protocols.gossipsub.counters import TopicCounters
from nexusd_protocols.gossipsub.score import PeerScore
from nexusd_protocols.identity import PeerId, Signer
from nexusd_protocols.ids import uuid7
from nexusd_protocols.pubsub.signed import SignedMessage
from nexusd_protocols.room import message as wire
from nexusd_protocols.rpc import schema
from tests.harness.mesh import done
from tests.harness.nodes import signer
from tests.harness.stores import opened

NOW = 1_800_000_000_000
TOPIC = "/nexus/room/general"
GENERAL = schema.RoomParams(room="general")


class FakeTopics:
    """Implements `ports.Topics`. While `gate` is there, publishing waits for it."""

    def __init__(self) -> None:
        self.joined: dict[str, tuple[Any, Any]] = {}
        self.published: list[SignedMessage] = []
        self.gate: trio.Event | None = None

    async def join(self, topic: str, validate: Any, deliver: Any) -> None:
        self.joined[topic] = (validate, deliver)
        await trio.lowlevel.checkpoint()

    async def leave(self, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        del self.joined[topic]

    async def publish(self, message: SignedMessage) -> int:
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        self.published.append(message)
        return 1

    def peers(self, topic: str) -> list[PeerId]:
        return []

    def stats(self, topic: str) -> TopicStats | None:
        counters = TopicCounters(published=1, delivered=2, duplicates=3, promises_broken=4)
        return TopicStats(5, (signer("bob").peer_id,), counters, 6) if topic in self.joined else None

    def scores(self) -> list[PeerScore]:
        return []

    async def hear(self, author: Signer, content: str, number: int = 0, *, at: int = NOW) -> str:
        """A message comes in; the verdict on it."""
        data = wire.chat(
            topic=TOPIC,
            sender=author.peer_id,
            message_id=uuid7(NOW, number.to_bytes(10, "big")),
            timestamp=at + number,
            content=content,
        )
        message = SignedMessage.sign(author, TOPIC, data, number + 1)
        return await self.pass_on(author.peer_id, message)

    async def pass_on(self, forwarder: PeerId, message: SignedMessage) -> str:
        """A message comes in through somebody; the verdict on it."""
        validate, deliver = self.joined[message.topic]
        found = validate(forwarder, message)
        verdict: str = found if isinstance(found, str) else await found
        if verdict == "accept":
            await deliver(forwarder, message)
        return verdict


class FakeStreams:
    """Nobody opens a stream, and nobody answers."""

    def handle(self, protocol: str, machine: Any, handler: Any) -> None:
        pass

    async def open(self, peer: PeerId, protocols: Any, machine: Any, *, replayable: bool) -> Any:
        raise UnreachableError("nobody is there")

    def pipeline(self, channel: Any, key: Any, requests: int) -> Any:
        raise NotImplementedError


class Running:
    """Alice's rooms, on topics that the test moves."""

    def __init__(self, store: Store, lists: TrustLists) -> None:
        self.topics = FakeTopics()
        self.store = store
        self.events: list[LiveEvent] = []
        self.policy = Policy(lists, lambda: NOW)
        self.charged: list[tuple[PeerId, str, int]] = []
        self.rooms = Rooms(
            agents=Agents(signer("alice")),
            topics=self.topics,
            store=store,
            emit=self.events.append,
            clock=lambda: NOW,
            entropy=self._entropy,
            persona_of=lambda _: Persona("alice", "autonomous", ()),
            name_of=lambda _: None,
            learn_name=self._learn,
            policy=self.policy,
            penalise=lambda *charge: self.charged.append(charge),
            resolve=PeerId,
            streams=FakeStreams(),
            exchange=cast("BlockExchange", None),
            random=Random(1),
            referred=lambda *reference: self.referred.append(reference),
            changed=lambda: self.told.append([(each.room, each.description) for each in self.rooms.kept()]),
        )
        self.told: list[list[tuple[str, str]]] = []
        """The rooms that are kept, whenever others are told of them."""
        self.referred: list[Any] = []
        self._count = 1000

    def _entropy(self, count: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(count, "big")

    async def _learn(self, peer: PeerId, name: str) -> None:
        await trio.lowlevel.checkpoint()

    async def contents(self) -> list[str]:
        page = done(await self.rooms.history(schema.RoomHistoryParams(room="general", limit=100)))
        return [message.content for message in page.messages]

    async def until_stored(self, count: int) -> list[str]:
        with trio.fail_after(10):
            while True:
                mark = self.store.database.watermark.value
                if len(found := await self.contents()) >= count:
                    return found
                await self.store.events.wait_beyond(mark)


@asynccontextmanager
async def alice(directory: Path, **lists: TrustList) -> AsyncIterator[Running]:
    async with opened(directory / "store.sqlite") as store, trio.open_nursery() as nursery:
        running = Running(store, TrustLists(**lists))
        await nursery.start(running.rooms.run)
        yield running
        nursery.cancel_scope.cancel()
