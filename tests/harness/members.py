"""Members of a room that compare over streams in memory: the services, machines and stores are the real ones."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import trio

from nexusd.agents import Agent
from nexusd.host.ports import ConnectionLostError, NotFoundError, UnreachableError, UnsupportedError
from nexusd.services.policy import Policy, TrustLists
from nexusd.services.rooms.answering import Answering
from nexusd.services.rooms.batches import Batches
from nexusd.services.rooms.exchange import Exchange, Exchanged
from nexusd.services.rooms.intake import Brought, Intake
from nexusd.services.rooms.joined import Joined
from nexusd.services.rooms.sealing import Sealing
from nexusd.store import Store
from nexusd_protocols.content.cid import Cid
from nexusd_protocols.errors import RemoteProtocolError
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.ids import RoomId
from nexusd_protocols.pubsub.signed import SignedMessage
from tests.harness.history import said
from tests.harness.nodes import signer
from tests.harness.stores import opened

NOW = 1_800_000_000_000
ROOM = RoomId("lab")
TOPIC = "/nexus/room/lab"

Handler = Callable[["MemoryChannel"], Awaitable[None]]


class MemoryChannel:
    """Implements `ports.Channel` over memory: what a machine gives, the other one takes."""

    def __init__(self, peer: PeerId, protocol: str, machine: Any, world: World) -> None:
        self.peer = peer
        self.protocol = protocol
        self._machine = machine
        self._charge = world.charge
        self._said = world.said
        self._events: deque[Any] = deque()
        self._send, self._receive = trio.open_memory_channel[bytes | None](64)
        self.other: MemoryChannel | None = None
        self._ended = False

    async def receive(self, *, timeout: float | None = None) -> Any:
        while not self._events:
            try:
                data = await self._receive.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError) as error:
                raise ConnectionLostError("it was reset") from error
            try:
                self._events += self._machine.receive_eof() if data is None else self._machine.receive(data)
            except RemoteProtocolError as error:
                self._charge(self.peer, error.code, error.penalty)
                await self._give(error.reply)
                await self.reset()
                raise
            if data is None and not self._events:
                return None
        return self._events.popleft()

    def ready(self) -> list[Any]:
        return []

    async def send(self, command: Any, *, timeout: float | None = None) -> None:
        data = self._machine.send(command)
        self._said.append((type(command), len(data)))
        await self._give(data)

    async def _give(self, data: bytes | None) -> None:
        assert self.other is not None
        await trio.lowlevel.checkpoint()
        try:
            if data is None or data:
                await self.other._send.send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionLostError("it was reset") from error

    async def close_write(self) -> None:
        if not self._ended:
            self._ended = True
            try:
                await self._give(None)
            except ConnectionLostError:
                return

    async def aclose(self) -> None:
        await self.close_write()

    async def reset(self) -> None:
        assert self.other is not None
        self._ended = True
        self._receive.close()
        self.other._send.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await (self.aclose() if kind is None else self.reset())


class World:
    """Who speaks what, and who has which blocks."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.handlers: dict[tuple[PeerId, str], tuple[Any, Handler]] = {}
        self.charged: list[tuple[str, str, int]] = []
        """Who paid, why, how much."""
        self.said: deque[tuple[type, int]] = deque(maxlen=1 << 16)
        """Kinds of frames that travelled, and their bytes."""
        self.blocks: dict[Cid, bytes] = {}
        """What anybody gives, true or not."""
        self.names: dict[PeerId, str] = {}

    def charge(self, peer: PeerId, reason: str, points: int) -> None:
        self.charged.append((self.names.get(peer, peer), reason, points))

    def points(self, name: str) -> int:
        return sum(points for who, _, points in self.charged if who == name)

    def serve(self, name: str, protocol: str, machine: Any, handler: Handler) -> PeerId:
        """Let somebody answer as a test says."""
        peer = signer(name).peer_id
        self.names[peer] = name
        self.handlers[peer, protocol] = (machine, handler)
        return peer


class MemberStreams:
    """Implements `ports.Streams` for one member."""

    def __init__(self, world: World, own: PeerId) -> None:
        self._world = world
        self._own = own

    def handle(self, protocol: str, machine: Any, handler: Any) -> None:
        self._world.handlers[self._own, protocol] = (machine, handler)

    async def open(
        self, peer: PeerId, protocols: Sequence[str], machine: Any, *, replayable: bool = False
    ) -> MemoryChannel:
        world = self._world
        found = world.handlers.get((peer, protocols[0]))
        if found is None:
            known = any(who == peer for who, _ in world.handlers)
            raise UnsupportedError("it does not speak it") if known else UnreachableError("nobody is there")
        theirs, handler = found
        here = MemoryChannel(peer, protocols[0], machine(protocols[0]), world)
        there = MemoryChannel(self._own, protocols[0], theirs(self._own), world)
        here.other, there.other = there, here

        async def serve() -> None:
            try:
                async with there:
                    await handler(there)
            except (RemoteProtocolError, ConnectionLostError):
                return

        world.nursery.start_soon(serve)
        return here

    def pipeline(self, channel: Any, key: Any, requests: int) -> Any:
        raise NotImplementedError


class MemberBlocks:
    """Implements `ports.BlockExchange`: blocks of the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked: list[Cid] = []

    def session(self) -> MemberBlocks:
        return self

    def add_peers(self, peers: Iterable[PeerId]) -> None:
        pass

    async def get(self, cid: Cid, *, timeout: float) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked.append(cid)
        if cid not in self._world.blocks:
            raise NotFoundError("nobody has it")
        return self._world.blocks[cid]

    def set_source(self, source: Any) -> None: ...

    def arrived(self, cids: Iterable[Cid]) -> None: ...

    def stats(self) -> Any: ...

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class MemberTopics:
    """What batches ask of `ports.Topics`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def peers(self, topic: str) -> list[PeerId]:
        return list(self._world.names)


class Member:
    """One member: a store, and what compares it with others."""

    def __init__(self, name: str, store: Store, world: World, *, budget: int = 1 << 30) -> None:
        self.signer = signer(name)
        self.peer_id = self.signer.peer_id
        self.agent = Agent(AgentId(self.peer_id), self.signer)
        self.store = store
        self.world = world
        self.now = NOW
        world.names[self.peer_id] = name
        self.joined = Joined(self.agent, ROOM, TOPIC, 0, 0)
        self.policy = Policy(TrustLists(), self._clock)
        self.served: list[tuple[PeerId, bool]] = []
        self.blocks = MemberBlocks(world)
        streams: Any = MemberStreams(world, self.peer_id)
        topics: Any = MemberTopics(world)
        exchange: Any = self.blocks
        self.intake = Intake(
            store=store, clock=self._clock, policy=self.policy, referred=lambda *_: None, budget=budget
        )
        self.exchange = Exchange(
            streams=streams,
            store=store,
            intake=self.intake,
            batches=Batches(exchange=exchange, topics=topics, intake=self.intake, penalise=world.charge),
            clock=self._clock,
            entropy=lambda count: bytes(range(count)),
            penalise=world.charge,
        )
        self.answering = Answering(
            streams=streams,
            store=store,
            intake=self.intake,
            clock=self._clock,
            penalise=world.charge,
            find=lambda room: self.joined if room == ROOM else None,
            served=lambda _, peer, news: self.served.append((peer, news)),
        )
        self.answering.start()
        self.heads: list[Cid] = []
        self.sealing = Sealing(
            store=store,
            clock=self._clock,
            rooms=lambda: [self.joined],
            checkpointed=lambda _, head: self.heads.append(head),
        )
        self._numbers = itertools.count(int.from_bytes(self.peer_id[-4:].encode(), "big") << 20)

    def _clock(self) -> int:
        return self.now

    async def say(self, content: str, timestamp: int | None = None) -> SignedMessage:
        """Say something, which nobody hears."""
        message = said(self.signer, ROOM, content, timestamp or self.now, next(self._numbers))
        taken = await self.intake.take(self.joined, [Brought(message.encode())])
        assert taken.stored == 1
        return message

    async def compare(self, other: PeerId, rounds: int = 1) -> Exchanged:
        with trio.fail_after(30):
            return await self.exchange.run(self.joined, other, rounds=rounds)

    async def contents(self) -> list[str]:
        page = await self.store.log.history(self.agent.id, ROOM, limit=500)
        return sorted(row.content for row in page.rows)

    async def publish(self) -> None:
        """Seal what is closed, and give the blocks to anybody."""
        await self.sealing.seal(self.joined)
        for ref in await self.store.batches.batch_refs(self.agent.id, ROOM, limit=1 << 30):
            block = await self.store.blocks.get(ref.cid)
            assert block is not None
            self.world.blocks[ref.cid] = block.data


@asynccontextmanager
async def members(directory: Path, *names: str, **options: Any) -> AsyncIterator[tuple[Member, ...]]:
    """Members of one room who know nothing yet."""
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        found: list[Member] = []
        async with contexts([opened(directory / f"{name}.sqlite") for name in names]) as stores:
            found = [Member(name, store, world, **options) for name, store in zip(names, stores, strict=True)]
            yield tuple(found)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def contexts(managers: Sequence[Any]) -> AsyncIterator[list[Any]]:
    """All of them at once."""
    if not managers:
        yield []
        return
    async with managers[0] as first, contexts(managers[1:]) as others:
        yield [first, *others]
