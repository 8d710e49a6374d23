"""Content of several nodes that meet in memory, each with a store of its own on disk."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from nexusd.agents import Agents
from nexusd.services.content import Budgets, Content
from nexusd.services.ports import LiveEvent
from nexusd.store import Store
from nexusd_protocols import limits
from nexusd_protocols.identity import AgentId, PeerId
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.nodes import signer
from tests.harness.stores import opened
from tests.harness.swarm import FakeExchange, FakeNames, Swarm
from tests.harness.worktime import work_clock

NOW = 1_800_000_000_000


@dataclass(eq=False)
class Host:
    """One of them, and what can be asked of it in a word."""

    name: str
    store: Store
    exchange: FakeExchange
    names: FakeNames
    now: list[int]
    content: Content = field(init=False)
    events: list[LiveEvent] = field(default_factory=list)

    @property
    def peer(self) -> PeerId:
        return self.exchange.own

    @property
    def agent(self) -> AgentId:
        return AgentId(self.peer)

    async def put(self, data: bytes, **fields: Any) -> str:
        """The CID of a file, put as a client does."""
        upload = await self.content.begin(schema.ContentBeginParams(**fields))
        assert isinstance(upload, schema.ContentUpload), upload
        if upload.done is not None:
            return upload.done.cid
        for at in range(upload.written, len(data), limits.CONTENT_PIECE_BYTES):
            piece = data[at : at + limits.CONTENT_PIECE_BYTES]
            written = await self.content.write(schema.ContentWriteParams(upload=upload.upload, offset=at, data=piece))
            assert isinstance(written, schema.ContentWritten), written
        put = await self.content.finish(schema.ContentUploadParams(upload=upload.upload))
        assert isinstance(put, schema.ContentPut), put
        assert put.size == len(data)
        return put.cid

    async def get(self, cid: str, **fields: Any) -> bytes | Refusal:
        """All bytes of a file."""
        data = b""
        while True:
            found = await self.content.read(schema.ContentReadParams(cid=cid, offset=len(data), **fields))
            if isinstance(found, Refusal):
                return found
            data += found.data
            if len(data) >= found.size:
                return data

    async def fetch(self, cid: str, **fields: Any) -> schema.ContentFetched | Refusal:
        return await self.content.fetch(schema.ContentFetchParams(cid=cid, **fields))

    async def kept(self) -> dict[str, schema.ContentPin]:
        found = await self.content.list(schema.ContentListParams(everything=True, limit=500))
        assert isinstance(found, schema.ContentList)
        return {pin.cid: pin for pin in found.pins}


MakeHost = Callable[..., Awaitable[Host]]


async def _run(
    name: str,
    swarm: Swarm,
    directory: Path,
    names: dict[str, PeerId],
    *,
    total: int,
    room: int,
    autopin: bool,
    task_status: trio.TaskStatus[Host],
) -> None:
    own = names[name] = signer(name).peer_id
    path = directory / name
    path.mkdir()
    async with opened(path / "nexusd.sqlite") as store:
        host = Host(name, store, swarm.exchange(own), FakeNames(swarm, own), [NOW])
        host.content = Content(
            agents=Agents(signer(name)),
            store=store,
            exchange=host.exchange,
            names=host.names,
            emit=host.events.append,
            clock=lambda: host.now[0],
            entropy=secrets.token_bytes,
            resolve=lambda typed: names.get(typed, Refusal("unknown_peer")),
            budgets=Budgets(total, room),
            autopin=autopin,
            directory=path,
        )
        host.exchange.set_source(host.content.source())
        await host.content.load()
        async with trio.open_nursery() as nursery:
            await nursery.start(host.content.run)
            task_status.started(host)


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[MakeHost]:
    """Makes hosts, which all connect to those that were made before."""
    swarm, made, names = Swarm(), [], {}

    async def make(
        name: str, *, total: int = 500_000_000, room: int = 100_000_000, autopin: bool = True, alone: bool = False
    ) -> Host:
        host: Host = await nursery.start(
            partial(_run, name, swarm, tmp_path, names, total=total, room=room, autopin=autopin)
        )
        if not alone:
            for other in made:
                host.exchange.connected.add(other.peer)
                other.exchange.connected.add(host.peer)
            made.append(host)
        return host

    async with trio.open_nursery() as nursery:
        yield make
        nursery.cancel_scope.cancel()


@pytest.fixture
def autojump_clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """The store's threads need real time."""
    return work_clock(monkeypatch)
