"""Whole daemons in one process, on a memory network and a virtual clock: everything but TCP and the command line."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from nexusd.app import STORE_FILE, Running, daemon
from nexusd.config import Config
from nexusd_protocols.rpc import schema
from nexusd_protocols.rpc.codes import Refusal
from tests.harness.memnet import MemoryNetwork
from tests.harness.nodes import ip_of, signer
from tests.harness.stores import place

EPOCH_MS = 1_800_000_000_000


def virtual_ms() -> int:
    """A wall clock that follows the loop's."""
    return EPOCH_MS + round(trio.current_time() * 1000)


class Host:
    """One agent's host. `services` are those of the running daemon."""

    def __init__(self, index: int, network: MemoryNetwork, directory: Path) -> None:
        self.signer = signer(f"node-{index}")
        self.peer_id = self.signer.peer_id
        self.ip = ip_of(index)
        self.address = f"/ip4/{self.ip}/tcp/4001/p2p/{self.peer_id}"
        self._network = network
        self._directory = directory / f"{index}"
        self._nursery: trio.Nursery | None = None
        self._stop = trio.Event()
        self._stopped = trio.Event()
        self.running: Running | None = None

    async def start(self, nursery: trio.Nursery | None = None) -> None:
        """Start the daemon, in a task of its own; what it stored before is there."""
        self._nursery = nursery or self._nursery
        assert self._nursery is not None
        self._stop, self._stopped = trio.Event(), trio.Event()
        await self._nursery.start(self._live)

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        await place(self._directory / STORE_FILE)
        config = Config(
            name=f"node-{self.ip}", data_dir=self._directory, listen=(f"/ip4/{self.ip}/tcp/4001",), mdns=False
        )
        async with daemon(
            config,
            self.signer,
            request_stop=lambda: None,
            wall_clock=virtual_ms,
            transports=[self._network.transport(self.ip)],
        ) as self.running:
            task_status.started()
            await self._stop.wait()
        self._stopped.set()

    async def stop(self) -> None:
        """Stop it in order."""
        self._stop.set()
        await self._stopped.wait()

    @property
    def services(self) -> Any:
        assert self.running is not None
        return self.running.services

    async def connect(self, other: Host) -> None:
        done(await self.services.peers.connect(schema.PeersConnectParams(address=other.address)))

    async def join(self, room: str) -> None:
        done(await self.services.rooms.join(schema.RoomParams(room=room)))

    async def say(self, room: str, content: str) -> str:
        sent = done(await self.services.rooms.send(schema.RoomSendParams(room=room, content=content)))
        return str(sent.message_id)

    async def heard(self, room: str) -> list[schema.RoomMessage]:
        """All of the room's log."""
        messages: list[schema.RoomMessage] = []
        after = 0
        while True:
            page = done(await self.services.rooms.history(schema.RoomHistoryParams(room=room, after=after, limit=500)))
            messages += page.messages
            if not page.more:
                return messages
            after = page.last

    async def members(self, room: str) -> dict[str, str]:
        """Agent to status."""
        found = done(await self.services.rooms.members(schema.RoomParams(room=room)))
        return {member.agent: member.status for member in found.members}


def done(result: Any) -> Any:
    """What a service answered, which must not be a refusal."""
    assert not isinstance(result, Refusal), f"{result.code}: {result.message}"
    return result


@asynccontextmanager
async def mesh(
    count: int, directory: Path, *, links: int = 2, seed: int = 1, network: MemoryNetwork | None = None
) -> AsyncIterator[list[Host]]:
    """Running daemons, each connected to `links` of those before it."""
    print("seed", seed)
    # no latency: with it, every frame would wait for the clock to jump, at the price of a real millisecond or more
    network = network or MemoryNetwork(seed, latency=(0.0, 0.0))
    choose = random.Random(seed)
    hosts = [Host(index, network, directory) for index in range(count)]
    async with trio.open_nursery() as nursery:
        for host in hosts:
            await host.start(nursery)
        for index, host in enumerate(hosts[1:], 1):
            for other in choose.sample(hosts[:index], min(links, index)):
                await host.connect(other)
        yield hosts
        for host in hosts:
            await host.stop()
