"""Direct messages on one stream, cut behind every frame and before it, and ended by the receiver instead.

Inbox, machines, channels and the store are the real ones; a stream is two queues in memory that break on command.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import pytest
import trio
from libp2p.network.stream.exceptions import StreamEOF, StreamReset

from nexusd.agents import Agents
from nexusd.host.channel import StreamChannel
from nexusd.host.pipeline import StreamPipeline
from nexusd.host.ports import ConnectionLostError
from nexusd.services.inbox import Inbox
from nexusd_protocols.dm.frames import MANY, PROTOCOL
from nexusd_protocols.rpc.codes import Refusal
from nexusd_protocols.rpc.schema import DmListParams, DmSendParams
from tests.harness.mesh import done
from tests.harness.nodes import signer
from tests.harness.stores import opened

ALICE, BOB = signer("alice").peer_id, signer("bob").peer_id
NOW = 1_800_000_000_000


class Wire:
    """Counts the writes of all streams, and does something at one of them."""

    def __init__(self, at: int = -1, how: str = "") -> None:
        self.at = at
        self.how = how
        self.writes = 0

    def next(self) -> str:
        self.writes += 1
        return self.how if self.writes - 1 == self.at else ""


class End:
    """One end of a stream, as channels want it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.other: End = self
        self.chunks: list[bytes] = []
        self.ended = False  # the other end has said all
        self.broken = False
        self.changed = trio.Event()

    def tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    @property
    def readable(self) -> bool:
        return bool(self.chunks) or self.ended or self.broken

    room = 1 << 20

    async def read(self, n: int | None = None) -> bytes:
        while True:
            await trio.lowlevel.checkpoint()
            if self.broken:
                raise StreamReset
            if self.chunks:
                data = b"".join(self.chunks)
                self.chunks.clear()
                return data
            if self.ended:
                raise StreamEOF
            await self.changed.wait()

    async def write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise StreamReset
        cut = self.wire.next()
        if cut == "lost":
            await self.reset()
            raise StreamReset
        if cut == "ended":  # the other end stopped reading, and has said all that it ever will
            self.ended = True
            self.other.chunks.clear()
            self.other.ended = True
            self.tell()
            self.other.tell()
            return
        self.other.chunks.append(data)
        self.other.tell()
        if cut == "delivered":
            await trio.testing.wait_all_tasks_blocked(0.002)
            await self.reset()

    settled = True

    def end(self) -> None:
        self.other.ended = True
        self.other.tell()

    def leave(self, gone: Callable[[], None]) -> None:
        self.end()
        gone()

    async def close_write(self) -> None:
        self.end()
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        await self.close_write()

    async def reset(self) -> None:
        self.broken = self.other.broken = True
        self.tell()
        self.other.tell()


class MemoryStreams:
    """`ports.Streams` of one host; `speaks` are the protocols of the other."""

    def __init__(self, peer: str, wire: Wire, nursery: trio.Nursery, speaks: tuple[str, ...]) -> None:
        self.peer = peer
        self.wire = wire
        self.nursery = nursery
        self.speaks = speaks
        self.other: MemoryStreams = self
        self.handlers: dict[str, Any] = {}
        self.opened: Counter[str] = Counter()
        self.charged: list[str] = []

    def handle(self, protocol: str, machine: Any, handler: Any) -> None:
        self.handlers[protocol] = (machine, handler)

    async def open(self, peer: str, protocols: list[str], machine: Any) -> StreamChannel:
        await trio.lowlevel.checkpoint()
        protocol = next(protocol for protocol in protocols if protocol in self.speaks)
        self.opened[protocol] += 1
        mine, theirs = End(self.wire), End(self.wire)
        mine.other, theirs.other = theirs, mine
        self.nursery.start_soon(self.other.serve, protocol, theirs)
        return self.channel(mine, protocol, machine(protocol), None)

    async def serve(self, protocol: str, end: End) -> None:
        machine, handler = self.handlers[protocol]
        channel = self.channel(end, protocol, machine(self.peer), 5.0)
        try:
            await handler(channel)
            await channel.aclose()
        except ConnectionLostError:
            await channel.reset()

    def channel(self, end: Any, protocol: str, machine: Any, first_byte: float | None) -> StreamChannel:
        return StreamChannel(
            end,
            self.peer,
            protocol,
            machine,
            charge=lambda *charge: self.charged.append(charge[1]),
            release=lambda: None,
            linger=self.nursery.start_soon,
            first_byte=first_byte,
        )

    def pipeline(self, channel: Any, key: Any, requests: int) -> StreamPipeline:
        return StreamPipeline(channel, key, requests, self.nursery.start_soon)


class World:
    """Alice and bob with their inboxes."""

    def __init__(self, directory: Path, wire: Wire | None = None, speaks: tuple[str, ...] = (MANY, PROTOCOL)) -> None:
        self.directory = directory
        self.wire = wire or Wire()
        self.speaks = speaks
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.directory.mkdir(exist_ok=True)
        self.nursery = await self._stack.enter_async_context(trio.open_nursery())
        self.a = MemoryStreams(BOB, self.wire, self.nursery, self.speaks)
        self.b = MemoryStreams(ALICE, self.wire, self.nursery, self.speaks)
        self.a.other, self.b.other = self.b, self.a
        self.alice = await self._inbox("alice", self.a)
        self.bob = await self._inbox("bob", self.b)
        return self

    async def _inbox(self, name: str, streams: Any) -> Inbox:
        store = await self._stack.enter_async_context(opened(self.directory / f"{name}.sqlite"))
        inbox = Inbox(
            agents=Agents(signer(name)),
            streams=streams,
            store=store,
            clock=lambda: NOW,
            entropy=secrets.token_bytes,
            admit=lambda peer: peer,
            resolve=lambda peer: peer,
            name_of=lambda _: None,
        )
        await inbox.load()
        return inbox

    async def __aexit__(self, *exc: object) -> None:
        self.nursery.cancel_scope.cancel()
        await self._stack.aclose()

    async def send(self, content: str) -> str:
        sent = await self.alice.send(DmSendParams(peer=BOB, content=content))
        return "failed" if isinstance(sent, Refusal) else sent.status

    async def contents(self, inbox: Inbox) -> list[str]:
        return [message.content for message in done(await inbox.list(DmListParams(limit=100))).messages]

    async def statuses(self) -> dict[str, str]:
        page = done(await self.alice.list(DmListParams(limit=100)))
        return {message.content: message.status for message in page.messages}


async def test_all_messages_take_one_stream_and_arrive_in_order(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        sent = [f"message {number}" for number in range(40)]
        assert [await world.send(content) for content in sent] == ["stored"] * 40
        assert await world.contents(world.bob) == sent
        assert world.a.opened == {MANY: 1}


async def test_messages_that_come_together_share_a_commit_and_an_answer(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(world.send, f"message {number}")
        assert set((await world.statuses()).values()) == {"stored"}
        assert sorted(await world.contents(world.bob)) == sorted(f"message {number}" for number in range(100))
        assert world.wire.writes < 160, "100 messages, and fewer answers"
        assert world.a.charged == world.b.charged == []


async def test_a_published_peer_gets_one_message_a_stream(tmp_path: Path) -> None:
    async with World(tmp_path, speaks=(PROTOCOL,)) as world:
        assert [await world.send(f"message {number}") for number in range(3)] == ["stored"] * 3
        assert world.a.opened == {PROTOCOL: 3}
        assert len(await world.contents(world.bob)) == 3


async def test_an_idle_stream_is_ended_and_the_next_message_takes_another(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("nexusd.services.inbox.IDLE_S", 0.01)
    async with World(tmp_path) as world:
        for number in range(3):
            assert await world.send(f"message {number}") == "stored"
            await trio.sleep(0.03)
        assert world.a.opened == {MANY: 3}
        assert len(await world.contents(world.bob)) == 3


FRAMES = 8
"""Writes of four messages, one after the other, and of their answers."""


@pytest.mark.parametrize("how", ["lost", "delivered", "ended"])
@pytest.mark.parametrize("at", [0, 1, *(pytest.param(at, marks=pytest.mark.slow) for at in range(2, FRAMES))])
async def test_a_cut_at_any_frame_loses_nothing_and_repeats_nothing(tmp_path: Path, at: int, how: str) -> None:
    async with World(tmp_path, Wire(at, how)) as world:
        sent = [f"message {number}" for number in range(4)]
        outcomes = {content: await world.send(content) for content in sent}
        assert await world.statuses() == outcomes
        arrived = await world.contents(world.bob)
        assert arrived == [content for content in sent if content in arrived], "in order, none twice"
        assert {content for content, outcome in outcomes.items() if outcome == "stored"} <= set(arrived)
        assert not {content for content, outcome in outcomes.items() if outcome == "failed"} & set(arrived)
        # one cut costs nothing: the message is sent again, and bob knows what he has
        assert outcomes == dict.fromkeys(sent, "stored")
        assert world.a.opened[MANY] <= 2
        assert world.a.charged == world.b.charged == []


@pytest.mark.parametrize("how", ["lost", "delivered", "ended"])
@pytest.mark.parametrize("at", [0, *(pytest.param(at, marks=pytest.mark.slow) for at in range(1, 12, 3))])
async def test_a_cut_among_many_at_once(tmp_path: Path, at: int, how: str) -> None:
    async with World(tmp_path, Wire(at, how)) as world:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(world.send, f"message {number}")
        arrived = Counter(await world.contents(world.bob))
        assert max(arrived.values()) == 1
        outcomes = await world.statuses()
        assert {content for content, outcome in outcomes.items() if outcome == "stored"} <= set(arrived)
        assert set(outcomes.values()) == {"stored"}
        assert len(arrived) == 40


async def test_a_peer_that_ends_every_stream(tmp_path: Path) -> None:
    """It never took the message: that is known, and said."""

    class Always(Wire):
        def next(self) -> str:
            return "ended"

    async with World(tmp_path, Always()) as world:
        assert await world.send("?") == "failed"
        assert await world.contents(world.bob) == []
        assert world.a.opened[MANY] == 2
