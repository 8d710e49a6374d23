"""A door over fake services, on a real Unix socket, and a client that speaks raw JSON lines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from nexusd.api.connection import Bounds
from nexusd.api.socket import serve
from tests.harness.rawrpc import RawClient
from tests.harness.services import FakeEvents, Fakes


@dataclass
class Door:
    """A served socket."""

    path: Path
    fakes: Fakes
    scope: trio.CancelScope
    ended: trio.Event = field(default_factory=trio.Event)
    clients: list[RawClient] = field(default_factory=list)

    async def connect(self) -> RawClient:
        client = RawClient(await trio.open_unix_socket(self.path))
        self.clients.append(client)
        return client


@asynccontextmanager
async def open_door(
    path: Path, bounds: Bounds | None = None, connections: int = 256, events: FakeEvents | None = None
) -> AsyncIterator[Door]:
    async with trio.open_nursery() as nursery:
        fakes = Fakes.make(nursery, path, events)

        async def run(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
            with trio.CancelScope() as scope:

                class Started:
                    def started(self, _: None = None) -> None:
                        task_status.started(scope)

                await serve(path, fakes.services, bounds=bounds, connections=connections, task_status=Started())
            door.ended.set()

        try:
            async with trio.open_nursery() as inner:
                door = Door(path, fakes, await inner.start(run))
                try:
                    yield door
                finally:
                    for client in door.clients:
                        client.stream.socket.close()
                    inner.cancel_scope.cancel()
        finally:
            nursery.cancel_scope.cancel()  # the services end after the door, as in the daemon


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the door of a test is."""
    directory = tmp_path / "d"
    directory.mkdir(mode=0o700)
    return directory / "nexusd.sock"


@pytest.fixture
async def door(path: Path) -> AsyncIterator[Door]:
    """A door over fake services."""
    async with open_door(path) as door:
        yield door
